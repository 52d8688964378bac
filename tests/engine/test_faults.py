"""One bad request never harms another, and every request hears its end."""

import asyncio
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from shutil import copytree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from app.engine.attention import Segment
from app.engine.load import load_engine
from app.engine.local import LocalEngine
from app.engine.outbox import hand_over
from app.engine.plan import Part
from app.engine.request import Outcome, Request
from app.engine.types import (
    EngineClosed,
    RequestFailed,
    Sampling,
    Token,
)
from tests.engine.checkpoints import VOCAB
from tests.engine.client import Gate, collect, greedy, ids, numbers, until_idle
from tests.engine.conftest import Checkpoint

Start = Callable[..., LocalEngine]


async def test_a_bad_mask_fails_alone(engine: LocalEngine, reference: PreTrainedModel) -> None:
    def breaks(generated: Sequence[int]) -> Sequence[int]:
        if len(generated) == 3:
            raise KeyError("our own bug")
        return [1, 2, 3]

    bad = collect(engine, ids(20, 120), Sampling(max_tokens=9, mask=breaks))
    empty = collect(engine, ids(21, 121), Sampling(max_tokens=9, mask=lambda generated: []))
    good = collect(engine, ids(22, 122), Sampling(max_tokens=15))
    failed, none, fine = await asyncio.gather(bad, empty, good, return_exceptions=True)
    assert isinstance(failed, RequestFailed)
    assert isinstance(failed.__cause__, KeyError)
    assert isinstance(none, RequestFailed)
    assert "allows no token" in str(none)
    assert isinstance(fine, list)
    assert numbers(fine) == greedy(reference, ids(22, 122), 15)
    await until_idle(engine)


async def test_poisoned_weights_fail_only_who_meets_them(
    checkpoint: Callable[[str], Checkpoint], tmp_path: Path, start: Start, reference: PreTrainedModel
) -> None:
    folder = Path(copytree(checkpoint("qwen3")[0], tmp_path / "poisoned"))
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"][96] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    engine = start(folder, max_sequences=2)
    for _ in range(3):  # slots are used again: the poison must not stay in one
        poisoned = collect(engine, [1, 96, 2], Sampling(max_tokens=5))
        fine = collect(engine, ids(20, 130), Sampling(max_tokens=15), key="fine")
        failed, tokens, scored = await asyncio.gather(
            poisoned, fine, engine.score([1, 96], [2, 3]), return_exceptions=True
        )
        assert isinstance(failed, RequestFailed)
        assert isinstance(scored, RequestFailed)
        assert isinstance(tokens, list)
        assert numbers(tokens) == greedy(reference, ids(20, 130), 15)
    assert numbers(await collect(engine, [1, 2], Sampling(max_tokens=5))) == greedy(reference, [1, 2], 5)


def raises() -> torch.Tensor:
    raise RuntimeError("device fault")


def runs_out_of_memory() -> torch.Tensor:
    raise torch.OutOfMemoryError("device fault")


def cannot_be_read() -> torch.Tensor:
    """As with a GPU, whose faults show only where a result is waited for."""
    return torch.empty(1, VOCAB, device="meta")


