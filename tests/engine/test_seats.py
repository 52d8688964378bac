"""Seats at other servers: so many at once, clients in turn, and nothing is lost when one who waits leaves."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.engine.seats import Seats
from app.engine.types import EngineBusy, Whose


async def take(seats: Seats, client: str, done: list[str], *, begun: bool = False) -> None:
    async with seats.one(Whose(client=client, begun=begun)):
        done.append(client)


async def test_clients_take_turns_and_what_was_begun_passes() -> None:
    seats, done = Seats(1, 10), list[str]()
    async with seats.one(Whose()):
        waiting = [asyncio.create_task(take(seats, client, done)) for client in ("many", "many", "few")]
        waiting.append(asyncio.create_task(take(seats, "begun", done, begun=True)))
        await asyncio.sleep(0)
        assert done == []
    await asyncio.gather(*waiting)
    assert done == ["begun", "many", "few", "many"]


async def test_a_full_queue_gives_each_client_a_share() -> None:
    seats, done = Seats(1, 2), list[str]()
    async with seats.one(Whose()):
        many = [asyncio.create_task(take(seats, "many", done)) for _ in range(3)]
        await asyncio.sleep(0)
        others = [asyncio.create_task(take(seats, client, done)) for client in ("few", "third")]
        await asyncio.sleep(0)
    told = await asyncio.gather(*many, *others, return_exceptions=True)
    assert [type(one) for one in told] == [type(None), EngineBusy, EngineBusy, type(None), EngineBusy]
    assert done == ["many", "few"]


async def test_who_leaves_leaves_the_place() -> None:
    seats, done = Seats(2, 10), list[str]()
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(seats.one(Whose()))
        waiting = [asyncio.create_task(take(seats, "a", done)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
    waiting[1].cancel()  # its turn has come, and it does not know yet
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in told] == [True, True, False]
    async with AsyncExitStack() as held, asyncio.timeout(1):
        for _ in range(2):  # both seats are there
            await held.enter_async_context(seats.one(Whose()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await take(seats, "a", done)
