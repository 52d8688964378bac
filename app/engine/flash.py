"""Attention on a GPU: one kernel for a whole step, whatever the lengths of its segments, straight from the slots.

A slot is one page of a paged cache (FlashAttention's, through torch.nn.attention.varlen): no KV is copied, no mask is
made, and one sequence takes as many launches as a hundred. Half precision only.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from app.engine.attention import Attention, Segment
from app.engine.cache import KVCache
from app.engine.config import DecoderConfig

logger = logging.getLogger(__name__)

Kernel = Callable[..., Any]
"""torch.nn.attention.varlen.varlen_attn, or what keeps to its contract."""
CHECKED = (Segment(2, 40, 1), Segment(0, 17, 5), Segment(0, 22, 1))
NEAR = 0.02  # how far a half-precision kernel may be from another


@dataclass(frozen=True, slots=True)
class Places:
    """Where a step's tokens are, on its device. Of each token: its slot and position. Of each segment: its page, how
    many keys its last token sees, and the row it begins in; `longest` is the most tokens of one."""

    slots: Tensor
    positions: Tensor
    pages: Tensor  # int32 [segments, 1]
    seen: Tensor  # int32 [segments]
    bounds: Tensor  # int32 [segments + 1]
    longest: int

    @classmethod
    def of(cls, segments: Sequence[Segment], device: torch.device) -> "Places":
        """In one transfer."""
        places = [(s.slot, position) for s in segments for position in range(s.start, s.start + s.count)]
        slots, positions = map(list, zip(*places, strict=True))
        pages, seen = [s.slot for s in segments], [s.start + s.count for s in segments]
        bounds = [0, *accumulate(s.count for s in segments)]
        parts = [slots, positions, pages, seen, bounds]
        moved = transferred([n for part in parts for n in part], device).split([len(part) for part in parts])
        longest = max(s.count for s in segments)
        return cls(moved[0], moved[1], moved[2].int()[:, None], moved[3].int(), moved[4].int(), longest)


class Flash:
    """One step's attention over all layers."""

    def __init__(self, places: Places, cache: KVCache, config: DecoderConfig, kernel: Kernel) -> None:
        self.cache, self.config, self.kernel, self.places = cache, config, kernel, places
        self.tokens = len(places.slots)
        self.positions = places.positions
        self.known = pad(places.seen.cumsum(0, dtype=torch.int32), (1, 0))

    def write(self, layer: int, kv: Tensor) -> None:
        """kv: [tokens, 2 · kv_heads, head_dim], keys then values."""
        self.cache.layers[layer][self.places.slots, :, self.positions] = kv

    def attend(self, layer: int, queries: Tensor) -> Tensor:
        """queries [tokens, heads, head_dim] -> [tokens, heads · head_dim]."""
        (keys, values), window, places = self.cache.pages[layer], self.config.windows[layer], self.places
        seen: Tensor = self.kernel(
            queries,
            keys,
            values,
            places.bounds,
            self.known,
            places.longest,
            keys.shape[1],
            scale=self.config.attention_scale,
            window_size=(window - 1 if window else -1, 0),
            enable_gqa=True,
            seqused_k=places.seen,
            block_table=places.pages,
        )
        return seen.reshape(self.tokens, -1)


def transferred(numbers: Sequence[int], device: torch.device) -> Tensor:
    """On the device, as int64, without waiting for it."""
    made = torch.tensor(numbers)
    return made if device.type == "cpu" else made.pin_memory().to(device, non_blocking=True)


@torch.inference_mode()
def works(config: DecoderConfig, dtype: torch.dtype, device: torch.device, kernel: Kernel) -> bool:
    """Whether the kernel runs here for this shape and is right: builds of torch and GPUs differ in what they can."""
    if dtype.itemsize != 2:
        return False
    cache = KVCache(1, 3, config.kv_heads, 64, config.head_dim, dtype, str(device))
    cache.data.normal_()
    tokens = sum(segment.count for segment in CHECKED)
    queries = torch.randn(tokens, config.heads, config.head_dim, dtype=dtype, device=device)
    try:
        got = Flash(Places.of(CHECKED, device), cache, config, kernel).attend(0, queries)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        logger.warning("FlashAttention does not run here, attention is slower: %s", error)
        return False
    want = Attention(CHECKED, cache, config, tokens, batched=True).attend(0, queries)
    if not torch.allclose(got, want, atol=NEAR, rtol=NEAR):
        logger.warning("FlashAttention gives wrong numbers here, attention is slower")
        return False
    return True
