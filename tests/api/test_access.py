"""Every route with no key, with wrong ones, and with each scope; and what a key limited to stores can see."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from openai import OpenAI

from app.api import Parts, create_app
from app.api.access import LIMITED, OPEN, needed
from app.cores.load import TINY_FOLDER, Core, load_tokenizer
from app.cores.profiles import PROFILES
from app.keys import ORGANISATION, Key, Scope
from app.responses import Kept
from app.settings import read
from index.memory import Memory
from index.types import Attachment
from tests.api.live import live
from tests.api.test_mcp import call
from tests.fakes import HashedWords, ScriptedEngine

# What each route needs, said once more by hand: a route that is missing here fails the walk.
READ = """GET /openapi.json, GET /version, GET /metrics, GET /v1/models, GET /v1/models/{model}, GET /v1/files,
GET /v1/files/{file_id}, GET /v1/files/{file_id}/content, GET /v1/vector_stores, GET /v1/vector_stores/{store_id},
GET /v1/vector_stores/{store_id}/files, GET /v1/vector_stores/{store_id}/files/{file_id},
GET /v1/vector_stores/{store_id}/files/{file_id}/content, GET /v1/vector_stores/{store_id}/file_batches/{batch_id},
GET /v1/vector_stores/{store_id}/file_batches/{batch_id}/files, GET /v1/cogcore/aliases,
GET /v1/cogcore/aliases/{alias}, GET /v1/passages/{chunk_id}, POST /v1/chat/completions, POST /v1/completions,
POST /v1/embeddings, POST /v1/rerank, POST /v1/vector_stores/{store_id}/search, POST /mcp, POST /v1/responses,
GET /v1/responses/{response_id}, POST /v1/responses/{response_id}/cancel, GET /v1/responses/{response_id}/input_items,
POST /v1/conversations, GET /v1/conversations/{conversation_id}, POST /v1/conversations/{conversation_id}/items,
GET /v1/conversations/{conversation_id}/items, GET /v1/conversations/{conversation_id}/items/{item_id}"""
WRITE = """POST /v1/files, DELETE /v1/files/{file_id}, POST /v1/vector_stores, POST /v1/vector_stores/{store_id},
DELETE /v1/vector_stores/{store_id}, POST /v1/vector_stores/{store_id}/files,
POST /v1/vector_stores/{store_id}/files/{file_id}, DELETE /v1/vector_stores/{store_id}/files/{file_id},
POST /v1/vector_stores/{store_id}/file_batches, POST /v1/vector_stores/{store_id}/file_batches/{batch_id}/cancel,
POST /v1/cogcore/aliases/{alias}, POST /v1/cogcore/aliases/{alias}/rollback, DELETE /v1/cogcore/aliases/{alias},
GET /v1/cogcore/stores/{store_id}/export, POST /v1/cogcore/stores/import, DELETE /v1/responses/{response_id},
POST /v1/conversations/{conversation_id}, DELETE /v1/conversations/{conversation_id},
DELETE /v1/conversations/{conversation_id}/items/{item_id}"""
ADMIN = """POST /v1/cogcore/keys, GET /v1/cogcore/keys, GET /v1/cogcore/keys/{key_id},
DELETE /v1/cogcore/keys/{key_id}, GET /v1/cogcore/reviews, GET /v1/cogcore/reviews/{review_id},
POST /v1/cogcore/reviews/{review_id}, DELETE /v1/cogcore/reviews/{review_id}"""
NEEDED: dict[str, Scope] = {
    route.strip(): cast(Scope, scope)
    for scope, routes in (("read", READ), ("write", WRITE), ("admin", ADMIN))
    for route in routes.split(",")
}
# Not for a key that is limited to stores, whatever its scope.
WHOLE = """GET /metrics, POST /v1/vector_stores, POST /v1/vector_stores/{store_id}, DELETE /v1/vector_stores/{store_id},
POST /v1/cogcore/aliases/{alias}, POST /v1/cogcore/aliases/{alias}/rollback, DELETE /v1/cogcore/aliases/{alias},
GET /v1/cogcore/stores/{store_id}/export, POST /v1/cogcore/stores/import"""
FOR_ALL = {route.strip() for route in WHOLE.split(",")} | {r for r, scope in NEEDED.items() if scope == "admin"}
# Where nothing is looked up for a body that is not valid.
BODIES: dict[str, Any] = {
    "POST /v1/conversations/{conversation_id}": {"metadata": {}},
    "POST /v1/conversations/{conversation_id}/items": {"items": [{"role": "user", "content": "?"}]},
}
LAKES = "Lake Arven is 88 metres deep."
SECRET = "The vault opens with zyzzyva."


@dataclass
class House:
    """A closed server with two stores, one document in each; `theirs` is what limited keys must not see."""

    base_url: str
    app: FastAPI
    parts: Parts
    ours: str
    our_file: str
    theirs: str
    their_file: str
    their_chunk: str
    their_batch: str
    their_talk: str

    @contextmanager
    def client(self, scope: Scope = "read", *stores: str, **given: Any) -> Iterator[httpx.Client]:
        _, secret = self.parts.keys.create(Key(f"{scope} {stores}", scope, stores or None, **given))
        with httpx.Client(base_url=self.base_url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as made:
            yield made

    def their_path(self, path: str) -> str:
        """With everything it names among theirs."""
        for name, value in (
            ("store_id", self.theirs),
            ("file_id", self.their_file),
            ("chunk_id", self.their_chunk),
            ("batch_id", self.their_batch),
            ("conversation_id", self.their_talk),
            ("item_id", "msg_theirs"),
            ("alias", "default"),
            ("response_id", "resp_theirs"),
            ("model", "cogcore/theirs"),
        ):
            path = path.replace(f"{{{name}}}", value)
        return path.replace("{key_id}", "key_none").replace("{review_id}", "review_none")


def code_of(error: dict[str, Any]) -> str:
    """OpenAI's, which an error of JSON-RPC carries along."""
    code: str = error.get("data", error)["code"]
    return code


