"""A small server that keeps the manners of ours and may have one vice, for whoever is to notice it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

Vice = Literal["none", "leaks", "sticks", "keeps slots", "breaks off", "takes anything", "fails"]
SLOTS, LEAK, MIB = 8, 40, 2**20
EVERY = 10  # which request the vice befalls
STUCK = 9.0  # seconds: longer than who asks has patience, and no longer than a test has
TOLD: dict[str, Any] = {"searches": [{}], "citations": [{}], "rounds": [{"prompt": 9, "cached": 0, "generated": 3}]}


class Server:
    """Answers every question with itself."""

    def __init__(self, vice: Vice = "none") -> None:
        self.vice = vice
        self.asked = self.running = self.lost = 0
        self.memory = 100 * MIB

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.url.path == "/metrics":
            return PlainTextResponse(self._metrics())
        refused = _refused(request.url.path, await request.body())
        if refused and self.vice != "takes anything":
            return JSONResponse({"error": {"message": "no"}}, refused)
        return await self._turn(json.loads(await request.body() or "{}") if not refused else {})

    async def _turn(self, body: dict[str, Any]) -> Response:
        self.asked += 1
        unlucky = self.asked % EVERY == 0
        self.memory += LEAK * MIB * (unlucky and self.vice == "leaks")
        self.lost += unlucky and self.vice == "keeps slots"
        if unlucky and self.vice == "fails":
            return JSONResponse({"error": {"message": "our own bug"}}, 500)
        self.running += 1
        try:
            await asyncio.sleep(STUCK if unlucky and self.vice == "sticks" else 0.005)
        finally:
            self.running -= 1
        text = body["messages"][0]["content"] if body else ""
        if body.get("stream"):
            return StreamingResponse(_events(text, broken=unlucky and self.vice == "breaks off"))
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return JSONResponse({"choices": [choice], "cogcore": TOLD})

    def _metrics(self) -> str:
        told = {"num_requests_running": self.running, "num_requests_waiting": 0, "kv_cache_slots": SLOTS}
        told["kv_cache_slots_free"] = SLOTS - min(SLOTS, self.lost)
        lines = [f"cogcore_{name} {value}" for name, value in told.items()]
        return "\n".join([*lines, f"process_resident_memory_bytes {self.memory}", ""])


def _refused(path: str, given: bytes) -> int | None:
    try:
        body = json.loads(given)
    except ValueError:
        return 400
    plain = path == "/v1/chat/completions" and set(body) <= {"model", "messages", "stream"} and body["messages"]
    if not plain or len(given) > 10_000:
        return 400
    return None if body["model"] == "cogcore" else 404


async def _events(text: str, *, broken: bool) -> AsyncIterator[str]:
    for n, word in enumerate(text.split(" ")):
        yield _frame({"choices": [{"delta": {"content": " " * bool(n) + word}, "finish_reason": None}]})
    if not broken:
        yield _frame({"choices": [{"delta": {}, "finish_reason": "stop"}], "cogcore": TOLD})
        yield "data: [DONE]\n\n"


def _frame(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk)}\n\n"
