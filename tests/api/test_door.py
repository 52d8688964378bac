"""What every request passes: the key, the id, the limits; and one shape for every error."""

import asyncio
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
from fastapi import FastAPI
from openai import OpenAI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import Parts, create_app
from app.api.access import OPEN, Access
from app.api.door import Door
from app.api.errors import TABLE, TimedOut, describe
from app.api.quota import OverLimit
from app.cores.load import Core, load_core
from app.engine.types import EngineBusy, EngineClosed, PromptTooLong
from app.settings import read
from index.errors import EmbedderMismatch
from index.memory import Memory
from index.types import Embedder
from tests.api.conftest import RIVERS
from tests.api.live import live


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, device: str) -> Iterator[tuple[str, FastAPI]]:
    folder = tmp_path_factory.mktemp("locked")
    core = load_core(device=device, threads=1)
    parts = Parts(core, Memory(folder, embedder), read(data_dir=folder, api_key="sesame"))
    with live(parts) as base_url:
        yield base_url, create_app(parts)


def test_every_route_but_health_needs_the_key(locked: tuple[str, FastAPI]) -> None:
    base_url, app = locked
    routes = [(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods]
    assert len(routes) > 20
    routes += [
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/nowhere"),
        ("GET", "//v1/files"),
        ("OPTIONS", "/v1"),
    ]
    with httpx.Client(base_url=base_url) as client:
        for method, path in routes:
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": "sesame"},
                {"X-Api-Key": "sesame"},
            ):
                answer = client.request(method, path, headers=headers)
                if path in OPEN:
                    assert answer.status_code == 200
                else:
                    assert answer.status_code == 401, (method, path)
                    error = answer.json()["error"]
                    assert error.get("data", error)["code"] == "invalid_api_key"
                    assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/v1/files?api_key=sesame", headers={"Cookie": "key=sesame"}).status_code == 401
        assert client.get("/v1/files", headers={"Authorization": "bearer sesame"}).status_code == 200


def test_openais_client_with_and_without_the_key(locked: tuple[str, FastAPI]) -> None:
    base_url, _ = locked
    assert OpenAI(base_url=f"{base_url}/v1", api_key="sesame").models.list().data[0].id == "cogcore"
    with pytest.raises(openai.AuthenticationError) as refused:
        OpenAI(base_url=f"{base_url}/v1", api_key="guess").models.list()
    assert refused.value.code == "invalid_api_key"


def test_a_citation_opens_in_a_browser_that_has_no_key(locked: tuple[str, FastAPI]) -> None:
    base_url, _ = locked
    with OpenAI(base_url=f"{base_url}/v1", api_key="sesame") as client:
        file = client.files.create(file=("rivers.md", RIVERS), purpose="assistants")
        client.vector_stores.files.create_and_poll(file.id, vector_store_id="default")
        reply = client.chat.completions.create(
            model="cogcore",
            messages=[{"role": "user", "content": "How long is the Sorne?"}],
            tool_choice="required",
            extra_body={"cogcore": {"abstain_below": 0.0}},
        )
    link = httpx.URL((reply.choices[0].message.annotations or [])[0].url_citation.url)
    assert "<mark>" in httpx.get(link).text
    signature = link.params["signature"]
    for other in (
        link.copy_remove_param("signature"),
        link.copy_set_param("signature", signature[::-1]),
        link.copy_set_param("signature", "é"),
        link.copy_with(path=link.path + "0"),
        link.copy_with(path="/v1/files"),
    ):
        assert httpx.get(other).status_code == 401, other