def parts_in(folder: Path, **settings: Any) -> Parts:
    core = Core("scripted", load_tokenizer(TINY_FOLDER), PROFILES["tiny"], ScriptedEngine())
    return Parts(core, Memory(folder, HashedWords()), read(data_dir=folder, **settings))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    parts = parts_in(tmp_path_factory.mktemp("house"), api_key="sesame")
    memory = parts.memory
    ours, theirs = (memory.create_store(name).id for name in ("ours", "theirs"))
    memory.aliases.set("default", theirs)
    memory.aliases.set("lakes", ours)
    our_file = memory.add_file("lakes.md", LAKES.encode()).id
    their_file = memory.add_file("vault.md", SECRET.encode()).id
    memory.attach(ours, our_file)
    batch = memory.attach_batch(theirs, [Attachment(their_file)]).id
    with live(parts) as base_url:
        for store, file in ((ours, our_file), (theirs, their_file)):
            assert memory.wait(store, file).status == "completed"
        chunk = memory.search(theirs, "vault")[0].chunk.id
        response = {"id": "resp_theirs", "created_at": 0, "status": "completed", "background": True, "output": []}
        parts.responses.keep(Kept(ORGANISATION, {**response, "text": SECRET}, []))
        talk = parts.conversations.create(ORGANISATION, {}, [{"id": "msg_theirs", "type": "message", "content": []}]).id
        yield House(base_url, create_app(parts), parts, ours, our_file, theirs, their_file, chunk, batch, talk)


def routes(app: FastAPI) -> list[str]:
    """From the application's own table, where those are too that no description tells of."""
    table = [(route.methods, route.path_format or route.path) for route in iter_route_contexts(app.routes)]
    assert all(methods and path for methods, path in table), "a part that is mounted whole would not be walked"
    return [f"{method} {path}" for methods, path in table for method in sorted(methods or ()) if method != "HEAD"]


def test_each_route_has_its_scope(house: House) -> None:
    found = {route for route in routes(house.app) if route.partition(" ")[2] not in OPEN}
    assert found == set(NEEDED)
    assert {route: needed(*route.split(" ")) for route in found} == NEEDED
    assert {route for route in found if not LIMITED.fullmatch(route)} == FOR_ALL


