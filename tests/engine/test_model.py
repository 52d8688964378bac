"""Our decoder's logits are transformers' own, however the tokens are cut into steps."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from app.engine import attention as attention_module
from app.engine.attention import Segment
from app.engine.cache import KVCache
from app.engine.config import read_config
from app.engine.load import _weights
from app.engine.model import Decoder
from tests.engine.checkpoints import FAMILIES, VOCAB
from tests.engine.conftest import Checkpoint

CONTEXT = 200


def ids(count: int, seed: int = 0) -> list[int]:
    return torch.randint(0, VOCAB, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def build(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[Decoder, KVCache]:
    config = read_config(checkpoint[0])
    decoder = Decoder(config, _weights(checkpoint[0], config, dtype, device), CONTEXT)
    return decoder, KVCache(config.layers, 4, config.kv_heads, CONTEXT, config.head_dim, dtype, device)


def expected(model: PreTrainedModel, tokens: list[int]) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(torch.tensor([tokens])).logits[0]
    return logits


@torch.inference_mode()
def in_pieces(decoder: Decoder, cache: KVCache, sequences: list[list[int]], sizes: list[list[int]]) -> list[Tensor]:
    """Logits of all positions of each sequence, run side by side, sequence n in pieces of sizes[n], then by ones."""
    done = [0] * len(sequences)
    rows: list[list[Tensor]] = [[] for _ in sequences]
    while any(at < len(sequence) for at, sequence in zip(done, sequences, strict=True)):
        flat: list[int] = []
        segments = []
        for slot, sequence in enumerate(sequences):
            count = min(sizes[slot].pop(0) if sizes[slot] else 1, len(sequence) - done[slot])
            if count:
                flat += sequence[done[slot] : done[slot] + count]
                segments.append(Segment(slot, done[slot], count))
        logits = decoder.forward(flat, segments, cache, range(len(flat))).clone()
        for segment, part in zip(segments, torch.split(logits, [s.count for s in segments]), strict=True):
            rows[segment.slot].append(part)
            done[segment.slot] += segment.count
    return [torch.cat(parts) for parts in rows]


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_prompt(family: str, checkpoint: Callable[[str], Checkpoint]) -> None:
    decoder, cache = build(checkpoint(family))
    tokens = ids(150)
    [got] = in_pieces(decoder, cache, [tokens], [[150]])
    torch.testing.assert_close(got, expected(checkpoint(family)[1], tokens), atol=3e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_cached_decode_and_company(family: str, checkpoint: Callable[[str], Checkpoint]) -> None:
    decoder, cache = build(checkpoint(family))
    sequences = [ids(70, 1), ids(9, 2), ids(1, 3), ids(64, 4)]
    # Prompts in chunks, single tokens and (as a verified draft would be) several tokens after single ones, mixed.
    got = in_pieces(decoder, cache, sequences, [[16, 16, 5, 1, 1, 7], [9], [1], [1, 1, 30, 1, 4]])
    for logits, tokens in zip(got, sequences, strict=True):
        torch.testing.assert_close(logits, expected(checkpoint(family)[1], tokens), atol=3e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["qwen3", "qwen3-no-gqa", "llama", "qwen3-window", "smollm3", "granite"])
def test_batched_attention_for_gpus(
    family: str, checkpoint: Callable[[str], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder, cache = build(checkpoint(family))
    decoder.on_cpu = False  # the kernel that a GPU takes, run here
    used: list[int] = []
    plain = attention_module._Singles.attend

    def attend(self: attention_module._Singles, *rest: Any) -> None:
        used.append(len(self.rows))
        plain(self, *rest)

    monkeypatch.setattr(attention_module._Singles, "attend", attend)
    sequences = [ids(30, 1), ids(5, 2), ids(12, 3), ids(20, 4)]
    got = in_pieces(decoder, cache, sequences, [[20], [1], [8, 1, 2], [16]])
    for logits, tokens in zip(got, sequences, strict=True):
        torch.testing.assert_close(logits, expected(checkpoint(family)[1], tokens), atol=3e-5, rtol=1e-5)
    assert max(used) == 4


def test_company_does_not_change_the_numbers(checkpoint: Callable[[str], Checkpoint]) -> None:
    """Bit for bit on the machines measured; here to within what float32 can hold, on any machine."""
    decoder, cache = build(checkpoint("qwen3"))
    sequences = [ids(40, seed) for seed in range(4)]
    together = in_pieces(decoder, cache, sequences, [[16, 16], [16, 16], [3, 16], [16]])
    for index, sizes in enumerate([[16, 16], [16, 16], [3, 16], [16]]):
        decoder, cache = build(checkpoint("qwen3"))
        [alone] = in_pieces(decoder, cache, [sequences[index]], [sizes])
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(dtype: torch.dtype, checkpoint: Callable[[str], Checkpoint]) -> None:
    decoder, cache = build(checkpoint("qwen3"), dtype)
    tokens = ids(60)
    [got] = in_pieces(decoder, cache, [tokens], [[32]])
    want = expected(checkpoint("qwen3")[1], tokens)
    assert (got - want).norm() / want.norm() < (0.05 if dtype is torch.bfloat16 else 0.01)


def test_rows_nobody_wants_are_not_computed(checkpoint: Callable[[str], Checkpoint]) -> None:
    decoder, cache = build(checkpoint("qwen3"))
    tokens = ids(20)
    with torch.inference_mode():
        assert decoder.forward(tokens, [Segment(0, 0, 20)], cache, []).shape == (0, VOCAB)
        assert decoder.forward(tokens, [Segment(1, 0, 20)], cache, [19, 3]).shape == (2, VOCAB)
