"""The turns of one request side by side, as one stream that tells when it is silent."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

from anyio import CancelScope

T = TypeVar("T")


async def abreast(turns: Sequence[AsyncGenerator[T]], silence: float) -> AsyncGenerator[tuple[int, T] | None]:
    """What the turns yield, as it comes, each with the number of its turn; None after `silence` seconds of nothing.

    The first failure ends them all, and so does closing.
    """
    running = {asyncio.ensure_future(anext(turn)): number for number, turn in enumerate(turns)}
    try:
        while running:
            ready, _ = await asyncio.wait(running, timeout=silence, return_when=asyncio.FIRST_COMPLETED)
            if not ready:
                yield None
            for task in sorted(ready, key=running.__getitem__):
                number = running.pop(task)
                try:
                    event = task.result()
                except StopAsyncIteration:
                    continue
                yield number, event
                running[asyncio.ensure_future(anext(turns[number]))] = number
    finally:
        for task in running:
            task.cancel()
        # A stream that was cancelled, as a client's that hangs up, must still wait until the engine is free.
        with CancelScope(shield=True):
            await asyncio.gather(*running, return_exceptions=True)
            for turn in turns:
                await turn.aclose()