def test_the_walk_without_a_key_and_with_wrong_ones(house: House) -> None:
    gone, revoked = house.parts.keys.create(Key("gone", "admin"))
    house.parts.keys.revoke(gone.id)
    late, expired = house.parts.keys.create(Key("late", "admin", created_at=1, expires_at=2))
    assert late.created_at == 1
    hint = house.parts.keys.create(Key("other", "admin"))[0].hint
    wrong = [{}, {"Authorization": "sesame"}, {"X-Api-Key": "sesame"}, {"Cookie": "key=sesame"}]
    wrong += [{"Authorization": f"Bearer {one}"} for one in ("guess", revoked, expired, hint, gone.id)] + [
        {"Authorization": "Bearer"}
    ]
    with httpx.Client(base_url=house.base_url, timeout=60) as client:
        for route in (*routes(house.app), "GET /nowhere", "GET //v1/files", "OPTIONS /v1", "POST /v1/files/"):
            method, path = route.split(" ")
            for headers in wrong:
                answer = client.request(method, house.their_path(path), headers=headers)
                if path in OPEN:
                    assert answer.status_code == 200
                    continue
                assert answer.status_code == 401, (route, headers)
                assert code_of(answer.json()["error"]) == "invalid_api_key"
                assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scope", ["read", "write"])
@pytest.mark.parametrize("limited", [False, True])
def test_the_walk_with_each_scope(house: House, scope: Scope, limited: bool) -> None:
    """What is beyond the scope is 403 and names it; what is beyond the stores is 404, as what was never there."""
    with house.client(scope, *([house.ours] if limited else [])) as client:
        for route, wanted in NEEDED.items():
            method, path = route.split(" ")
            if wanted == "write" and scope == "write" and not limited:
                continue  # they would change the house: see the tests of each
            answer = client.request(method, house.their_path(path), json=BODIES.get(route, {}))
            if not Key("", scope).may(wanted) or (limited and route in FOR_ALL):
                assert answer.status_code == 403, route
                error = answer.json()["error"]
                assert code_of(error) == "insufficient_scope" and f"needs the scope '{wanted}'" in error["message"]
            elif limited and "{" in path:
                assert answer.status_code == 404, (route, answer.text)
                assert "zyzzyva" not in answer.text
            else:
                assert answer.status_code not in (401, 403, 500), (route, answer.text)
                assert not limited or ("theirs" not in answer.text and house.theirs not in answer.text), route


def test_a_path_that_is_spelled_strangely_needs_no_less(house: House) -> None:
    with house.client("read") as client:
        for path in ("/v1/cogcore/keys%0A", "/v1/cogcore/keys/", "/v1/cogcore/keys/a%0Ab", "/v1/cogcore%2Fkeys"):
            assert client.get(path).status_code == 403, path
        for path in ("/v1/files%0A", "/v1/files/", "/v1/vector_stores/x%0A", "/mcp/", "/v1/chat/completions%0A"):
            assert client.post(path, json={}).status_code in (403, 404), path
    with house.client("read", house.ours) as client:
        for path in ("/metrics%0A", "/v1/vector_stores%0A", f"/v1/vector_stores/{house.theirs}%0A"):
            assert client.get(path).status_code in (403, 404), path


def test_what_is_not_seen_is_as_if_it_were_not_there(house: House) -> None:
    """The same words for an object of others' and for none, but for its name."""
    with house.client("write", house.ours) as client:
        for path, none in (
            (f"/v1/vector_stores/{house.theirs}", "vs_none"),
            ("/v1/vector_stores/theirs", "none"),
            ("/v1/vector_stores/default", "none"),
            (f"/v1/vector_stores/{house.theirs}/files", "vs_none"),
            (f"/v1/vector_stores/{house.ours}/files/{house.their_file}", "file-none"),
            (f"/v1/vector_stores/{house.ours}/file_batches/{house.their_batch}", "vsfb_none"),
            (f"/v1/files/{house.their_file}", "file-none"),
            (f"/v1/files/{house.their_file}/content", "file-none"),
            (f"/v1/files?after={house.their_file}", "file-none"),
            (f"/v1/vector_stores?after={house.theirs}", "vs_none"),
            (f"/v1/passages/{house.their_chunk}", "chunk_none"),
            ("/v1/cogcore/aliases/default", "none"),
            ("/v1/models/cogcore/theirs", "none"),
        ):
            named = next(
                one for one in reversed(path.replace("?after=", "/").split("/")) if one not in ("files", "content")
            )
            theirs, nothing = client.get(path), client.get(path.replace(named, none))
            assert theirs.status_code == nothing.status_code in (400, 404), path
            assert theirs.text == nothing.text.replace(none, named), path
        for body in ({"file_id": house.their_file}, {"file_id": "file-none"}):
            attached = client.post(f"/v1/vector_stores/{house.ours}/files", json=body)
            assert attached.status_code == 404
        batch = {"file_ids": [house.our_file, house.their_file]}
        assert client.post(f"/v1/vector_stores/{house.ours}/file_batches", json=batch).status_code == 404
        for model in ("cogcore", "cogcore/theirs", f"cogcore/{house.theirs}", "cogcore/default"):
            asked = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
            answer = client.post("/v1/chat/completions", json=asked)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
            assert "theirs" not in answer.text.replace(model, "")
        asked = {"model": "cogcore/ours", "messages": [{"role": "user", "content": "Hi"}]}
        for named in ("theirs", house.theirs, "default", "none"):
            answer = client.post("/v1/chat/completions", json={**asked, "cogcore": {"stores": ["ours", named]}})
            assert (answer.status_code, answer.json()["error"]["param"]) == (404, "cogcore.stores[1]")


