"""The KV cache: a fixed number of slots, each one sequence's keys and values, kept after it ends for the next one.

A slot's `ids` are the tokens whose KV it holds, always, also while its owner runs: rows below len(ids) are final, which
is what lets others copy them. Only equal keys share. No paging: a slot reserves a whole context (on a CPU the operating
system commits its pages only as they are written). Who is overwritten is decided by what would be missed: first who is
not kept for its next round, least recently used first, and the last copy of a beginning that many share at the end.
Not thread-safe: the engine's thread owns it.
"""

import math
import mmap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

PAD = 64  # keys: to a multiple of these a single token's are padded on a CPU
PAGE = 256  # FlashAttention wants slots of a multiple of so many tokens
MOSTLY = 1 / 2  # of a slot's ids: who shares that much goes on in it, and the rest is lost
SAME = 7 / 8  # who shares that much is the same conversation; only it goes on in a slot that is kept
HEAD, HEAD_SECONDS = 32, 600.0  # a shared beginning shorter than that, or not met for so long, is nothing special


class KVCache:
    """`data` is [layers, slots, 2 · kv_heads, context or a little more, head_dim]: a token's keys, then its values."""

    def __init__(
        self, layers: int, slots: int, kv_heads: int, context: int, head_dim: int, dtype: torch.dtype, device: str
    ) -> None:
        # On a CPU the padding costs no memory, since nobody writes it.
        unit = PAD if device == "cpu" else PAGE
        rows = -(-context // unit) * unit
        # Zeros, not empty: a masked row is multiplied by 0, and 0 · NaN from old memory would be NaN.
        self.data = _zeros((layers, slots, 2 * kv_heads, rows, head_dim), dtype, device)
        self.layers = list(self.data)
        self.kv_heads = kv_heads
        self.context = context
        # [layer][slot] -> (keys, values), each [1, kv_heads, context, head_dim]; made once, they cost microseconds.
        self.views = [[(slot[None, :kv_heads], slot[None, kv_heads:]) for slot in layer] for layer in self.layers]
        # [layer] -> (keys, values), each [slots, context, kv_heads, head_dim]: the slots as pages.
        self.pages = [
            (layer[:, :kv_heads].transpose(1, 2), layer[:, kv_heads:].transpose(1, 2)) for layer in self.layers
        ]

    def copy(self, source: int, target: int, count: int) -> None:
        self.data[:, target, :, :count] = self.data[:, source, :, :count]

    def wipe(self, slot: int, start: int, end: int) -> None:
        self.data[:, slot, :, start:end] = 0


@dataclass(eq=False, slots=True)
class Slot:
    """The first `written` rows may hold KV: of `ids`, or of what was there before. `kept` is the time until which it is
    kept for its conversation, `shared` that until which its first `head` ids count as the beginning of others. A
    `doomed` one is erased when it is given back.
    """

    index: int
    ids: list[int] = field(default_factory=list)
    key: str = ""
    busy: bool = False
    doomed: bool = False
    used: int = 0
    written: int = 0
    kept: float = 0.0
    head: int = 0
    shared: float = 0.0


class Slots:
    """Who has which slot, and which slot knows the longest beginning of a new prompt."""

    def __init__(self, cache: KVCache, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.cache = cache
        self.slots = [Slot(index) for index in range(count)]
        self._clock = clock
        self._uses = 0

    @property
    def free(self) -> int:
        return sum(not slot.busy for slot in self.slots)

    @property
    def kept(self) -> int:
        """How many are free but kept for a while for who had them."""
        now = self._clock()
        return sum(not slot.busy and slot.kept > now for slot in self.slots)

    def take(self, ids: Sequence[int], key: str, reusable: int) -> Slot:
        """A free slot for `ids`, already holding the longest beginning known under `key`, at most `reusable` tokens.

        A finished slot is continued in place when that keeps most of what it holds; otherwise (and always when its
        owner still runs) the shared beginning is copied into the slot that is missed least, so that one common system
        prompt does not cost a neighbour its whole conversation. Where that is the slot to copy from, it only loses
        its tail.
        """
        free = [slot for slot in self.slots if not slot.busy]
        if not free:
            raise LookupError("no free slot")
        now = self._clock()
        wanted = list(ids[:reusable])
        known = {slot.index: common_prefix(slot.ids, wanted) for slot in self._readable(key)}
        best = max(self.slots, key=lambda slot: (known.get(slot.index, 0), not slot.busy, slot.used))
        shared = known.get(best.index, 0)
        if best.busy or shared < SAME * len(best.ids):
            self._share(best, shared, now)
        goes_on = shared and not best.busy and shared >= (SAME if best.kept > now else MOSTLY) * len(best.ids)
        chosen = best if goes_on else self._missed_least(free, best if shared else None, now)
        if shared and chosen is not best:
            chosen.ids, chosen.head = [], 0  # while it is overwritten it holds nothing that could be relied on
            chosen.written = max(chosen.written, shared)
            self.cache.copy(best.index, chosen.index, shared)
            chosen.head, chosen.shared = best.head, best.shared
        chosen.ids = wanted[:shared]
        chosen.head = min(chosen.head, shared)
        chosen.key, chosen.kept, chosen.busy = key, 0.0, True
        return chosen

    def knows(self, ids: Sequence[int], key: str, count: int) -> bool:
        """Whether some slot holds the first `count` ids under `key`. Quick where it does not."""
        return any(_begins(slot.ids, ids, count) for slot in self._readable(key))

    def give_back(self, slot: Slot, *, keep: float = 0.0, poisoned: bool = False) -> None:
        """The slot is free again and stays as cache, unless what it holds cannot be trusted or must go. For `keep`
        seconds it is given away only when no other is left."""
        slot.busy = False
        if poisoned or slot.doomed:
            self._clear(slot)
        self._uses += 1
        slot.used = self._uses
        slot.kept = self._clock() + keep if slot.ids else 0.0

    def forget(self, key: str | None = None) -> None:
        """Erase the KV of what has ended under the keys that begin with `key`, or under any: its memory is zero
        afterwards. What runs is shown to nobody any more, and erased when it is given back."""
        for slot in self.slots:
            if not slot.key.startswith(key or ""):
                self._wipe(slot, len(slot.ids))  # rows of who had it before
            elif slot.busy:
                slot.doomed = True
            else:
                self._clear(slot)

    def _clear(self, slot: Slot) -> None:
        self._wipe(slot, 0)
        slot.ids, slot.doomed, slot.kept, slot.head = [], False, 0.0, 0

    def _wipe(self, slot: Slot, start: int) -> None:
        self.cache.wipe(slot.index, start, slot.written)
        slot.written = start

    def _readable(self, key: str) -> Iterator[Slot]:
        return (slot for slot in self.slots if slot.key == key and slot.ids and not slot.doomed)

    def _share(self, slot: Slot, count: int, now: float) -> None:
        """Another conversation begins as this one: that much of it is worth more than one conversation."""
        if count >= HEAD:
            slot.head = max(count, slot.head if slot.shared > now else 0)
            slot.shared = now + HEAD_SECONDS

    def _missed_least(self, free: list[Slot], source: Slot | None, now: float) -> Slot:
        """The slot to overwrite: an empty one, else the least recently used of those that are not kept. The last one
        that holds a shared head is passed over, unless it is `source`: then its head stays where it is."""
        pool = sorted([slot for slot in free if slot.kept <= now] or free, key=lambda slot: (bool(slot.ids), slot.used))
        return next((slot for slot in pool if slot is source or not self._last_of_its_head(slot, now)), pool[0])

    def _last_of_its_head(self, slot: Slot, now: float) -> bool:
        if slot.head < HEAD or slot.shared <= now:
            return False
        others = (other for other in self._readable(slot.key) if other is not slot)
        return not any(_begins(other.ids, slot.ids, slot.head) for other in others)


def _begins(known: Sequence[int], ids: Sequence[int], count: int) -> bool:
    """Whether both begin with the same `count` ids; most that differ do so in the last of them."""
    if not 0 < count <= min(len(known), len(ids)) or known[count - 1] != ids[count - 1]:
        return False
    return known[:count] == ids[:count]


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Tensor:
    if device != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # torch.zeros writes every page at once; a fresh private mapping is zero and costs memory only where it is written.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return torch.frombuffer(mmap.mmap(-1, math.prod(shape) * dtype.itemsize, flags=flags), dtype=dtype).view(shape)


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
