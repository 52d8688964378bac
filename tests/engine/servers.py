"""Real servers for the engine over HTTP, with what goes wrong on the way to them, and a client of each."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import Parts
from app.cores.load import SAMPLE, TINY_FOLDER, load_core, load_tokenizer
from app.engine.remote import Reading, RemoteEngine, connect
from app.settings import read
from index.memory import Memory
from tests.fakes import HashedWords


def parts_in(folder: Path, **settings: Any) -> Parts:
    """The embedded core behind a server that closes it."""
    core = load_core(threads=1, max_sequences=4)
    return Parts(core, Memory(folder, HashedWords()), read(data_dir=folder, **settings))


def reading() -> Reading:
    tokenizer = load_tokenizer(TINY_FOLDER)
    return Reading(len(tokenizer), SAMPLE, tokenizer.encode(SAMPLE, add_special_tokens=False))


@asynccontextmanager
async def remote(*urls: str, silence: float = 60, **settings: Any) -> AsyncIterator[RemoteEngine]:
    engine = connect(urls, "cogcore", reading(), timeout=silence, **settings)
    try:
        yield engine
    finally:
        await engine.close()


class Between:
    """Stands before a server and does to completions what networks and other servers do; nothing unless told."""

    def __init__(self) -> None:
        self.asked = 0
        self.busy: list[str] = []  # Retry-After of the next refusals
        self.fails: list[int] = []  # the next answers' statuses
        self.silent = False
        self.echoes = True

    def __call__(self, app: ASGIApp) -> ASGIApp:
        async def stand(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] != "/v1/completions":
                await app(scope, receive, send)
                return
            self.asked += 1
            message = await receive()
            body = message["body"]
            while message.get("more_body"):
                message = await receive()
                body += message["body"]
            if self.silent:
                await receive()
            elif self.busy:
                headers = {"Retry-After": self.busy.pop(0)}
                await JSONResponse({"error": {"message": "too much to do"}}, 503, headers)(scope, receive, send)
            elif self.fails:
                await PlainTextResponse("gone", self.fails.pop(0))(scope, receive, send)
            elif json.loads(body).get("echo") and not self.echoes:
                # llama.cpp's words.
                await JSONResponse({"error": {"message": "Only no echo is supported"}}, 400)(scope, receive, send)
            else:
                given = iter([{"type": "http.request", "body": body, "more_body": False}])

                async def replay() -> dict[str, object]:
                    return next(given, None) or dict(await receive())

                await app(scope, replay, send)

        return stand


async def until_slots(parts: Parts, running: int) -> None:
    """Wait until so many requests run in the server's own engine."""
    for _ in range(1000):
        usage = parts.core.engine.usage()  # type: ignore[attr-defined]
        if usage.running + usage.waiting == running:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{usage.running} run and {usage.waiting} wait, not {running}")