def test_what_is_seen(house: House) -> None:
    with house.client("read", house.ours) as client:
        assert [one["id"] for one in client.get("/v1/vector_stores").json()["data"]] == [house.ours]
        assert [one["id"] for one in client.get("/v1/files").json()["data"]] == [house.our_file]
        assert [one["id"] for one in client.get("/v1/cogcore/aliases").json()["data"]] == ["lakes"]
        models = [one["id"] for one in client.get("/v1/models").json()["data"]]
        assert models == ["cogcore/lakes", "cogcore/ours", "hashed-words"]
        for name in ("ours", "lakes", house.ours):
            found = client.post(f"/v1/vector_stores/{name}/search", json={"query": "Arven vault"}).json()["data"]
            assert [one["file_id"] for one in found] == [house.our_file]
        assert LAKES in client.get(f"/v1/passages/{found[0]['chunk_id']}").text
        assert client.get(f"/v1/files/{house.our_file}/content").text == LAKES
        embedded = client.post("/v1/embeddings", json={"model": "hashed-words", "input": "any"})
        assert embedded.status_code == 200
        key = client.headers["authorization"].removeprefix("Bearer ")
        results = call(house.base_url, "search", key=key, query="vault zyzzyva Arven")["results"]
        assert [one["text"] for one in results] == [LAKES]
        forged = results[0]["url"].replace(results[0]["id"], house.their_chunk)
        assert httpx.get(results[0]["url"]).status_code == 200 and httpx.get(forged).status_code == 401
    everything = call(house.base_url, "search", key="sesame", query="vault zyzzyva Arven")["results"]
    assert {one["text"] for one in everything} == {LAKES, SECRET}


def test_an_alias_that_moves_leads_nobody_astray(house: House) -> None:
    aliases = house.parts.memory.aliases
    aliases.set("moving", house.ours)
    with house.client("read", house.ours) as client:
        assert client.get("/v1/vector_stores/moving").json()["id"] == house.ours
        aliases.set("moving", house.theirs)
        assert client.get("/v1/vector_stores/moving").status_code == 404
        aliases.set("moving", house.ours)
        assert client.get("/v1/cogcore/aliases/moving").json()["before"] == []
    aliases.remove("moving")


def test_two_stores_of_one_name_of_which_one_is_seen(house: House) -> None:
    namesake = house.parts.memory.create_store("ours").id
    with house.client("read", house.ours) as client:
        assert client.get("/v1/vector_stores/ours").json()["id"] == house.ours
        assert client.get("/v1/models/cogcore/ours").status_code == 200
    house.parts.memory.delete_store(namesake)


def test_documents_come_and_go_by_a_limited_key(house: House) -> None:
    memory = house.parts.memory
    with house.client("write", house.ours) as ours, house.client("write", house.theirs) as theirs:
        data = {"purpose": "assistants"}
        upload: dict[str, Any] = {
            "files": {"file": ("new.md", b"The weir is new.")},
            "headers": {"Idempotency-Key": "one"},
        }
        file = ours.post("/v1/files", data=data, **upload).json()["id"]
        assert theirs.post("/v1/files", data=data, **upload).json()["id"] != file, "an Idempotency-Key is one client's"
        assert ours.post("/v1/files", data=data, **upload).json()["id"] == file
        # In no store yet: there for who uploaded it.
        assert ours.get(f"/v1/files/{file}").status_code == 200
        assert theirs.get(f"/v1/files/{file}").status_code == theirs.delete(f"/v1/files/{file}").status_code == 404
        assert ours.post(f"/v1/vector_stores/{house.ours}/files", json={"file_id": file}).status_code == 200
        assert memory.wait(house.ours, file).status == "completed"
        # Somebody who sees all puts it into a store that this key does not see.
        memory.attach(house.theirs, file)
        assert memory.wait(house.theirs, file).status == "completed"
        assert ours.delete(f"/v1/files/{file}").json()["deleted"] is True
        assert ours.get(f"/v1/files/{file}").status_code == 404
        assert memory.stores_of(file) == [house.theirs] and theirs.get(f"/v1/files/{file}").status_code == 200
        assert theirs.delete(f"/v1/files/{file}").json()["deleted"] is True
        with httpx.Client(base_url=house.base_url, headers={"Authorization": "Bearer sesame"}) as root:
            assert root.get(f"/v1/files/{file}").status_code == 404


