"""Organisations are tenants: on every route, what one has is for another as if it had never been."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.api import Parts, create_app
from app.api.access import OPEN
from app.keys import Key, Scope
from app.responses import Kept
from app.reviews import Place, Review
from index.errors import FileNotFound
from index.memory import Memory
from index.types import Attachment, Sight
from tests.api.live import live
from tests.api.test_access import parts_in, routes
from tests.api.test_mcp import call
from tests.fakes import HashedWords

SECRET = "zyzzyva"  # in all that theirs is: names, texts, questions
# Valid requests of the routes that would refuse an empty one; what they name is theirs, or was never there.
BODIES = {
    "POST /v1/vector_stores": {"file_ids": ["{file_id}"]},
    "POST /v1/vector_stores/{store_id}/search": {"query": "vault"},
    "POST /v1/vector_stores/{store_id}/files": {"file_id": "{file_id}"},
    "POST /v1/vector_stores/{store_id}/files/{file_id}": {"attributes": {}},
    "POST /v1/vector_stores/{store_id}/file_batches": {"file_ids": ["{file_id}"]},
    "POST /v1/cogcore/aliases/{alias}": {"vector_store_id": "{store_id}"},
    "POST /v1/cogcore/reviews/{review_id}": {"verdict": "approved"},
    "POST /v1/chat/completions": {
        "model": "cogcore/{store_id}",
        "messages": [{"role": "user", "content": "vault"}],
        "cogcore": {"stores": ["{store_id}"]},
    },
    "POST /v1/responses": {"model": "cogcore", "input": "Go on", "previous_response_id": "{response_id}"},
    "POST /v1/conversations/{conversation_id}": {"metadata": {}},
    "POST /v1/conversations/{conversation_id}/items": {"items": [{"role": "user", "content": "?"}]},
    "POST /v1/cogcore/keys": {"name": "x", "stores": ["{store_id}"]},
}
# May differ between two requests that are the same.
OWN = {"x-request-id", "openai-processing-ms", "date", "content-length"}


@dataclass
class Town:
    """A server with two organisations; `theirs` are the names of what umbrella has, one of each kind."""

    base_url: str
    app: FastAPI
    parts: Parts
    theirs: dict[str, str]
    their_key: str

    def client(self, scope: Scope = "admin", organisation: str = "acme") -> httpx.Client:
        _, secret = self.parts.keys.create(Key("one", scope, organisation=organisation))
        headers = {"Authorization": f"Bearer {secret}", "OpenAI-Organization": "umbrella", "OpenAI-Project": "umbrella"}
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    parts = parts_in(tmp_path_factory.mktemp("town"), api_key="sesame")
    memory, whose = parts.memory, Sight("umbrella")
    key, secret = parts.keys.create(Key(SECRET, "admin", organisation="umbrella"))
    with live(parts) as base_url:
        memory.settle("umbrella")
        store = memory.create_store(SECRET, {"about": SECRET}, owner="umbrella").id
        file = memory.add_file(f"{SECRET}.md", f"The vault opens with {SECRET}.".encode(), owner="umbrella").id
        batch = memory.attach_batch(store, [Attachment(file, {"about": SECRET})]).id
        assert memory.wait(store, file).status == "completed"
        memory.aliases.set(f"to-{SECRET}", store, whose)
        memory.aliases.set("default", store, whose)
        chunk = memory.search(store, "vault")[0].chunk.id
        body = {"id": f"resp_{SECRET}", "created_at": 0, "status": "completed", "background": True, "output": []}
        parts.responses.keep(Kept("umbrella", {**body, "previous_response_id": None, "text": SECRET}, []))
        review = Review("cogcore", SECRET, SECRET, SECRET, 0.5, hits=[Place(file, chunk, None, 0, 9)], owner="umbrella")
        parts.reviews.add(review)
        said = {"id": f"msg_{SECRET}", "type": "message", "role": "user", "content": SECRET}
        talk = parts.conversations.create("umbrella", {"about": SECRET}, [said]).id
        theirs = {
            "store_id": store,
            "file_id": file,
            "batch_id": batch,
            "chunk_id": chunk,
            "alias": f"to-{SECRET}",
            "model": f"cogcore/{SECRET}",
            "response_id": f"resp_{SECRET}",
            "review_id": review.id,
            "conversation_id": talk,
            "item_id": f"msg_{SECRET}",
            "key_id": key.id,
        }
        yield Town(base_url, create_app(parts), parts, theirs, secret)


def filled(given: Any, names: dict[str, str]) -> Any:
    """With the names in their places; a route with a parameter that is not known here fails the walk."""
    match given:
        case dict():
            return {key: filled(value, names) for key, value in given.items()}
        case list():
            return [filled(value, names) for value in given]
        case str():
            return given.format_map(names)
    return given


def as_told(answer: httpx.Response, names: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers, but for the names that were asked for."""
    text = answer.text
    for kind, name in names.items():
        text = text.replace(name, kind)
    return answer.status_code, text, {name: value for name, value in answer.headers.items() if name not in OWN}


