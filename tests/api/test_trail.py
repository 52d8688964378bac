"""The audit log: a line for each change and none for what was only asked or was refused; no word of a document."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.__main__ import main
from app.audit import FILE, Audit
from app.keys import Key
from tests.api.live import live
from tests.api.test_access import parts_in

CANARY = "zyzzyva"


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Audit(folder / FILE).last(1000)]


def test_each_change_and_nothing_else(tmp_path: Path) -> None:
    parts = parts_in(tmp_path, api_key="sesame")
    key, secret = parts.keys.create(Key("shop", "write", organisation="acme"))
    with (
        live(parts) as base_url,
        httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {secret}"}) as client,
    ):
        upload: dict[str, Any] = {"files": {"file": (f"{CANARY}.md", f"The {CANARY} is new.".encode())}}
        headers = {"X-Client-Request-Id": "mine"}
        file = client.post("/v1/files", data={"purpose": "assistants"}, headers=headers, **upload).json()["id"]
        store = client.post("/v1/vector_stores", json={"name": CANARY}).json()["id"]
        client.post(f"/v1/vector_stores/{store}/files", json={"file_id": file, "attributes": {"about": CANARY}})
        parts.memory.wait(store, file)
        # Asked, refused, or not there: no change.
        client.post(f"/v1/vector_stores/{store}/search", json={"query": CANARY})
        client.get("/v1/files")
        assert client.delete("/v1/files/file-none").status_code == 404
        assert client.post("/v1/vector_stores", json={"nome": CANARY}).status_code == 400
        assert client.get("/v1/cogcore/keys").status_code == 403
        client.post("/v1/cogcore/aliases/live", json={"vector_store_id": store})
        client.delete(f"/v1/files/{file}")
        root = {"Authorization": "Bearer sesame"}
        made = client.post("/v1/cogcore/keys", json={"name": CANARY, "organisation": "umbrella"}, headers=root).json()
        client.delete(f"/v1/cogcore/keys/{made['id']}", headers=root)
    told = lines(tmp_path)
    assert [(line["key"], line["action"], line["object"]) for line in told] == [
        (key.id, "POST /v1/files", {"id": file}),
        (key.id, "POST /v1/vector_stores", {"id": store}),
        (key.id, "POST /v1/vector_stores/{store_id}/files", {"store_id": store, "id": file}),
        (key.id, "POST /v1/cogcore/aliases/{alias}", {"alias": "live", "vector_store_id": store}),
        (key.id, "DELETE /v1/files/{file_id}", {"file_id": file}),
        ("root", "POST /v1/cogcore/keys", {"id": made["id"], "organisation": "umbrella"}),
        ("root", "DELETE /v1/cogcore/keys/{key_id}", {"key_id": made["id"], "organisation": "umbrella"}),
    ]
    assert told[0]["request_id"] == "mine" and {line["organisation"] for line in told[:5]} == {"acme"}
    written = (tmp_path / FILE).read_text()
    assert CANARY not in written and made["key"] not in written and secret not in written
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_none_where_none_is_wanted(tmp_path: Path) -> None:
    with live(parts_in(tmp_path, audit=False)) as base_url:
        assert httpx.post(f"{base_url}/v1/vector_stores", json={}).status_code == 200
    assert not (tmp_path / FILE).exists()


def test_a_log_that_cannot_be_written_stops_no_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).mkdir()
    with live(parts_in(tmp_path)) as base_url:
        made = httpx.post(f"{base_url}/v1/vector_stores", json={})
    assert made.status_code == 200 and "could not be written" in caplog.text


def test_the_command_shows_the_newest_and_keys_of_the_command_are_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--data-dir", str(tmp_path)]
    assert main(["audit", *folder]) == 0 and capsys.readouterr().out == ""
    assert main(["key", "create", "shop", *folder]) == 0
    key_id = capsys.readouterr().out.splitlines()[1].split()[0]
    assert main(["key", "revoke", key_id, *folder]) == 0
    capsys.readouterr()
    assert main(["audit", "--last", "1", *folder]) == 0
    (told,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (told["action"], told["object"]) == ("cogcore key revoke", {"key_id": key_id})
    assert told["key"].startswith("command, user ") and len(lines(tmp_path)) == 2
