"""A step's share of the prompts: as much as there is time for, cut where company and time have no say."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from app.engine.cache import Slot
from app.engine.local import LocalEngine
from app.engine.plan import PATIENCE, Part, Planner
from app.engine.request import Request
from app.engine.types import Sampling
from tests.engine.client import Clock, Gate, collect, ids, request

QUANTUM, CHUNK, STEP = 32, 256, 0.05


def running(tokens: int, known: int = 0, index: int = 0) -> Request:
    one = request([1] * tokens)
    one.slot, one.told = Slot(index, ids=[1] * known, busy=True), tokens
    return one


def run(parts: list[Part]) -> None:
    """What a step does to what is known, but for the tokens that it draws."""
    for part in parts:
        part.slot.ids += [1] * part.count
        if len(part.slot.ids) == len(part.request.ids):
            part.request.ids.append(1)


class Machine:
    """A step takes `answer` seconds for each answer and `token` for each prompt token."""

    def __init__(self, answer: float, token: float) -> None:
        self.answer, self.token = answer, token

    def seconds(self, parts: list[Part]) -> float:
        read = [part.count for part in parts if part.reads]
        return self.answer * (len(parts) - len(read)) + self.token * sum(read)


def prompt_tokens(parts: list[Part]) -> int:
    return sum(part.count for part in parts if part.reads)


def play(planner: Planner, machine: Machine, steps: int, answers: int = 4, prompts: int = 2) -> list[list[Part]]:
    everyone = [running(8, 7, index) for index in range(answers)]
    everyone += [running(100_000, 0, answers + index) for index in range(prompts)]
    played = []
    for _ in range(steps):
        played.append(planner.plan(everyone))
        planner.pace.took(machine.seconds(played[-1]), played[-1])
        run(played[-1])
    return played


@pytest.mark.parametrize("token", [0.1e-3, 0.3e-3, 0.5e-3, 1e-3])
def test_prompts_get_the_time_that_answers_leave(token: float) -> None:
    planner, machine = Planner(CHUNK, QUANTUM, STEP), Machine(0.002, token)
    play(planner, machine, 5, prompts=0)
    steps = play(planner, machine, 60)
    assert prompt_tokens(steps[0]) == QUANTUM  # nothing is known of this machine yet
    for parts in steps[1:]:
        assert machine.seconds(parts) <= STEP
        assert prompt_tokens(parts) == CHUNK or machine.seconds(parts) + QUANTUM * token > STEP
        assert sum(not part.reads for part in parts) == 4


def test_the_pace_follows_the_machine() -> None:
    planner = Planner(CHUNK, QUANTUM, STEP)
    assert prompt_tokens(play(planner, Machine(0, 0.1e-3), 40)[-1]) == CHUNK
    assert prompt_tokens(play(planner, Machine(0, 0.6e-3), 40)[-1]) == 2 * QUANTUM
    assert prompt_tokens(play(planner, Machine(0, 50e-3), 40)[-1]) == QUANTUM  # however slow, prompts get on
    assert prompt_tokens(play(planner, Machine(0, 0.1e-3), 40)[-1]) == CHUNK


def test_a_step_without_answers_is_as_large_as_it_may() -> None:
    planner = Planner(CHUNK, QUANTUM, STEP)
    assert [prompt_tokens(parts) for parts in play(planner, Machine(0, 1.0), 3, answers=0)] == [CHUNK] * 3


arrivals = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 300), st.integers(0, 299)), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(arrivals, st.lists(st.floats(0.001, 0.5), min_size=1, max_size=20))
def test_cuts_are_those_of_one_alone_and_nobody_is_passed_for_ever(
    sequence: list[tuple[int, int, int]], seconds: list[float]
) -> None:
    planner = Planner(CHUNK, QUANTUM, STEP)
    requests: list[Request] = []
    cuts: dict[int, list[int]] = {}
    step = 0
    pending = list(enumerate(sequence))
    while pending or any(len(one.slot.ids) < one.prompt for one in requests if one.slot):
        while pending and pending[0][1][0] <= step:
            index, (_, tokens, known) = pending.pop(0)
            requests.append(running(tokens, min(known, tokens - 1), index))
        parts = planner.plan(requests)
        planner.pace.took(seconds[step % len(seconds)], parts)
        assert prompt_tokens(parts) <= CHUNK
        assert len({part.slot.index for part in parts}) == len(parts)
        for part in parts:
            if part.start < part.request.prompt:
                cuts.setdefault(part.slot.index, []).extend(s.start for s in planner.segments(part))
        assert all(one.skipped <= PATIENCE + 1 + len(requests) for one in requests)
        run(parts)
        step += 1
    for index, (_, tokens, known) in enumerate(sequence):
        assert cuts[index] == list(range(min(known, tokens - 1), tokens, QUANTUM))


def test_what_is_soonest_done_goes_first() -> None:
    planner = Planner(CHUNK, QUANTUM, STEP)
    long, turn = running(1000, index=0), running(1000, 990, index=1)
    parts = planner.plan([long, turn])
    assert [(part.slot.index, part.count) for part in parts] == [(1, 10), (0, 7 * QUANTUM)]


async def test_the_engine_reads_the_clock_it_is_given(
    start: Callable[..., LocalEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 0.4 ms a token, 50 ms have room for three pieces of a long prompt beside an answer's token."""
    clock = Clock()
    engine = start(prefill_chunk=128, cache_tokens=8 * 256, clock=clock, speculation=0)
    decoder = engine._scheduler.decoder
    forward, steps, gate = decoder.forward, list[int](), Gate()

    def takes(tokens: Sequence[int], *rest: object) -> Tensor:
        steps.append(len(tokens) - 1)
        clock.now += 0.0004 * len(tokens)
        return forward(tokens, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "forward", takes)
    answer = asyncio.create_task(collect(engine, [1], Sampling(max_tokens=9, mask=gate)))
    await asyncio.to_thread(gate.reached.wait, 5)
    long = asyncio.create_task(collect(engine, ids(220, 5), Sampling(max_tokens=1)))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(answer, long)
    assert [count for count in steps if count > 1] == [32, 96, 92]


async def test_how_many_pieces_a_step_takes_changes_no_bit(start: Callable[..., LocalEngine]) -> None:
    told = []
    for chunk in (32, 64, 128):
        engine = start(prefill_chunk=chunk, cache_tokens=8 * 256)
        tokens = await collect(engine, ids(200, 6), Sampling(max_tokens=8))
        told.append([(token.id, token.logprob) for token in tokens])
    assert told[0] == told[1] == told[2]
