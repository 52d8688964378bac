"""What a mask leaves no choice about is run in one step, and nobody can tell but by the time it takes."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest
import torch

from app.engine.attention import Segment
from app.engine.local import LocalEngine
from app.engine.sampler import Sampler
from app.engine.types import RequestFailed, Sampling, Token
from tests.engine.client import collect, ids, numbers, until_idle

Start = Callable[..., LocalEngine]


def protocol(seed: int) -> Callable[[Sequence[int]], Sequence[int] | None]:
    """A mask with runs of 0 … 25 forced ids between free ones and choices of a few; the same for the same ids."""

    def mask(generated: Sequence[int]) -> Sequence[int] | None:
        rng, at = Random(seed), 0
        while True:
            run = [rng.randrange(90) for _ in range(rng.randrange(26))]
            if len(generated) < at + len(run):
                return [run[len(generated) - at]]
            at += len(run)
            allowed = rng.choice([None, rng.sample(range(90), 5)])
            if len(generated) == at:
                return allowed
            at += 1

    return mask


def one_by_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Sampler, "forced", lambda self: [])


def same(got: list[Token], want: list[Token]) -> bool:
    assert [t.logprob for t in got] == pytest.approx([t.logprob for t in want], abs=1e-4)
    assert [s for t in got for _, s in t.top] == pytest.approx([s for t in want for _, s in t.top], abs=1e-4)
    plain = [[replace(t, logprob=0, top=tuple((i, 0) for i, _ in t.top)) for t in side] for side in (got, want)]
    return plain[0] == plain[1]


async def test_the_answers_are_those_of_one_by_one(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []
    for seed in range(24):
        stop = frozenset({3, 50 + seed}) if seed % 3 == 0 else frozenset[int]()
        how = Sampling(max_tokens=1 + 4 * seed, temperature=seed % 2, seed=seed, stop_ids=stop, top_logprobs=seed % 4)
        how = replace(how, mask=protocol(seed), frequency_penalty=0.5 * (seed % 5 == 4))
        jobs.append((ids(1 + 9 * (seed % 6), seed % 6), how))

    async def play() -> list[list[Token]]:
        engine = start(cache_tokens=8 * 120)
        got = await asyncio.gather(*(collect(engine, prompt, how) for prompt, how in jobs))
        await until_idle(engine)
        assert engine.usage().generated_tokens == sum(map(len, got))
        # Each slot holds what was run, never what was only forced.
        for slot in engine._scheduler.slots.slots:
            assert any([*p, *numbers(t)][: len(slot.ids)] == slot.ids for (p, _), t in zip(jobs, got, strict=True))
        return got

    ahead = await play()
    one_by_one(monkeypatch)
    for got, want in zip(ahead, await play(), strict=True):
        assert same([replace(t, cached=0) for t in got], [replace(t, cached=0) for t in want])
    assert {tokens[-1].finish for tokens in ahead} == {"stop", "length"}


async def test_a_run_is_one_step(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = start()
    decoder = engine._scheduler.decoder
    forward, steps = decoder.forward, list[int]()

    def watched(tokens: Sequence[int], segments: Sequence[Segment], *rest: object) -> torch.Tensor:
        steps.append(len(tokens))
        return forward(tokens, segments, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "forward", watched)
    opening, closing = [5, 6, 7], [8, 9, 10, 11]

    def mask(generated: Sequence[int]) -> Sequence[int]:
        forced = [*opening, None, *closing][len(generated)]
        return [20, 21] if forced is None else [forced]

    tokens = await collect(engine, ids(4), Sampling(max_tokens=99, stop_ids=frozenset({11}), mask=mask))
    assert numbers(tokens)[:3] == opening
    assert numbers(tokens)[4:] == closing
    assert [t.finish for t in tokens] == [None] * 7 + ["stop"]
    # The opening with the prompt; then the choice and what follows it, but for the end, after which nothing comes.
    assert steps == [4 + 3, 1 + 3]


async def test_leaving_within_a_run_frees_the_slot(engine: LocalEngine) -> None:
    stream = engine.generate(ids(9, 7), Sampling(max_tokens=200, mask=lambda generated: [len(generated) % 90]))
    assert [(await anext(stream)).id for _ in range(3)] == [0, 1, 2]
    await stream.aclose()
    await until_idle(engine)


async def test_a_mask_that_fails_within_a_run_fails_alone(engine: LocalEngine) -> None:
    def breaks(generated: Sequence[int]) -> Sequence[int]:
        return [[4], [5], []][len(generated)]

    fine = collect(engine, ids(22, 9), Sampling(max_tokens=15))
    failed, tokens = await asyncio.gather(
        collect(engine, ids(20, 8), Sampling(mask=breaks)), fine, return_exceptions=True
    )
    assert isinstance(failed, RequestFailed)
    assert isinstance(tokens, list)
    await until_idle(engine)


async def test_a_run_does_not_wait_for_others_prompts(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = start(cache_tokens=8 * 256)
    decoder = engine._scheduler.decoder
    forward, steps = decoder.forward, list[list[int]]()

    def watched(tokens: Sequence[int], segments: Sequence[Segment], *rest: object) -> torch.Tensor:
        steps.append([s.count for s in segments])
        return forward(tokens, segments, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "forward", watched)
    runs = Sampling(max_tokens=40, mask=lambda generated: None if len(generated) % 5 == 0 else [7])
    long = collect(engine, ids(200, 1), Sampling(max_tokens=1))
    await asyncio.gather(long, collect(engine, [1], runs))
    assert [5, 16] in steps
