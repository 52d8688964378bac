"""What the engine counts is what happened, at the times of the clock it was given."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from torch import Tensor

from app.engine.local import LocalEngine
from app.engine.meter import BOUNDS, Histogram
from app.engine.types import EngineBusy, RequestFailed, Sampling
from tests.engine.client import Clock, Gate, collect, ids, until_idle


def filled(histogram: Histogram) -> dict[float, int]:
    """The buckets that are not empty, by their upper bound."""
    return {bound: count for bound, count in zip((*BOUNDS, float("inf")), histogram.counts, strict=True) if count}


async def test_a_requests_times_and_tokens(start: Callable[..., LocalEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    engine = start(clock=clock)
    forward = engine._scheduler.decoder.forward

    def takes(tokens: Sequence[int], *rest: object) -> Tensor:
        clock.now += 2.0 if len(tokens) > 1 else 0.02
        return forward(tokens, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._scheduler.decoder, "forward", takes)
    await collect(engine, ids(40, 1), Sampling(max_tokens=5))  # prefilled in 16, 16, 8
    await engine.score(ids(40, 1), ids(3, 2))
    await until_idle(engine)
    usage = engine.usage()
    assert (usage.prompt_tokens, usage.cached_tokens, usage.prefilled_tokens) == (80, 39, 41)
    assert (usage.generated_tokens, usage.finished) == (5, {"stop": 0, "length": 1, "scored": 1})
    assert filled(usage.queue_seconds) == {0.001: 2}
    assert filled(usage.first_token_seconds) == {10.0: 1}
    assert filled(usage.token_seconds) == {0.025: 4}
    assert filled(usage.request_seconds) == {2.5: 1, 10.0: 1}
    assert usage.first_token_seconds.sum == pytest.approx(6)
    assert usage.token_seconds.sum == pytest.approx(0.08)
    assert usage.request_seconds.sum == pytest.approx(6.08 + 2)


async def test_every_request_is_counted_once(start: Callable[..., LocalEngine]) -> None:
    engine = start(max_sequences=1, queue=2)
    gate = Gate()
    running = asyncio.create_task(collect(engine, [1, 2], Sampling(max_tokens=2, mask=gate)))
    await asyncio.to_thread(gate.reached.wait, 5)
    waiting = asyncio.create_task(collect(engine, [3], Sampling(max_tokens=2)))
    failing = asyncio.create_task(collect(engine, [3], Sampling(max_tokens=2, mask=lambda generated: [])))
    await asyncio.sleep(0)
    with pytest.raises(EngineBusy):
        await collect(engine, [4], Sampling())
    waiting.cancel()
    await asyncio.sleep(0)
    gate.open.set()
    await running
    with pytest.raises(RequestFailed):
        await failing
    stream = engine.generate([5], Sampling(max_tokens=200, keep=60))
    await anext(stream)
    await stream.aclose()
    await until_idle(engine)
    usage = engine.usage()
    assert (sum(usage.finished.values()), usage.failed, usage.cancelled, usage.refused) == (1, 1, 2, 1)
    assert (usage.running, usage.waiting, usage.kept_slots) == (0, 0, 1)
