"""The KV cache: a fixed number of slots, each one sequence's keys and values, kept after it ends for the next one.

A slot's `ids` are the tokens whose KV it holds, always, also while its owner runs: rows below len(ids) are final, which
is what lets others copy them. Only equal keys share. No paging: a slot reserves a whole context (on a CPU the operating
system commits its pages only as they are written). Not thread-safe: the engine's thread owns it.
"""

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


class KVCache:
    """`data` is [layers, slots, 2 · kv_heads, context, head_dim]: a token's keys, then its values, in one write."""

    def __init__(
        self, layers: int, slots: int, kv_heads: int, context: int, head_dim: int, dtype: torch.dtype, device: str
    ) -> None:
        # Zeros, not empty: a masked row is multiplied by 0, and 0 · NaN from old memory would be NaN.
        self.data = _zeros((layers, slots, 2 * kv_heads, context, head_dim), dtype, device)
        self.layers = list(self.data)
        self.kv_heads = kv_heads
        self.context = context
        # [layer][slot] -> (keys, values), each [1, kv_heads, context, head_dim]; made once, they cost microseconds.
        self.views = [[(slot[None, :kv_heads], slot[None, kv_heads:]) for slot in layer] for layer in self.layers]

    def copy(self, source: int, target: int, count: int) -> None:
        self.data[:, target, :, :count] = self.data[:, source, :, :count]

    def wipe(self, slot: int) -> None:
        self.data[:, slot] = 0


@dataclass(eq=False, slots=True)
class Slot:
    index: int
    ids: list[int] = field(default_factory=list)
    key: str = ""
    busy: bool = False
    used: int = 0


class Slots:
    """Who has which slot, and which slot knows the longest beginning of a new prompt."""

    def __init__(self, cache: KVCache, count: int) -> None:
        self.cache = cache
        self.slots = [Slot(index) for index in range(count)]
        self._clock = 0

    @property
    def free(self) -> int:
        return sum(not slot.busy for slot in self.slots)

    def take(self, ids: Sequence[int], key: str, reusable: int) -> Slot:
        """A free slot for `ids`, already holding the longest beginning known under `key`, at most `reusable` tokens.

        A finished slot is continued in place when that keeps at least half of what it holds; otherwise (and always
        when its owner still runs) the shared beginning is copied into the least recently used slot, so that one
        common system prompt does not cost a neighbour its whole conversation.
        """
        free = [slot for slot in self.slots if not slot.busy]
        if not free:
            raise LookupError("no free slot")
        wanted = list(ids[:reusable])
        known = {slot.index: common_prefix(slot.ids, wanted) for slot in self.slots if slot.key == key and slot.ids}
        best = max(self.slots, key=lambda slot: (known.get(slot.index, 0), not slot.busy, slot.used))
        shared = known.get(best.index, 0)
        if shared == 0:
            chosen = min(free, key=_age)
        elif not best.busy and 2 * shared >= len(best.ids):
            chosen = best
        else:
            chosen = min([slot for slot in free if slot is not best] or [best], key=_age)
            if chosen is not best:
                chosen.ids = []  # while it is overwritten it holds nothing that could be relied on
                self.cache.copy(best.index, chosen.index, shared)
        chosen.ids = wanted[:shared]
        chosen.key = key
        chosen.busy = True
        return chosen

    def give_back(self, slot: Slot, *, poisoned: bool = False) -> None:
        """The slot is free again and stays as cache, unless what it holds cannot be trusted."""
        if poisoned:
            slot.ids = []
            self.cache.wipe(slot.index)
        slot.busy = False
        self._clock += 1
        slot.used = self._clock


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Tensor:
    if device != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # torch.zeros writes every page at once; a fresh private mapping is zero and costs memory only where it is written.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return torch.frombuffer(mmap.mmap(-1, math.prod(shape) * dtype.itemsize, flags=flags), dtype=dtype).view(shape)


def _age(slot: Slot) -> tuple[bool, int]:
    return bool(slot.ids), slot.used  # empty slots first


def common_prefix(one: list[int], other: list[int]) -> int:
    """How many first ids are equal. Halving over slice comparisons, which run in C, beats a loop over ids."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
