"""A store leaves a server as a file and comes into another: by HTTP, and by the command."""

import io
import json
import zipfile
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from app.__main__ import main
from app.api import Parts
from app.audit import FILE, Audit
from index.memory import Memory
from tests.api.test_access import parts_in
from tests.fakes import HashedWords

STORES = "/v1/cogcore/stores"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return parts_in(tmp_path_factory.mktemp("data"), max_bundle_mb=1)


@pytest.fixture(scope="module")
def store(server: str) -> str:
    with OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
        store = client.vector_stores.create(name="valley", metadata={"owner": "ada"}).id
        file = client.files.create(file=("rivers.md", b"The Sorne is 312 kilometres long."), purpose="assistants")
        client.vector_stores.files.create_and_poll(file.id, vector_store_id=store, attributes={"year": 1874})
        return store


def test_a_store_goes_out_and_in_and_the_alias_moves_and_back(raw: httpx.Client, parts: Parts, store: str) -> None:
    raw.post("/v1/cogcore/aliases/live", json={"vector_store_id": store})
    out = raw.get(f"{STORES}/live/export")
    assert out.status_code == 200 and out.headers["content-type"] == "application/zip"
    assert int(out.headers["content-length"]) == len(out.content)
    assert out.headers["content-disposition"] == "attachment; filename*=utf-8''valley.cogcore.zip"
    assert zipfile.ZipFile(io.BytesIO(out.content)).testzip() is None
    made = raw.post(f"{STORES}/import", params={"alias": "live"}, content=out.content).json()
    assert made == {
        **made,
        "object": "cogcore.import",
        "name": "valley-2",
        "version": 2,
        "documents": 1,
        "chunks": 1,
        "vectors": "kept",
        "expired": 0,
    }
    assert (made["alias"]["vector_store_id"], made["alias"]["before"]) == (made["id"], [store])
    assert raw.get(f"/v1/vector_stores/{made['id']}").json()["metadata"] == {"owner": "ada"}
    for wanted in (made["id"], store):
        found = raw.post("/v1/vector_stores/live/search", json={"query": "Sorne"}).json()
        assert (found["vector_store_id"], found["version"], len(found["data"])) == (wanted, 2, 1)
        assert found["data"][0]["attributes"] == {"year": 1874}
        back = raw.post("/v1/cogcore/aliases/live/rollback")
    assert back.status_code == 400, "there is nothing before the first"
    told = [json.loads(line) for line in Audit(parts.settings.data_dir / FILE).last(20)]
    actions = {line["action"]: line["object"] for line in told}
    assert actions[f"GET {STORES}/{{store_id}}/export"] == {"store_id": "live"}
    assert actions[f"POST {STORES}/import"] == {"id": made["id"]}


def test_refusals(raw: httpx.Client, parts: Parts, store: str) -> None:
    data = raw.get(f"{STORES}/{store}/export").content
    before = parts.memory.stats()
    for params, content, status, code, param in (
        ({}, data[:-9], 400, "invalid_bundle", None),
        ({}, b"", 400, "invalid_bundle", None),
        ({"name": "valley"}, data, 400, "invalid_value", "name"),
        ({"name": "new", "alias": "valley"}, data, 400, "invalid_value", "alias"),
        ({"name": "new", "alias": "new"}, data, 400, "invalid_value", "name"),
        ({"alias": "a b"}, data, 400, "invalid_value", "alias"),
        ({"reembed": "perhaps"}, data, 400, "invalid_value", "reembed"),
        ({}, data + bytes(2**20), 413, "body_too_large", None),
    ):
        answer = raw.post(f"{STORES}/import", params=params, content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
        assert answer.json()["error"]["param"] == param
    assert raw.get(f"{STORES}/nowhere/export").status_code == 404
    assert parts.memory.stats() == before


def test_vectors_of_another_embedder_are_made_again_if_asked(
    raw: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "other.zip"
    with file.open("wb+") as out:
        memory = Memory(tmp_path / "other", HashedWords(32, "others"))
        one = memory.add_file("lakes.md", b"Lake Arven is 88 metres deep.").id
        memory.attach("default", one)
        memory.wait("default", one)
        memory.exporter.export("default", out)
        memory.close()
    refused = raw.post(f"{STORES}/import", content=file.read_bytes()).json()["error"]
    assert refused["param"] == "reembed" and "made by others/32" in refused["message"]
    made = raw.post(f"{STORES}/import", params={"reembed": True, "name": "lakes"}, content=file.read_bytes()).json()
    assert made["vectors"] == "made again"
    assert raw.post("/v1/vector_stores/lakes/search", json={"query": "Arven"}).json()["data"]


def test_the_commands_with_a_server(
    server: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COGCORE_PORT", server.rpartition(":")[2])
    file = tmp_path / "valley.cogcore.zip"
    assert main(["export", "valley", str(file)]) == 0
    assert main(["import", str(file), "--store", "hills", "--alias", "now"]) == 0
    said = capsys.readouterr().out
    assert f"valley -> {file} (" in said and "hills: 1 documents, searchable; the alias now points to it" in said
    assert main(["import", str(file), "--store", "hills"]) == 1
    assert "is a store or an alias already" in capsys.readouterr().err
    assert main(["export", "nowhere", str(tmp_path / "no.zip")]) == 1
    assert "there is no store 'nowhere'" in capsys.readouterr().err.lower()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_the_commands_wait_for_as_long_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limits: list[dict[str, float | None]] = []

    async def cut_off(_: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/version":
            return httpx.Response(200, json={"name": "cogcore"})
        limits.append(request.extensions["timeout"])
        raise httpx.ReadError("")

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", cut_off)
    file = tmp_path / "valley.cogcore.zip"
    file.touch()
    for command in (["export", "valley", str(file)], ["import", str(file)]):
        assert main(command) == 1
        assert capsys.readouterr().err.endswith(": ReadError\n")
    assert [(limit["read"], limit["write"], limit["connect"]) for limit in limits] == [(None, None, 2)] * 2
