"""Every list pages the same way, whatever it lists: API.md, "Lists and errors"."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api import Parts
from app.cores.load import TINY_FOLDER, Core, load_tokenizer
from app.cores.profiles import PROFILES
from app.keys import Key
from app.reviews import Review
from app.settings import read
from index.memory import Memory
from tests.api.live import live
from tests.api.test_chat_stream import UNSURE, ids
from tests.fakes import HashedWords, ScriptedEngine

FIVE = range(5)
LISTS = ("files", "stores", "store files", "batch files", "input items", "items", "keys", "aliases", "reviews")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    """A client, and where each list is; five of each kind are there, and nothing else of it."""
    folder: Path = tmp_path_factory.mktemp("data")
    core = Core("scripted", load_tokenizer(TINY_FOLDER), PROFILES["hermes"], ScriptedEngine([ids("Hi!")], [UNSURE]))
    parts = Parts(core, Memory(folder, HashedWords()), read(data_dir=folder, api_key="sesame"))
    with (
        live(parts) as url,
        httpx.Client(base_url=url, headers={"Authorization": "Bearer sesame"}, timeout=60) as client,
    ):

        def post(path: str, **body: Any) -> Any:
            answer = client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        form = {"purpose": "assistants"}
        files = [
            client.post("/v1/files", data=form, files={"file": (f"{n}.txt", f"Pond {n}".encode())}).json()["id"]
            for n in FIVE
        ]
        for n in range(4):  # beside the store `default`
            post("/v1/vector_stores", name=f"store{n}")
        store = client.get("/v1/vector_stores/default").json()["id"]
        batch = post(f"/v1/vector_stores/{store}/file_batches", file_ids=files)["id"]
        said = [{"role": "user", "content": f"Word {n}"} for n in FIVE]
        talk = post("/v1/conversations", items=said)["id"]
        response = post("/v1/responses", model="cogcore", input=said)["id"]
        for n in range(4):  # beside the alias `default`
            post(f"/v1/cogcore/aliases/e{n}", vector_store_id=store)
        for n in FIVE:
            parts.keys.create(Key(f"key{n}"))
            parts.reviews.add(Review("cogcore", f"{n}?", None, None, 0.1))
        yield (
            client,
            {
                "files": "/v1/files",
                "stores": "/v1/vector_stores",
                "store files": f"/v1/vector_stores/{store}/files",
                "batch files": f"/v1/vector_stores/{store}/file_batches/{batch}/files",
                "input items": f"/v1/responses/{response}/input_items",
                "items": f"/v1/conversations/{talk}/items",
                "keys": "/v1/cogcore/keys",
                "aliases": "/v1/cogcore/aliases",
                "reviews": "/v1/cogcore/reviews",
            },
        )


@pytest.mark.parametrize("name", LISTS)
def test_a_list_goes_both_ways(server: tuple[httpx.Client, dict[str, str]], name: str) -> None:
    client, paths = server

    def page(**query: Any) -> tuple[list[str], bool]:
        answer = client.get(paths[name], params=query)
        told = answer.json()
        assert (answer.status_code, told["object"]) == (200, "list"), answer.text
        ids = [one["id"] for one in told["data"]]
        assert (told["first_id"], told["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
        return ids, told["has_more"]

    ids, more = page(order="asc")
    assert len(set(ids)) == 5 and not more
    assert page()[0] == (ids if name == "aliases" else ids[::-1])
    assert page(limit=100) == page()
    for order, wanted in (("asc", ids), ("desc", ids[::-1])):
        assert page(order=order, limit=5) == (wanted, False)
        assert page(order=order, limit=2) == (wanted[:2], True)
        assert page(order=order, limit=2, after=wanted[1]) == (wanted[2:4], True)
        assert page(order=order, limit=2, after=wanted[2]) == (wanted[3:], False)
        assert page(order=order, after=wanted[4]) == ([], False)
        assert page(order=order, limit=2, before=wanted[3]) == (wanted[1:3], True)
        assert page(order=order, limit=3, before=wanted[3]) == (wanted[:3], False)
        assert page(order=order, before=wanted[0]) == ([], False)
        assert page(order=order, after=wanted[0], before=wanted[4]) == (wanted[1:4], False)
        assert page(order=order, limit=2, after=wanted[0], before=wanted[4]) == (wanted[1:3], True)


@pytest.mark.parametrize("name", LISTS)
def test_what_a_list_cannot_be_asked(server: tuple[httpx.Client, dict[str, str]], name: str) -> None:
    client, paths = server
    most = 10_000 if name == "files" else 100
    asked = {"limit": (0, -1, "x", most + 1), "order": ("up", ""), "after": ("none", ""), "before": ("none", "")}
    for param, values in asked.items():
        for value in values:
            answer = client.get(paths[name], params={param: value})
            error = answer.json()["error"]
            assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param), value
    assert client.get(paths[name], params={"limit": most}).status_code == 200
