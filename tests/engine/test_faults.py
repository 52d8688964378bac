"""One bad request never harms another, and every request hears its end."""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from app.engine.attention import Segment
from app.engine.local import LocalEngine
from app.engine.types import (
    EngineClosed,
    RequestFailed,
    Sampling,
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
