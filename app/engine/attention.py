"""Which keys each token of a step sees. The one place to change for another attention kernel.

A step is a flat list of tokens cut into segments: one token of a sequence that is decoding, a piece of a prompt that is
being read, or several pieces in a row, drafted tokens among them: any count works anywhere. All of a layer's KV is
written before any of it is read, so a piece sees those before it in the same step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

from app.engine.cache import PAD, KVCache
from app.engine.config import DecoderConfig

NEAR = 256  # keys; reading so many in vain costs about what a kernel's call does


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` tokens of one sequence, for the positions start … start + count − 1 of its slot."""

    slot: int
    start: int
    count: int


_Single = tuple[int, Segment]
"""Its row, and a segment of one token."""


@dataclass(frozen=True, slots=True)
class _Span:
    slot: int
    rows: slice
    keys: slice
    mask: Tensor  # [group · count, keys], added


@dataclass(frozen=True, slots=True)
class _Group:
    """Single tokens in neighbouring rows whose slots lie evenly apart: one kernel over as many keys for each."""

    rows: slice
    keys: Sequence[Tensor]  # of each layer [rows, kv_heads, keys, head_dim]
    values: Sequence[Tensor]
    mask: Tensor  # [rows, 1, 1, keys], added


@dataclass(frozen=True, slots=True)
class _View:
    """What a step's tokens see in the layers of one window."""

    spans: list[_Span]
    groups: list[_Group]
    singles: "_Singles | None"


class Attending(Protocol):
    """One step's attention over all layers."""

    tokens: int
    positions: Tensor

    def write(self, layer: int, kv: Tensor) -> None: ...

    def attend(self, layer: int, queries: Tensor) -> Tensor: ...


class Attention:
    """One step's attention over all layers; index tensors and masks are made once and serve every layer.

    `batched` runs all single tokens as one kernel over the whole range of slots in use (few launches, work on padding:
    for GPUs); otherwise only those of nearly one length share a kernel, and the padding is such that a token's numbers
    do not depend on its neighbours (for CPUs).
    """

    def __init__(
        self, segments: Sequence[Segment], cache: KVCache, config: DecoderConfig, rows: int, batched: bool
    ) -> None:
        self.cache = cache
        self.group = config.heads // cache.kv_heads
        self.scale = config.attention_scale
        # Found by measuring: with one query head a KV head, whole vectors of hidden keys change no bit; with several,
        # the number of keys decides how a product is cut, and must be each token's own.
        self.step, self.pad = (NEAR, 16) if self.group == 1 else (PAD, PAD)
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
        singles: list[_Single] = []
        row = 0
        for segment in segments:
            if segment.count == 1:
                singles.append((row, segment))
            else:
                first = max(0, segment.start + 1 - reach)
                keys, mask = slice(first, segment.start + segment.count), self._mask(segment, first, reach)
                spans.append(_Span(segment.slot, slice(row, row + segment.count), keys, mask))
            row += segment.count
        if batched:
            return _View(spans, [], _Singles(singles, reach, self.cache.data.device) if singles else None)
        return _View(spans, [self._group(run, reach) for run in self._alike(singles, reach)], None)

    def _alike(self, singles: Sequence[_Single], reach: int) -> list[list[_Single]]:
        """In runs of which each can share a kernel."""
        runs: list[list[_Single]] = []
        for single in singles:
            if runs and self._joins(runs[-1], single, reach):
                runs[-1].append(single)
            else:
                runs.append([single])
        return runs

    def _joins(self, run: Sequence[_Single], single: _Single, reach: int) -> bool:
        """Whether what it sees begins and ends near what the others see, in the next of their evenly spaced slots."""
        (last_row, last), (row, segment) = run[-1], single
        apart = segment.slot - last.slot
        if row != last_row + 1 or apart < 0 or self._near(last, reach) != self._near(segment, reach):
            return False
        return len(run) == 1 or apart == last.slot - run[-2][1].slot

    def _near(self, segment: Segment, reach: int) -> tuple[int, int]:
        return max(0, segment.start + 1 - reach) // self.step, segment.start // self.step

    def _group(self, run: Sequence[_Single], reach: int) -> _Group:
        (row, first), (last_row, last) = run[0], run[-1]
        ends = torch.tensor([segment.start + 1 for _, segment in run])[:, None]
        start = self._near(first, reach)[0] * self.step
        end = -(-int(ends.max()) // self.pad) * self.pad
        apart = run[1][1].slot - first.slot if len(run) > 1 else 1
        slots = slice(first.slot, last.slot + 1, apart or 1)
        known = self.cache.data[:, slots, :, start:end]
        if not apart:  # several tokens of one slot
            known = known.expand(-1, len(run), -1, -1, -1)
        places = torch.arange(start, end)
        hidden = (places >= ends) | (places < ends - reach)
        mask = torch.zeros(hidden.shape, dtype=known.dtype).masked_fill_(hidden, -torch.inf)[:, None, None]
        keys, values = known[:, :, : self.cache.kv_heads], known[:, :, self.cache.kv_heads :]
        return _Group(slice(row, last_row + 1), keys.unbind(), values.unbind(), mask)

    def _mask(self, segment: Segment, first: int, reach: int) -> Tensor:
        before = segment.start - first
        length = before + segment.count
        hidden = self.cache.data.new_full((segment.count, length), -torch.inf)
        mask = hidden.triu(before + 1)
        if reach < length:
            mask += hidden.tril(before - reach)
        return mask.repeat(self.group, 1) if self.group > 1 else mask

    def write(self, layer: int, kv: Tensor) -> None:
        """kv: [tokens, 2 · kv_heads, head_dim], keys then values."""
        self.cache.layers[layer][self.slots, :, self.positions] = kv

    def attend(self, layer: int, queries: Tensor) -> Tensor:
        """queries [tokens, heads, head_dim] -> [rows, heads · head_dim]. The result is reused by the next layer."""
        kv_heads, scale, dim = self.cache.kv_heads, self.scale, queries.shape[-1]
        view, slots = self.views[layer], self.cache.views[layer]
        if view.singles is not None:
            view.singles.attend(self.cache.layers[layer], queries, self.out, kv_heads, scale)
        for group in view.groups:
            folded = queries[group.rows].view(-1, kv_heads, self.group, dim)
            seen = sdpa(folded, group.keys[layer], group.values[layer], attn_mask=group.mask, scale=scale)
            self.out[group.rows] = seen.reshape(len(folded), -1)
        for span in view.spans:
            keys, values = slots[span.slot]
            keys, values = keys[:, :, span.keys], values[:, :, span.keys]
            # The query heads of one KV head are laid out as if they were more query positions: no copies of KV.
            count = span.rows.stop - span.rows.start
            folded = queries[span.rows].view(count, kv_heads, self.group, dim).permute(1, 2, 0, 3)
            folded = folded.reshape(1, kv_heads, self.group * count, dim)
            seen = sdpa(folded, keys, values, attn_mask=span.mask, scale=scale)
            unfolded = seen.view(kv_heads, self.group, count, dim).permute(2, 0, 1, 3)
            self.out[span.rows] = unfolded.reshape(count, -1)
        return self.out


class _Singles:
    """All single tokens of a step in one kernel, over the slots first … last and the longest length among them."""

    def __init__(self, singles: list[_Single], reach: int, device: torch.device) -> None:
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
