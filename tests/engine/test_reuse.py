"""KV from round to round: kept where there are more conversations than slots, and gone where it must go."""

import asyncio
from collections.abc import Callable

import pytest
from transformers import PreTrainedModel

from app.engine.local import LocalEngine
from app.engine.types import Sampling
from tests.engine.client import Clock, Gate, collect, greedy, ids, numbers, until_idle

Start = Callable[..., LocalEngine]
HEAD, OWN, ROUNDS = 40, 40, 5


async def converse(engine: LocalEngine, own: int) -> list[int]:
    """Rounds that each add what was written and 12 new tokens. All conversations begin with the same HEAD tokens."""
    prompt = ids(HEAD, 1000) + ids(OWN, own)
    written = []
    for number in range(ROUNDS):
        written = numbers(await collect(engine, prompt, Sampling(max_tokens=4, keep=5)))
        prompt = [*prompt, *written, *ids(12, 10 * own + number)]
    return written


async def test_a_working_set_twice_the_slots_is_mostly_reused(start: Start) -> None:
    """8 conversations of 5 rounds over 4 slots, all at once. Without reuse every round is prefilled whole; with the
    shared beginning alone, three fifths of that; with the rounds that find their KV, less than half."""
    engine = start(max_sequences=2, cache_tokens=4 * 160)
    ends = await asyncio.gather(*(converse(engine, own) for own in range(8)))
    await until_idle(engine)
    usage = engine.usage()
    assert usage.prompt_tokens == 8 * sum(HEAD + OWN + 16 * number for number in range(ROUNDS))
    assert usage.prefilled_tokens + usage.cached_tokens == usage.prompt_tokens
    assert usage.prefilled_tokens <= 0.45 * usage.prompt_tokens
    alone = start(cache_tokens=8 * 160)
    assert ends == [await converse(alone, own) for own in range(8)]


async def test_a_kept_round_is_found_after_a_burst_of_others(start: Start) -> None:
    clock = Clock()
    engine = start(max_sequences=1, cache_tokens=2 * 120, clock=clock)
    for keep, waits, cached in ((0.0, 0.0, 0), (5.0, 4.0, 50), (5.0, 6.0, 0)):
        prompt = ids(50, int(100 + keep + waits))
        first = await collect(engine, prompt, Sampling(max_tokens=1, keep=keep))
        clock.now += waits
        for other in range(3):
            await collect(engine, ids(9, 300 + other), Sampling(max_tokens=1))
        again = await collect(engine, [*prompt, *numbers(first), 7], Sampling(max_tokens=1))
        assert again[0].cached == cached


async def test_a_scored_prompt_is_kept_for_its_answer(start: Start) -> None:
    engine = start(max_sequences=1, cache_tokens=2 * 120, clock=Clock())
    await engine.score(ids(50, 110), [1, 2])
    for other in range(3):
        await collect(engine, ids(9, 300 + other), Sampling(max_tokens=1))
    assert (await collect(engine, ids(50, 110), Sampling(max_tokens=1)))[0].cached == 49


async def test_what_must_go_is_nowhere(start: Start, reference: PreTrainedModel) -> None:
    """Forgotten while one request has ended, one runs and one waits: all are answered, and none leaves a trace."""
    engine = start(max_sequences=1, cache_tokens=2 * 120)
    data = engine._scheduler.slots.cache.data
    await collect(engine, ids(40, 120), Sampling(max_tokens=2))
    gate = Gate()
    runs = asyncio.create_task(collect(engine, ids(30, 121), Sampling(max_tokens=9, mask=gate)))
    await asyncio.to_thread(gate.reached.wait, 5)
    waits = asyncio.create_task(collect(engine, ids(20, 122), Sampling(max_tokens=4)))
    asyncio.get_running_loop().call_later(0.2, gate.open.set)
    await asyncio.to_thread(engine.forget)
    assert numbers(await runs) == greedy(reference, ids(30, 121), 9)
    assert numbers(await waits) == greedy(reference, ids(20, 122), 4)
    await until_idle(engine)
    assert not data.any()
    assert (await collect(engine, ids(40, 120), Sampling(max_tokens=1)))[0].cached == 0


async def test_one_tenants_kv_goes_and_the_others_stays(start: Start) -> None:
    engine = start()
    for key in ("a", "b"):
        await collect(engine, ids(40, 130), Sampling(max_tokens=1), key=key)
    await asyncio.to_thread(engine.forget, "a")
    cached = [(await collect(engine, ids(40, 130), Sampling(max_tokens=1), key=key))[0].cached for key in ("a", "b")]
    assert cached == [0, 39]


async def test_a_closed_engine_has_nothing_to_forget(start: Start) -> None:
    engine = start()
    await engine.close()
    engine.forget()


async def test_keep_is_bounded(start: Start) -> None:
    with pytest.raises(Exception, match="keep must be between 0 and 60"):
        start().generate([1], Sampling(keep=61))
