"""Files: what goes in comes out, lists have pages, and what cannot be is refused with a reason."""

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import httpx
import openai
import pytest
from openai import OpenAI

from app.keys import FILE as KEYS
from app.keys import Key, Keys
from app.uploads import Uploads
from index.memory import Memory
from tests.api.live import scripted
from tests.fakes import ScriptedEngine


def test_a_file_is_kept_as_it_came(client: OpenAI) -> None:
    data = bytes(range(256)) * 300
    made = client.files.create(file=("Größe.bin", data), purpose="user_data")
    assert (made.object, made.bytes, made.filename, made.purpose, made.status) == (
        "file",
        len(data),
        "Größe.bin",
        "user_data",
        "processed",
    )
    assert client.files.retrieve(made.id) == made
    content = client.files.content(made.id)
    assert content.read() == data
    # Never shown by a browser as a page of ours.
    assert content.response.headers["content-disposition"].startswith("attachment")
    assert content.response.headers["x-content-type-options"] == "nosniff"
    assert client.files.delete(made.id).model_dump() == {"id": made.id, "object": "file", "deleted": True}
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


@pytest.mark.parametrize("name", ["第1回\u3000議事録.md", "می\u200cخواهم.md", "9.41\u202fAM a/b; 5 %.md"])
def test_a_file_is_given_back_under_its_name(client: OpenAI, name: str) -> None:
    made = client.files.create(file=(name, b"text"), purpose="user_data")
    assert made.filename == name
    said = client.files.content(made.id).response.headers["content-disposition"]
    form, _, given = said.partition("''")
    assert form == "attachment; filename*=utf-8" and unquote(given) == name
    assert re.fullmatch(r"[A-Za-z0-9%._~-]+", given), "RFC 5987 lets no other character stand as it is"


def test_listing_goes_page_by_page(client: OpenAI) -> None:
    made = [client.files.create(file=(f"{n}.txt", b"text"), purpose="batch").id for n in range(5)]
    ascending = client.files.list(purpose="batch", order="asc", limit=2)
    assert [f.id for f in ascending.data] == made[:2]
    assert ascending.has_more
    assert [f.id for f in ascending] == made
    assert [f.id for f in client.files.list(purpose="batch", limit=2)] == made[::-1]
    assert client.files.list(purpose="vision").data == []


def test_expiry(client: OpenAI) -> None:
    expires: openai.types.file_create_params.ExpiresAfter = {"anchor": "created_at", "seconds": 3600}
    made = client.files.create(file=("a.txt", b"text"), purpose="assistants", expires_after=expires)
    assert made.expires_at is not None
    assert 3590 <= made.expires_at - time.time() <= 3601
    with pytest.raises(openai.BadRequestError, match="3600 to 2592000"):
        client.files.create(
            file=("a.txt", b"text"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 60}
        )


def test_a_retry_with_the_same_key_uploads_once(client: OpenAI) -> None:
    def upload(data: bytes) -> str:
        headers = {"Idempotency-Key": "once"}
        return client.files.create(file=("a.txt", data), purpose="assistants", extra_headers=headers).id

    first = upload(b"text")
    assert upload(b"text") == first
    with pytest.raises(openai.BadRequestError, match="another file"):
        upload(b"other")
    client.files.delete(first)
    assert upload(b"text") != first
    # Also while the first still goes on.
    headers = {"Idempotency-Key": "at once"}
    with ThreadPoolExecutor(4) as pool:
        data = b"x" * 1_000_000
        made = [
            pool.submit(client.files.create, file=("b.txt", data), purpose="assistants", extra_headers=headers)
            for _ in range(4)
        ]
    assert len({one.result().id for one in made}) == 1


