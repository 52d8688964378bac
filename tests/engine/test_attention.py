"""Single tokens that share a kernel on a CPU: which do, and that it shows in no number."""

from collections.abc import Callable

import pytest
import torch

from app.engine.attention import Attention, Segment
from tests.engine.conftest import Checkpoint
from tests.engine.test_model import CONTEXT, build, ids

ALIKE, SPREAD, ONE = [(0, 60), (1, 61), (2, 62), (3, 70)], [(0, 9), (1, 9), (3, 9)], [(2, 30), (2, 31), (2, 32)]


@pytest.mark.parametrize(
    ("family", "places", "shared"),
    [
        ("qwen3", ALIKE, [3, 1]),  # with several heads a KV head, as many padded keys for each
        ("qwen3-no-gqa", ALIKE, [4]),
        ("qwen3", SPREAD, [2, 1]),
        ("qwen3", ONE, [3]),
        ("qwen3", [(1, 5), (0, 5)], [1, 1]),
    ],
)
@torch.inference_mode()
def test_neighbours_of_nearly_one_length_share_a_kernel(
    family: str, places: list[tuple[int, int]], shared: list[int], checkpoint: Callable[[str], Checkpoint]
) -> None:
    decoder, cache = build(checkpoint(family))
    cache.data[:, :, :, :CONTEXT] = torch.randn(cache.data[:, :, :, :CONTEXT].shape)  # of others, before
    segments = [Segment(slot, start, 1) for slot, start in places]
    attention = Attention(segments, cache, decoder.config, len(segments), batched=False)
    assert [group.rows.stop - group.rows.start for group in attention.views[0].groups] == shared
    tokens, before = ids(len(places)), cache.data.clone()
    together = decoder.forward(tokens, segments, cache, range(len(tokens)))
    cache.data.copy_(before)
    for token, segment, row in zip(tokens, segments, together, strict=True):
        alone = decoder.forward([token], [segment], cache, [0])[0]
        torch.testing.assert_close(row, alone, atol=1e-5, rtol=1e-6)
        cache.data[:, segment.slot, :, segment.start + 1 :] = 9.0  # what is beyond is hidden
        torch.testing.assert_close(decoder.forward([token], [segment], cache, [0])[0], alone, atol=0, rtol=0)
        cache.data[:, segment.slot, :, segment.start + 1 :] = before[:, segment.slot, :, segment.start + 1 :]
