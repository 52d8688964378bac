"""Aliases over HTTP, and answers that keep to one store while their alias moves."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import OpenAI

from app.agent.events import Searched
from app.agent.loop import answer
from app.api import Parts
from app.api.caller import ANYONE, Caller
from app.api.chat_request import ChatRequest
from app.api.turn import turn_of
from tests.api.conftest import RIVERS

ALIASES = "/v1/cogcore/aliases"
QUESTION = {"messages": [{"role": "user", "content": "How long is the Sorne?"}], "max_tokens": 60}
SEARCHING: dict[str, Any] = {**QUESTION, "cogcore": {"need_threshold": 0, "abstain_below": 0}}


@pytest.fixture(scope="module")
def stores(client: OpenAI) -> dict[str, str]:
    """Two stores that answer one question differently: id and value."""
    made = {}
    for name, length in (("old", "312"), ("new", "315")):
        store = client.vector_stores.create(name=name).id
        file = client.files.create(file=("rivers.md", RIVERS.replace(b"312", length.encode())), purpose="assistants")
        client.vector_stores.files.create_and_poll(file.id, vector_store_id=store)
        made[store] = length
    return made


@pytest.fixture
def live(raw: httpx.Client, stores: dict[str, str]) -> Iterator[str]:
    assert raw.post(f"{ALIASES}/live", json={"vector_store_id": "old"}).status_code == 200
    yield "live"
    raw.delete(f"{ALIASES}/live")


def test_life_of_an_alias(raw: httpx.Client, stores: dict[str, str]) -> None:
    old, new = stores
    made = raw.post(f"{ALIASES}/now", json={"vector_store_id": "old"}).json()
    assert made == {**made, "id": "now", "object": "cogcore.alias", "vector_store_id": old, "before": []}
    moved = raw.post(f"{ALIASES}/now", json={"vector_store_id": new}).json()
    assert (moved["vector_store_id"], moved["before"]) == (new, [old])
    assert raw.get(f"{ALIASES}/now").json() == moved
    listed = raw.get(ALIASES).json()
    assert [one["id"] for one in listed["data"]] == ["default", "now"] and listed["has_more"] is False
    assert raw.get("/v1/vector_stores/now").json()["id"] == new
    assert raw.get(f"/v1/vector_stores/{new}").json()["aliases"] == ["now"]
    found = raw.post("/v1/vector_stores/now/search", json={"query": "Sorne"}).json()
    assert (found["vector_store_id"], found["version"]) == (new, 2)
    assert raw.post(f"{ALIASES}/now/rollback").json()["vector_store_id"] == old
    assert raw.delete(f"{ALIASES}/now").json() == {"id": "now", "object": "cogcore.alias.deleted", "deleted": True}
    assert raw.get(f"{ALIASES}/now").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "/old", {"vector_store_id": "new"}, 400, "alias"),
        ("POST", "/a%20b", {"vector_store_id": "new"}, 400, "alias"),
        ("POST", "/now", {"vector_store_id": "nowhere"}, 404, None),
        ("POST", "/now", {"vector_store_id": "new", "weight": 1}, 400, "weight"),
        ("POST", "/nothing/rollback", None, 404, None),
        ("POST", "/default/rollback", None, 400, "alias"),
        ("DELETE", "/default", None, 400, "alias"),
    ],
)
def test_refusals(
    raw: httpx.Client, stores: dict[str, str], method: str, path: str, body: Any, status: int, param: str | None
) -> None:
    refused = raw.request(method, f"{ALIASES}{path}", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)


def test_an_alias_is_a_model_and_its_answers_name_store_and_version(
    raw: httpx.Client, stores: dict[str, str], live: str
) -> None:
    old, new = stores
    names = [model["id"] for model in raw.get("/v1/models").json()["data"]]
    assert names[:3] == ["cogcore", "cogcore/default", "cogcore/live"] and {"cogcore/old", "cogcore/new"} <= set(names)
    for store in (old, new):
        raw.post(f"{ALIASES}/{live}", json={"vector_store_id": store})
        told = raw.post("/v1/chat/completions", json={"model": f"cogcore/{live}", **SEARCHING}).json()["cogcore"]
        assert told["stores"] == [{"id": store, "version": 2}]
        assert [(search["store"], search["version"]) for search in told["searches"]] == [(store, 2)]
        assert stores[store] in told["answer"]
    talk = {"model": f"cogcore/{live}", **QUESTION, "cogcore": {"max_searches": 0}}
    told = raw.post("/v1/chat/completions", json=talk).json()["cogcore"]
    assert (told["stores"], told["searches"]) == ([{"id": new, "version": 2}], [])


async def test_a_turn_keeps_its_store_to_its_end(parts: Parts, stores: dict[str, str], live: str) -> None:
    old, new = stores
    asked = ChatRequest.model_validate({"model": f"cogcore/{live}", **SEARCHING})
    turn = await turn_of(asked, parts, Caller(ANYONE, parts.keys, parts.memory))
    parts.memory.aliases.set(live, new)
    searched = [event async for event in answer(turn, parts.core, parts.memory) if isinstance(event, Searched)]
    assert {event.store for event in searched} == {old}


def test_chats_notice_no_swap(raw: httpx.Client, server: str, stores: dict[str, str], live: str) -> None:
    files = {
        store: {file["id"] for file in raw.get(f"/v1/vector_stores/{store}/files").json()["data"]} for store in stores
    }
    answers: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(base_url=server, timeout=120) as client:
            for _ in range(3):
                answers.append(client.post("/v1/chat/completions", json={"model": f"cogcore/{live}", **SEARCHING}))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    old, new = stores
    swaps = 0
    while any(thread.is_alive() for thread in threads):
        swaps += 1
        moved = raw.post(f"{ALIASES}/{live}", json={"vector_store_id": (new, old)[swaps % 2]})
        assert moved.status_code == 200
    assert swaps > 1 and [answer.status_code for answer in answers] == [200] * 12
    for answered in answers:
        told = answered.json()["cogcore"]
        (store,) = (one["id"] for one in told["stores"])
        assert {search["store"] for search in told["searches"]} == {store}
        assert {cited["file_id"] for cited in told["citations"]} <= files[store]
        assert stores[store] in told["answer"]
