"""Which keys each token of a step sees. The one place to change for another attention kernel.

A step is a flat list of tokens cut into segments: one token of a sequence that is decoding, a piece of a prompt that is
being read, or several pieces in a row, drafted tokens among them: any count works anywhere. All of a layer's KV is
written before any of it is read, so a piece sees those before it in the same step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

from app.engine.cache import KVCache
from app.engine.config import DecoderConfig


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` tokens of one sequence, for the positions start … start + count − 1 of its slot."""

    slot: int
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class _Span:
    slot: int
    rows: slice
    keys: slice
    mask: Tensor | None  # [group · count, keys], None for a single token, which sees them all


@dataclass(frozen=True, slots=True)
class _View:
    """What a step's tokens see in the layers of one window."""

    spans: list[_Span]
    singles: "_Singles | None"


class Attention:
    """One step's attention over all layers; index tensors and masks are made once and serve every layer.

    `batched` runs all single tokens as one kernel over the whole range of slots in use (few launches, work on padding:
    for GPUs); otherwise each sequence gets its own call over exactly its length (no padding, and its numbers do not
    depend on its neighbours: for CPUs).
    """

    def __init__(
        self, segments: Sequence[Segment], cache: KVCache, config: DecoderConfig, rows: int, batched: bool
    ) -> None:
        self.cache = cache
        self.group = config.heads // cache.kv_heads
        self.scale = config.attention_scale
        device, dtype = cache.data.device, cache.data.dtype
        places = [(s.slot, position) for s in segments for position in range(s.start, s.start + s.count)]
        slots, positions = zip(*places, strict=True)
        self.tokens = len(places)
        self.slots = torch.tensor(slots, device=device)
        self.positions = torch.tensor(positions, device=device)
        # Rows beyond the tokens are padding and stay zero.
        self.out = torch.zeros(rows, config.heads * config.head_dim, dtype=dtype, device=device)
        longest = max(segment.start + segment.count for segment in segments)
        # A window that nobody has outgrown yet is none.
        reaches = [min(window or longest, longest) for window in config.windows]
        views = {reach: self._view(segments, batched, reach) for reach in set(reaches)}
        self.views = [views[reach] for reach in reaches]

    def _view(self, segments: Sequence[Segment], batched: bool, reach: int) -> _View:
        """What is seen by tokens that see `reach` keys at most, themselves included."""
        spans: list[_Span] = []
        singles: list[tuple[int, Segment]] = []
        row = 0
        for segment in segments:
            if segment.count == 1 and batched:
                singles.append((row, segment))
            else:
                first = max(0, segment.start + 1 - reach)
                keys = slice(first, segment.start + segment.count)
                mask = None if segment.count == 1 else self._mask(segment, first, reach)
                spans.append(_Span(segment.slot, slice(row, row + segment.count), keys, mask))
            row += segment.count
        return _View(spans, _Singles(singles, reach, self.cache.data.device) if singles else None)

    def _mask(self, segment: Segment, first: int, reach: int) -> Tensor:
        before = segment.start - first
        length = before + segment.count
        seen = torch.ones(segment.count, length, dtype=torch.bool, device=self.cache.data.device).tril(before)
        if reach < length:
            seen = seen.triu(before + 1 - reach)
        return seen.repeat(self.group, 1)

    def write(self, layer: int, kv: Tensor) -> None:
        """kv: [tokens, 2 · kv_heads, head_dim], keys then values."""
        self.cache.layers[layer][self.slots, :, self.positions] = kv

    def attend(self, layer: int, queries: Tensor) -> Tensor:
        """queries [tokens, heads, head_dim] -> [rows, heads · head_dim]. The result is reused by the next layer."""
        kv_heads, group, scale, dim = self.cache.kv_heads, self.group, self.scale, queries.shape[-1]
        view, slots = self.views[layer], self.cache.views[layer]
        if view.singles is not None:
            view.singles.attend(self.cache.layers[layer], queries, self.out, kv_heads, scale)
        for span in view.spans:
            keys, values = slots[span.slot]
            keys, values = keys[:, :, span.keys], values[:, :, span.keys]
            # The query heads of one KV head are laid out as if they were more query positions: no copies of KV.
            if span.mask is None:
                folded = queries[span.rows].view(1, kv_heads, group, dim)
                seen = sdpa(folded, keys, values, scale=scale)
                self.out[span.rows] = seen.view(1, -1)
            else:
                count = span.rows.stop - span.rows.start
                folded = queries[span.rows].view(count, kv_heads, group, dim).permute(1, 2, 0, 3)
                folded = folded.reshape(1, kv_heads, group * count, dim)
                seen = sdpa(folded, keys, values, attn_mask=span.mask, scale=scale)
                unfolded = seen.view(kv_heads, group, count, dim).permute(2, 0, 1, 3)
                self.out[span.rows] = unfolded.reshape(count, -1)
        return self.out


class _Singles:
    """All single tokens of a step in one kernel, over the slots first … last and the longest length among them."""

    def __init__(self, singles: list[tuple[int, Segment]], reach: int, device: torch.device) -> None:
        slots = [segment.slot for _, segment in singles]
        self.first, last = min(slots), max(slots)
        self.longest = max(segment.start for _, segment in singles) + 1
        self.rows = torch.tensor([row for row, _ in singles], device=device)
        self.places = torch.tensor(slots, device=device) - self.first
        # A slot that has no token here sees one key, so that its unused row is a number.
        lengths = torch.ones(last - self.first + 1, dtype=torch.long, device=device)
        lengths[self.places] = torch.tensor([segment.start + 1 for _, segment in singles], device=device)
        keys, lengths = torch.arange(self.longest, device=device), lengths[:, None]
        self.mask = ((keys < lengths) & (keys >= lengths - reach))[:, None, None]

    def attend(self, kv: Tensor, queries: Tensor, out: Tensor, kv_heads: int, scale: float) -> None:
        count, heads, dim = self.mask.shape[0], queries.shape[1], queries.shape[2]
        spread = queries.new_zeros(count, heads, dim)
        spread[self.places] = queries[self.rows]
        folded = spread.view(count, kv_heads, heads // kv_heads, dim)
        known = kv[self.first : self.first + count, :, : self.longest]
        seen = sdpa(folded, known[:, :kv_heads], known[:, kv_heads:], attn_mask=self.mask, scale=scale)
        out[self.rows] = seen.reshape(count, -1)[self.places]
