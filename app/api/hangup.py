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


class Started(AsyncGenerator[T, None]):
    """A generator whose first item was awaited already. Closing it closes the generator, begun or not."""

    def __init__(self, first: T, source: AsyncGenerator[T]) -> None:
        self.first: list[T] = [first]
        self.source = source

    async def __anext__(self) -> T:
        return self.first.pop() if self.first else await anext(self.source)

    async def asend(self, value: None) -> T:
        return await anext(self)

    async def athrow(self, *error: Any) -> T:
        return await self.source.athrow(*error)

    async def aclose(self) -> None:
        await self.source.aclose()


async def start(source: AsyncGenerator[T]) -> Started[T]:
    """Await the first item now: what fails at once then fails while an HTTP status can still be chosen."""
    return Started(await anext(source), source)