def test_the_routes_make_list_and_revoke_keys(house: House) -> None:
    keys = "/v1/cogcore/keys"
    with house.client("admin") as admin:
        told = admin.post(keys, json={"name": "shop", "scope": "write", "stores": ["lakes"]}).json()
        assert (told["stores"], told["organisation"], told["scope"]) == ([house.ours], ORGANISATION, "write")
        with OpenAI(base_url=f"{house.base_url}/v1", api_key=told.pop("key"), max_retries=0) as client:
            assert [store.id for store in client.vector_stores.list()] == [house.ours]
            one = admin.get(f"{keys}/{told['id']}").json()
            assert one == {**told, "last_used_at": one["last_used_at"]} and one["last_used_at"] >= told["created_at"]
            assert told["id"] in [key["id"] for key in admin.get(keys).json()["data"]]
            assert admin.delete(f"{keys}/{told['id']}").json()["revoked_at"] is not None
            with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"):
                client.models.list()
        for wrong, status, param in (
            ({"name": "x", "scope": "owner"}, 400, "scope"),
            ({"name": "x", "stores": ["nowhere"]}, 404, None),
            ({"name": "x", "scope": "admin", "stores": ["ours"]}, 400, "stores"),
            ({"name": "x", "expires_at": int(time.time()) - 1}, 400, "expires_at"),
        ):
            refused = admin.post(keys, json=wrong)
            assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)
        assert admin.get(f"{keys}/key_none").status_code == admin.delete(f"{keys}/key_none").status_code == 404


def test_the_first_key_closes_an_open_server(tmp_path: Path) -> None:
    parts = parts_in(tmp_path)
    with live(parts) as base_url, httpx.Client(base_url=base_url) as client:
        assert client.get("/v1/models").status_code == 200
        secret = client.post("/v1/cogcore/keys", json={"name": "first", "scope": "admin"}).json()["key"]
        assert client.get("/v1/models").status_code == 401
        headers = {"Authorization": f"Bearer {secret}"}
        (key,) = client.get("/v1/cogcore/keys", headers=headers).json()["data"]
        file = parts.memory.add_file("lakes.md", LAKES.encode()).id
        parts.memory.attach("default", file)
        parts.memory.wait("default", file)
        url = call(base_url, "search", key=secret, query="Arven")["results"][0]["url"]
        assert LAKES[:4] in httpx.get(url).text, "signed, though no COGCORE_API_KEY is set"
        assert client.delete(f"/v1/cogcore/keys/{key['id']}", headers=headers).status_code == 200
        assert client.get("/v1/models", headers=headers).status_code == 401
        assert client.get("/v1/models").status_code == 401, "still closed"


def test_cached_prompts_are_shared_within_an_organisation_and_a_sight(house: House) -> None:
    engine = cast(ScriptedEngine, house.parts.core.engine)

    def ask(salt: str = "", **given: Any) -> str:
        """The key that the engine is given for a request of a new API key."""
        engine.scripts.append([1, 2])
        before = engine.keys
        with house.client("read", *given.pop("stores", ()), **given) as client:
            body = {"model": "cogcore", "prompt": "Hi", "max_tokens": 2, "cache_salt": salt}
            assert client.post("/v1/completions", json=body).status_code == 200
        return "".join(engine.keys - before)

    acme = ask(organisation="acme")
    assert acme and ask(organisation="acme") == ""
    others = [ask(organisation="umbrella"), ask("k", organisation="acme"), ask("k", organisation="umbrella")]
    others += [ask(organisation="acme", stores=[house.ours]), ask(organisation="acme", stores=[house.theirs])]
    assert len({acme, *others, ""}) == 7
    assert ask("acme") not in ("", acme), "a salt is no organisation"
