"""A client that hangs up frees the engine: streamed and whole."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Send

T = TypeVar("T")


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled as soon as the client hangs up. The body must have been read."""
    working, gone = asyncio.ensure_future(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        working.cancel()
        gone.cancel()
        # Only once both have ended is the engine free.
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class EventStream(StreamingResponse):
    """Server-sent events that close their source when the client hangs up, even before the first one was sent."""

    def __init__(self, frames: AsyncGenerator[str], source: AsyncGenerator[Any]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(frames, headers=headers, media_type="text/event-stream")
        self.frames, self.source = frames, source

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self.source), aclosing(self.frames):
            await super().stream_response(send)


async def after(first: T, rest: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """The whole of a generator whose first item was awaited already. Closing the rest stays with its owner."""
    yield first
    async for item in rest:
        yield item