@pytest.mark.parametrize("fault", [raises, runs_out_of_memory, cannot_be_read])
async def test_a_step_that_fails_harms_its_culprit_alone(
    fault: Callable[[], torch.Tensor], start: Start, reference: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start()
    decoder = engine._scheduler.decoder
    forward = decoder.forward

    def fails_on_95(tokens: Sequence[int], *rest: object) -> torch.Tensor:
        if 95 in tokens:
            return fault()
        return forward(tokens, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "forward", fails_on_95)
    good = [collect(engine, ids(30, seed), Sampling(max_tokens=12)) for seed in (140, 141)]
    bad = collect(engine, [*ids(30, 142), 95], Sampling(max_tokens=12))
    first, failed, second = await asyncio.gather(good[0], bad, good[1], return_exceptions=True)
    assert isinstance(failed, RequestFailed)
    assert ("meta" if fault is cannot_be_read else "device fault") in str(failed)
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert numbers(first) == greedy(reference, ids(30, 140), 12)
    assert numbers(second) == greedy(reference, ids(30, 141), 12)
    await until_idle(engine)


async def test_too_little_memory_for_all_at_once_is_enough_for_one_by_one(
    start: Start, reference: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start()
    decoder = engine._scheduler.decoder
    forward = decoder.forward
    used: list[weakref.ref[torch.Tensor]] = []

    def runs_out(tokens: Sequence[int], segments: Sequence[Segment], *rest: object) -> torch.Tensor:
        assert not any(ref() is not None for ref in used), "a failed step still holds its memory"
        working = torch.empty(9)
        used.append(weakref.ref(working))
        if len(segments) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(tokens, segments, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "forward", runs_out)
    prompts = [ids(count, 150 + count) for count in (30, 12, 1)]
    together = await asyncio.gather(*(collect(engine, prompt, Sampling(max_tokens=12)) for prompt in prompts))
    assert [numbers(tokens) for tokens in together] == [greedy(reference, prompt, 12) for prompt in prompts]
    await until_idle(engine)


@pytest.fixture(scope="module")
def wide(checkpoint: Callable[[str], Checkpoint]) -> Iterator[LocalEngine]:
    engine = load_engine(checkpoint("qwen3")[0], max_sequences=17, threads=1, prefill_chunk=16, cache_tokens=34 * 40)
    yield engine
    asyncio.run(engine.close(grace=5))


@pytest.mark.parametrize("count", [2, 5, 16])
@pytest.mark.parametrize("culprits", [1, 2, 5])
async def test_culprits_are_found_by_halving(
    wide: LocalEngine, culprits: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """k culprits among n cost at most 2 · k · log2 n + k forwards, and nobody else his answer."""
    k = min(culprits, count)
    decoder, advance = wide._scheduler.decoder, wide._scheduler._running.advance
    forward, gate, batches = decoder.forward, Gate(), list[list[int]]()

    def fails_on_95(tokens: Sequence[int], segments: Sequence[Segment], *rest: object) -> torch.Tensor:
        batches[-1].append(len(segments))
        if any(token == 95 and not segment.start for token, segment in zip(tokens, segments, strict=True)):
            raise RuntimeError("device fault")
        return forward(tokens, segments, *rest)  # type: ignore[arg-type]

    def step(parts: Sequence[Part]) -> None:
        batches.append([])
        advance(parts)

    monkeypatch.setattr(decoder, "forward", fails_on_95)
    monkeypatch.setattr(wide._scheduler._running, "advance", step)
    prompts = [[95] if place * k // count != (place + 1) * k // count else [place] for place in range(count)]
    first = asyncio.create_task(collect(wide, [20], Sampling(max_tokens=1, mask=gate)))
    await asyncio.to_thread(gate.reached.wait, 5)
    rest = [asyncio.create_task(collect(wide, prompt, Sampling(max_tokens=3))) for prompt in prompts]
    await asyncio.sleep(0)
    gate.open.set()
    outcomes = await asyncio.gather(first, *rest, return_exceptions=True)
    failed = [isinstance(outcome, RequestFailed) for outcome in outcomes]
    assert failed == [False, *(prompt == [95] for prompt in prompts)]
    assert all(isinstance(outcome, list) for outcome, bad in zip(outcomes, failed, strict=True) if not bad)
    (halved,) = [batch for batch in batches if batch[:1] == [count + 1]]
    assert len(halved) <= 2 * k * math.ceil(math.log2(count + 1)) + k
    await until_idle(wide)


faults = st.lists(st.sampled_from(["fine", "fine", "fine", "raise", "nan"]), max_size=40)
clients = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 8), st.one_of(st.none(), st.integers(0, 4)), st.booleans()),
    min_size=1,
    max_size=10,
)


@given(faults, clients)
@settings(max_examples=20, deadline=None)
def test_every_request_has_one_end(
    wide: LocalEngine, faults: list[str], clients: list[tuple[int, int, int | None, bool]]
) -> None:
    """Steps fail and give no numbers at random, clients leave: who stays hears one end and nothing after it."""
    heard: dict[Request, list[Outcome]] = {}
    submitted: list[Request] = []
    left = iter(faults)
    scheduler, before = wide._scheduler, wide.usage()
    forward, submit = scheduler.decoder.forward, scheduler.submit

    def unsteady(*given: object) -> torch.Tensor:
        match next(left, "fine"):
            case "raise":
                raise RuntimeError("device fault")
            case "nan":
                return forward(*given) * torch.nan  # type: ignore[arg-type]
        return forward(*given)  # type: ignore[arg-type]

    def watched(posts: Sequence[tuple[Request, Outcome]]) -> None:
        for request, outcome in posts:
            heard.setdefault(request, []).append(outcome)
        hand_over(posts)

    def noted(request: Request) -> None:
        submit(request)
        submitted.append(request)

    async def client(length: int, count: int, leave: int | None, score: bool) -> None:
        with suppress(RequestFailed):
            if score:
                await wide.score(ids(length, length), [1] * count)
                return
            stream = wide.generate(ids(length, length), Sampling(max_tokens=count))
            async with aclosing(stream):
                for _ in range(99 if leave is None else leave):
                    if (await anext(stream)).finish:
                        return

    async def all_clients() -> None:
        await asyncio.gather(*(client(*one) for one in clients))
        await until_idle(wide)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler.decoder, "forward", unsteady)
        patch.setattr(scheduler, "submit", noted)
        patch.setattr("app.engine.outbox.hand_over", watched)
        asyncio.run(all_clients())
    for request in submitted:
        outcomes = heard.get(request, [])
        ends = [not isinstance(outcome, Token) or outcome.finish is not None for outcome in outcomes]
        assert ends in ([False] * len(ends), [False] * (len(ends) - 1) + [True])
    after = wide.usage()
    ended = [sum(usage.finished.values()) + usage.failed + usage.cancelled for usage in (before, after)]
    assert ended[1] - ended[0] == len(submitted)


