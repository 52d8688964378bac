"""Seats for requests to other servers: so many at once, and clients in turn. Belongs to one event loop."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.engine.admission import Waiting
from app.engine.types import EngineBusy, Whose

RETRY_AFTER = 1.0


@dataclass(eq=False, slots=True)
class _Waiter:
    whose: Whose
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Seats:
    """`count` requests run and `queue` new ones wait."""

    def __init__(self, count: int, queue: int) -> None:
        self._free, self._waiting = count, Waiting[_Waiter](queue)

    @asynccontextmanager
    async def one(self, whose: Whose) -> AsyncGenerator[None]:
        """Raises EngineBusy."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(_Waiter(whose))
        try:
            yield
        finally:
            self._leave()

    async def _wait(self, one: _Waiter) -> None:
        if out := self._waiting.add(one):
            waiting = len(self._waiting)
            out.turn.set_exception(EngineBusy(f"{waiting} requests are waiting already; try again later", RETRY_AFTER))
        try:
            await one.turn
        except asyncio.CancelledError:
            if not self._waiting.remove(one) and not one.turn.cancelled() and one.turn.exception() is None:
                self._leave()  # its turn has come just now
            raise

    def _leave(self) -> None:
        if self._waiting:
            self._waiting.pop(lambda one: one.whose.begun).turn.set_result(None)
        else:
            self._free += 1