def test_the_walk_with_another_organisations_key(town: Town) -> None:
    """In the very words of what never was. What names nothing tells nothing."""
    never = {kind: f"{name[: name.rfind('_') + 1]}never-{kind}" for kind, name in town.theirs.items()}
    never["model"] = "cogcore/wywwyva"  # of the same shape: what it is taken for tells only of the asker
    with town.client() as client:
        client.get("/v1/models")  # so that the organisation has what each begins with
        for route in routes(town.app):
            method, path = route.split(" ")
            if path in OPEN or path == "/openapi.json":
                continue
            named = "{" in path or "{" in str(BODIES.get(route, ""))
            told = []
            for names in (town.theirs, never):
                body = filled(BODIES.get(route, {}), names) if method == "POST" else None
                answer = client.request(method, filled(path, names), json=body)
                asked = {kind: name for kind, name in names.items() if name in f"{answer.request.url} {body}"}
                told.append(as_told(answer, asked))
                assert answer.status_code < 500, route
            assert not named or told[0] == told[1], route  # what is made has an id of its own
            status, text, headers = told[0]
            assert not named or status in (400, 404), (route, text)
            for name in (SECRET, *town.theirs.values()):
                assert name not in text and name not in str(headers), (route, name)
    for kind, path in (("file_id", "/v1/files/"), ("store_id", "/v1/vector_stores/"), ("key_id", "/v1/cogcore/keys/")):
        with town.client("admin", "umbrella") as theirs:
            assert theirs.get(path + town.theirs[kind]).status_code == 200, "still there"


def test_only_who_runs_the_server_reads_what_counts_for_all(town: Town) -> None:
    for organisation, status in (("acme", 403), ("default", 200)):
        with town.client("read", organisation) as client:
            assert client.get("/metrics").status_code == status


def test_an_organisation_makes_sees_and_ends_its_own_keys(town: Town) -> None:
    keys = "/v1/cogcore/keys"
    with town.client() as acme, town.client(organisation="default") as default:
        made = acme.post(keys, json={"name": "shop"}).json()
        assert made["organisation"] == "acme"
        for client in (acme, default):
            refused = client.post(keys, json={"name": "shop", "organisation": "umbrella"})
            assert (refused.status_code, refused.json()["error"]["param"]) == (403, "organisation")
        assert {one["organisation"] for one in acme.get(keys).json()["data"]} == {"acme"}
        assert default.get(f"{keys}/{made['id']}").status_code == 404
        assert default.delete(f"{keys}/{made['id']}").status_code == 404
        after = acme.get(keys, params={"after": town.theirs["key_id"]})
        assert (after.status_code, after.json()["error"]["param"]) == (400, "after")
        assert acme.delete(f"{keys}/{made['id']}").json()["revoked_at"]
    with httpx.Client(base_url=town.base_url, headers={"Authorization": "Bearer sesame"}) as root:
        listed = {one["organisation"] for one in root.get(keys, params={"limit": 100}).json()["data"]}
        assert listed >= {"acme", "umbrella", "default"}
        ours = root.post(keys, json={"name": "them", "organisation": "umbrella", "stores": [SECRET]}).json()
        assert ours["stores"] == [town.theirs["store_id"]], "names are the organisation's"
        assert root.delete(f"{keys}/{ours['id']}").status_code == 200
        bad = root.post(keys, json={"name": "x", "organisation": "key_1"})
        assert (bad.status_code, bad.json()["error"]["param"]) == (400, "organisation")