@pytest.mark.parametrize("moment", ["before", "after", "answered"])
def test_a_retry_after_a_crash_uploads_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """The server goes down just before the file is in the catalog, just after, or once it has answered."""
    add_file = Memory.add_file

    def failing(memory: Memory, *given: Any) -> Any:
        if moment == "after":
            add_file(memory, *given)
        raise OSError("down")

    def upload(url: str, key: str = "once") -> httpx.Response:
        sent: dict[str, Any] = {"files": {"file": ("a.txt", b"text")}, "data": {"purpose": "assistants"}}
        headers = {"Idempotency-Key": key, "Authorization": f"Bearer {secret}"}
        return httpx.post(f"{url}/v1/files", **sent, headers=headers, timeout=60)

    with closing(Keys(tmp_path / KEYS)) as keys:
        _, secret = keys.create(Key("one store", "write", stores=("vs_none",)))
        _, other = keys.create(Key("another", "write"))
    with scripted(ScriptedEngine(), tmp_path) as url:
        if moment != "answered":
            monkeypatch.setattr(Memory, "add_file", failing)
        assert (upload(url).status_code == 200) == (moment == "answered")
    monkeypatch.undo()
    with scripted(ScriptedEngine(), tmp_path) as url:
        made = upload(url).json()["id"]
        assert upload(url).json()["id"] == made
        listed = httpx.get(f"{url}/v1/files", headers={"Authorization": f"Bearer {secret}"}).json()["data"]
        assert [file["id"] for file in listed] == [made]
        secret = other  # whose keys are others
        assert upload(url).json()["id"] != made


def test_uploads_are_remembered_for_a_day_and_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Uploads(tmp_path / "uploads.sqlite")) as record:
        record.expire()  # before there is a file
        assert record.find("key_1", "a") is None
        for caller, key in (("key_1", "a"), ("key_1", "b"), ("key_2", "a")):
            record.note(caller, key, f"file-{caller}-{key}")
        assert record.find("key_1", "a") == "file-key_1-a" and record.find("key_2", "b") is None
        record.note("key_1", "a", "file-later")
        monkeypatch.setattr("app.uploads.KEPT", 1)
        record.note("key_1", "c", "file-c")
        found = [record.find("key_1", key) for key in "abc"] + [record.find("key_2", "a")]
        assert found == [None, None, "file-c", "file-key_2-a"]
        now = time.time() + 86_400 + 2
        monkeypatch.setattr("app.uploads.time", SimpleNamespace(time=lambda: now))
        assert record.find("key_1", "c") is None
        record.expire()
    assert b"file-c" not in (tmp_path / "uploads.sqlite").read_bytes()


@pytest.mark.parametrize(
    ("files", "data", "param"),
    [
        ({"file": ("a.txt", b"")}, {"purpose": "assistants"}, "file"),
        ({"file": ("a.txt", b"text")}, {"purpose": "world domination"}, "purpose"),
        ({"file": ("a.txt", b"text")}, {}, "purpose"),
        ({}, {"purpose": "assistants"}, "file"),
        ({"file": ("a.txt", b"text")}, {"purpose": "assistants", "colour": "red"}, "colour"),
    ],
)
def test_bad_uploads(raw: httpx.Client, files: dict[str, tuple[str, bytes]], data: dict[str, str], param: str) -> None:
    answer = raw.post("/v1/files", files=files or None, data=data)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_an_upload_over_the_limit(client: OpenAI, raw: httpx.Client) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.files.create(file=("big.txt", b"x" * 5_000_000), purpose="assistants")
    assert refused.value.status_code == 413
    assert refused.value.code == "body_too_large"

    def endless() -> "list[bytes]":
        return [b"x" * 100_000] * 50

    # A body without a Content-Length is stopped as well.
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    start = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    answer = raw.post("/v1/files", content=iter([start, *endless()]), headers=headers)
    assert answer.status_code == 413
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_an_upload_over_the_limit_is_read_to_its_end(server: str) -> None:
    """Who is cut off while sending never reads why."""
    url = httpx.URL(server)
    head = "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    with socket.create_connection((url.host, url.port or 80)) as caller:
        caller.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for piece in (part, *[b"x" * 1_000_000] * 30):
            caller.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        caller.sendall(b"0\r\n\r\n")
        assert caller.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_unknown_file(client: OpenAI) -> None:
    for attempt in (client.files.retrieve, client.files.delete, client.files.content):
        with pytest.raises(openai.NotFoundError) as refused:
            attempt("file-none")
        assert refused.value.code == "not_found"
