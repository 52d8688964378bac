"""The GPU's way through a step: one kernel for attention over slots as pages, and graphs for steps of single tokens.

Without a GPU the kernel is a plain one that keeps to varlen_attn's contract, and a graph runs its step again.
"""

import asyncio
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from app.engine.flash import works
from app.engine.graphs import Capturing, Step, counts
from app.engine.load import load_engine
from app.engine.types import Sampling
from tests.engine.client import collect
from tests.engine.conftest import Checkpoint
from tests.engine.test_model import build, expected, ids, in_pieces

SLOTS = 4  # of `build`; the last is spare here
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def plain(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    bounds: Tensor,
    known: Tensor,
    longest: int,
    most: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
    seqused_k: Tensor,
    block_table: Tensor,
) -> Tensor:
    """What varlen_attn documents, a sequence at a time."""
    assert bounds.dtype == known.dtype == seqused_k.dtype == block_table.dtype == torch.int32 and enable_gqa
    assert known.tolist() == [0, *seqused_k.cumsum(0).tolist()] and window_size[1] == 0 and keys.shape[1] == most
    out = torch.full_like(queries, torch.nan)
    for n, ((page,), seen) in enumerate(zip(block_table.tolist(), seqused_k.tolist(), strict=True)):
        rows = slice(int(bounds[n]), int(bounds[n + 1]))
        count = rows.stop - rows.start
        assert 0 < count <= longest
        behind = torch.arange(seen - count, seen)[:, None] - torch.arange(seen)
        mask = (behind >= 0) & ((behind <= window_size[0]) | (window_size[0] < 0))
        q, k, v = (x.transpose(0, 1) for x in (queries[rows], keys[page, :seen], values[page, :seen]))
        attended = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, scale=scale, enable_gqa=True
        )
        out[rows] = attended.transpose(0, 1)
    return out


class Again:
    """A graph that runs its step again, over the same inputs and into the same logits."""

    def __init__(self) -> None:
        self.captured, self.replayed = 0, 0

    def __call__(self, step: Step) -> tuple[Callable[[], None], Tensor]:
        self.captured += 1
        logits = step().clone()

        def replay() -> None:
            self.replayed += 1
            logits.copy_(step())

        return replay, logits


@pytest.mark.parametrize("family", ["qwen3", "qwen3-no-gqa", "llama", "qwen3-window", "smollm3", "granite"])
def test_steps_by_one_kernel_and_by_graphs(family: str, checkpoint: Callable[[str], Checkpoint]) -> None:
    decoder, cache = build(checkpoint(family))
    graphs = Again()
    decoder.quicken(cache, SLOTS - 1, SLOTS - 1, plain, graphs)
    sequences = [ids(70, 1), ids(9, 2), ids(1, 3)]
    got = in_pieces(decoder, cache, sequences, [[16, 16, 5, 1, 1, 7], [9], [1]])
    for logits, tokens in zip(got, sequences, strict=True):
        torch.testing.assert_close(logits, expected(checkpoint(family)[1], tokens), atol=3e-5, rtol=1e-5)
    assert graphs.captured == 1 and graphs.replayed > 20


def test_rows_beyond_a_step_touch_nobodys_slot(checkpoint: Callable[[str], Checkpoint]) -> None:
    decoder, cache = build(checkpoint("qwen3"))
    decoder.quicken(cache, SLOTS - 1, SLOTS - 1, plain, Again())
    sequences = [ids(5, 1), ids(5, 2), ids(5, 3)]
    in_pieces(decoder, cache, sequences, [[], [], []])  # three sequences, by the graph of four
    assert cache.data[:, SLOTS - 1, :, 0].any() and not cache.data[:, SLOTS - 1, :, 1:].any()
    assert not cache.data[:, : SLOTS - 1, :, 5:].any()


def test_a_kernel_is_taken_where_it_is_right(checkpoint: Callable[[str], Checkpoint]) -> None:
    config, cpu = build(checkpoint("qwen3"))[0].config, torch.device("cpu")

    def wrong(*given: Tensor, **rest: object) -> Tensor:
        return torch.zeros_like(given[0])

    assert works(config, torch.bfloat16, cpu, plain)
    assert not works(config, torch.bfloat16, cpu, wrong)
    assert not works(config, torch.bfloat16, cpu, varlen_attn)  # there is none for CPUs
    assert not works(config, torch.float32, cpu, plain)


def test_counts_reach_the_most() -> None:
    assert counts(1) == [1] and counts(3) == [1, 2, 4] and counts(8) == [1, 2, 4, 8]
    assert counts(256)[-1] >= 256 and counts(256) == sorted(set(counts(256)))


@on_gpu
@pytest.mark.parametrize("family", ["qwen3", "qwen3-no-gqa", "llama", "qwen3-window", "smollm3", "granite"])
def test_a_gpu_gives_the_logits_of_transformers(family: str, checkpoint: Callable[[str], Checkpoint]) -> None:
    decoder, cache = build(checkpoint(family), torch.bfloat16, "cuda")
    assert works(decoder.config, torch.bfloat16, decoder.device, varlen_attn)
    for capture in (None, Capturing()):
        if capture:
            decoder.quicken(cache, SLOTS - 1, SLOTS - 1, varlen_attn, capture)
        sequences = [ids(70, 1), ids(9, 2), ids(1, 3)]
        got = in_pieces(decoder, cache, sequences, [[16, 16, 5, 1, 1, 7], [9], [1]])
        for logits, tokens in zip(got, sequences, strict=True):
            torch.testing.assert_close(logits.cpu(), expected(checkpoint(family)[1], tokens), atol=0.1, rtol=0.1)


@on_gpu
async def test_a_gpus_answers_are_whole_and_its_slots_come_back(checkpoint: Callable[[str], Checkpoint]) -> None:
    engine = load_engine(checkpoint("qwen3")[0], "cuda", dtype="bfloat16", max_sequences=4)
    try:
        sampling = Sampling(temperature=0, max_tokens=12)
        answers = await asyncio.gather(*(collect(engine, ids(40, n), sampling) for n in range(8)))
        assert all(tokens[-1].finish for tokens in answers)
        assert engine.usage().free_slots == engine.usage().slots
    finally:
        await engine.close(grace=5)