def test_each_organisation_has_its_own_names_and_begins_with_a_store(town: Town) -> None:
    with town.client(organisation="initech") as initech, town.client(organisation="hooli") as hooli:
        for client in (initech, hooli):
            (first,) = client.get("/v1/vector_stores").json()["data"]
            assert (first["name"], first["aliases"], first["file_counts"]["total"]) == ("documents", ["default"], 0)
            made = client.post("/v1/vector_stores", json={"name": "handbook"}).json()["id"]
            pointed = client.post("/v1/cogcore/aliases/live", json={"vector_store_id": "handbook"}).json()
            assert pointed["vector_store_id"] == made
            assert client.post("/v1/cogcore/aliases/default", json={"vector_store_id": "live"}).status_code == 200
            assert client.get("/v1/vector_stores/default").json()["id"] == made
            assert client.post("/v1/cogcore/aliases/default/rollback").json()["vector_store_id"] == first["id"]
            models = [one["id"] for one in client.get("/v1/models").json()["data"]]
            names = ("default", "live", "documents", "handbook")
            assert models == ["cogcore", *(f"cogcore/{name}" for name in names), "hashed-words"]
            assert client.delete("/v1/cogcore/aliases/live").status_code == 200
    assert town.parts.memory.store("default").owner == "default", "where nobody says whose"


def test_a_link_opens_its_passage_for_whoever_has_it_and_no_other(town: Town) -> None:
    (result,) = call(town.base_url, "search", key=town.their_key, query="vault")["results"]
    assert SECRET in httpx.get(result["url"]).text
    with town.client("write") as acme:
        file = acme.post(
            "/v1/files", files={"file": ("a.md", b"The weir is new.")}, data={"purpose": "assistants"}
        ).json()["id"]
        acme.post("/v1/vector_stores/default/files", json={"file_id": file})
        town.parts.memory.wait(acme.get("/v1/vector_stores/default").json()["id"], file)
        secret = acme.headers["authorization"].removeprefix("Bearer ")
        (ours,) = call(town.base_url, "search", key=secret, query="vault weir")["results"]
        assert ours["text"] == "The weir is new."
        assert httpx.get(ours["url"].replace(ours["id"], result["id"])).status_code == 401
        assert acme.get(result["url"]).status_code == 404, "who says who asks is that one"


def test_a_deletion_forgets_the_cached_prompts_of_its_organisation_alone(town: Town) -> None:
    engine: Any = town.parts.core.engine
    with town.client("write") as acme, town.client("write", "umbrella") as umbrella:

        def cached(client: httpx.Client) -> int:
            engine.scripts.append([1, 2])
            body = {"model": "cogcore", "prompt": "The same words of both", "max_tokens": 2}
            answer = client.post("/v1/completions", json=body).json()
            return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])

        assert cached(acme) == 0 and cached(acme) > 0
        assert cached(umbrella) == 0, "another's prompt is not known"
        assert cached(umbrella) > 0
        store = acme.post("/v1/vector_stores", json={}).json()["id"]
        assert acme.delete(f"/v1/vector_stores/{store}").status_code == 200
        assert cached(umbrella) > 0 and cached(acme) == 0


def test_the_same_bytes_are_one_original_and_are_read_for_each_owner(tmp_path: Path) -> None:
    """Who finds a document ready at once would know that somebody else has it."""
    memory = Memory(tmp_path, HashedWords())
    try:
        read = []
        prepare = memory._ingest._prepare
        memory._ingest._prepare = lambda job: read.append(job.file.owner) or prepare(job)  # type: ignore[method-assign, func-returns-value]
        kept = {}
        for owner in ("acme", "acme", "umbrella"):
            store = memory.create_store(owner=owner).id
            file = memory.add_file("same.md", b"The same words.", owner=owner)
            memory.attach(store, file.id)
            assert memory.wait(store, file.id, 60).status == "completed"
            kept[owner] = store, file
        assert read == ["acme", "umbrella"]
        assert len({file.sha256 for _, file in kept.values()}) == 1
        with pytest.raises(FileNotFound, match="there is no file"):
            memory.attach(kept["acme"][0], kept["umbrella"][1].id)
        memory.delete_file(kept["umbrella"][1].id)
        assert memory.content(kept["acme"][1].id) == b"The same words."
    finally:
        memory.close()