async def test_our_own_bug_ends_every_request(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = start(max_sequences=1)
    gate = Gate()
    tasks = [asyncio.create_task(collect(engine, [5], Sampling(max_tokens=3, mask=gate))) for _ in range(3)]
    await asyncio.to_thread(gate.reached.wait, 5)

    def bug(running: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(engine._scheduler._planner, "plan", bug)
    gate.open.set()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, EngineClosed)
        assert "ZeroDivisionError" in str(outcome)
    with pytest.raises(EngineClosed, match="has died"):
        await collect(engine, [1], Sampling())


async def test_close_finishes_what_it_accepted_and_refuses_more(start: Start) -> None:
    engine = start(max_sequences=1)
    tasks = [asyncio.create_task(collect(engine, [6, seed], Sampling(max_tokens=20))) for seed in range(3)]
    await asyncio.sleep(0)
    await engine.close()
    assert [len(await task) for task in tasks] == [20, 20, 20]
    with pytest.raises(EngineClosed, match="shutting down"):
        await collect(engine, [1], Sampling())
    with pytest.raises(EngineClosed, match="shutting down"):
        await engine.score([1], [2])
    await engine.close()


async def test_close_fails_what_takes_too_long(start: Start) -> None:
    engine = start(max_sequences=1)
    gate = Gate()
    tasks = [asyncio.create_task(collect(engine, [7], Sampling(max_tokens=200, mask=gate))) for _ in range(2)]
    await asyncio.to_thread(gate.reached.wait, 5)
    asyncio.get_running_loop().call_later(0.2, gate.open.set)
    await engine.close(grace=0.05)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, EngineClosed)