def test_without_a_key_other_sites_pages_are_refused(raw: httpx.Client) -> None:
    port = raw.base_url.port
    for headers in (
        {"Host": "evil.example"},
        {"Host": "["},
        {"Origin": "http://evil.example"},
        {"Origin": "http://["},
        {"Origin": "null"},
    ):
        answer = raw.post("/v1/vector_stores", json={"name": "x"}, headers=headers)
        assert answer.status_code == 403, headers
        assert answer.json()["error"]["code"] == "forbidden"
    assert raw.get("/v1/models", headers={"Host": f"localhost:{port}"}).status_code == 200
    assert raw.get("/v1/models", headers={"Origin": f"http://127.0.0.1:{port}"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "unknown_url"),
        ("GET", "/docs", 404, "unknown_url"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/files/file-none", 404, "not_found"),
    ],
)
def test_every_error_has_openais_four_keys(raw: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    answer = raw.request(method, path)
    error = answer.json()["error"]
    assert (answer.status_code, set(error)) == (status, {"message", "type", "param", "code"})
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b'{"name": "\xff"}', "Invalid"),
        (b"", "body is missing"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"[" * 100_000, "Invalid"),
    ],
)
def test_bodies_that_are_no_json_objects(raw: httpx.Client, content: bytes, said: str) -> None:
    answer = raw.post("/v1/vector_stores", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert said in answer.json()["error"]["message"] or said == "Invalid"


def test_a_json_body_has_a_limit_too(raw: httpx.Client) -> None:
    answer = raw.post("/v1/vector_stores", json={"name": "x" * 9_000_000})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


def test_ids_and_times(raw: httpx.Client) -> None:
    first, second = (raw.get("/health").headers["x-request-id"] for _ in range(2))
    assert first != second
    answer = raw.get("/nowhere", headers={"X-Client-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert int(answer.headers["openai-processing-ms"]) >= 0
    assert raw.get("/health", headers={"X-Client-Request-Id": "a" * 600}).headers["x-request-id"].startswith("req_")


def test_health_and_version(raw: httpx.Client) -> None:
    assert raw.get("/health").json() == raw.get("/healthz").json() == {"status": "ok"}
    assert raw.get("/readyz").json() == {"status": "ready"}
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert raw.get("/version").json() == {"name": "cogcore", "version": project["version"], "core": "tiny"}


def test_domain_errors_are_told_once() -> None:
    message, row, headers = describe(EngineBusy("the queue is full", 1.2))
    assert (message, row.status, row.code) == ("The queue is full.", 429, "rate_limit_exceeded")
    assert headers == {"Retry-After": "2", "retry-after-ms": "1200", "x-should-retry": "true"}
    message, row, _ = describe(PromptTooLong(31, 30))
    assert message == "This model's maximum context length is 30 tokens, and the prompt has 31: shorten it."
    assert (row.status, row.code, row.param) == (400, "context_length_exceeded", "messages")
    assert describe(FileNotFoundError("/etc/secret"))[0].startswith("The server failed")
    assert all(400 <= row.status < 600 for row in TABLE.values())


async def test_our_own_failure_is_500_in_the_same_shape(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("secret path")

    sent = await through(broken)
    assert sent[0]["status"] == 500
    assert b"internal_error" in sent[1]["body"]
    assert b"secret" not in sent[1]["body"]
    assert "ZeroDivisionError: secret path" in caplog.text


async def through(app: ASGIApp, **settings: Any) -> list[Message]:
    """What a door lets out of an application."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"host", b"localhost")]}
    parts = Parts(cast(Core, None), cast(Memory, None), read(data_dir="/nowhere", **settings))
    await asyncio.wait_for(Door(app, parts.settings, Access(parts), parts.drain)(scope, receive, send), 5)
    return sent


async def test_an_answer_that_does_not_begin_in_time_is_given_up() -> None:
    ended: list[str] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("slow")

    start, body = await through(slow, request_timeout=0.05)
    assert (start["status"], ended) == (504, ["slow"])
    assert (b"x-should-retry", b"false") in start["headers"]
    assert b"request_timeout" in body["body"]


@pytest.mark.parametrize("seconds", [0.05, 0])
async def test_a_stream_that_has_begun_may_go_on(seconds: float) -> None:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"end"})

    start, body = await through(stream, request_timeout=seconds)
    assert (start["status"], body["body"]) == (200, b"end")


async def test_a_timeout_of_the_applications_own_is_its_failure() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("the disk")

    start, _ = await through(failing)
    assert start["status"] == 500


def test_what_will_not_change_is_not_to_be_retried() -> None:
    for error, told in (
        (EmbedderMismatch("another"), {"x-should-retry": "false"}),
        (TimedOut(1.5), {"x-should-retry": "false"}),
        (EngineClosed("closing"), {"Retry-After": "5", "retry-after-ms": "5000", "x-should-retry": "true"}),
        # Longer than clients wait: they would ask again at once.
        (OverLimit(1, "tokens", 121), {"Retry-After": "121", "retry-after-ms": "121000", "x-should-retry": "false"}),
    ):
        assert describe(error)[2] == told
    assert describe(TimedOut(1.5))[0].startswith("No answer could be begun within 1.5 s")
