"""Slots: what one holds is always true, keys never mix, and nobody's running sequence is touched."""

import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.cache import HEAD, HEAD_SECONDS, KVCache, Slot, Slots, common_prefix
from tests.engine.client import Clock

small_ids = st.lists(st.integers(0, 2), min_size=1, max_size=12)


def make(count: int = 3, context: int = 12, clock: Callable[[], float] = time.monotonic) -> Slots:
    return Slots(KVCache(2, count, 1, context, 2, torch.float32, "cpu"), count, clock)


def run(slots: Slots, slot: Slot, ids: list[int]) -> None:
    """Do what a model would: write each new token's KV (here its id, and its owner's key) and note it in the slot."""
    for position in range(len(slot.ids), len(ids)):
        slots.cache.data[:, slot.index, :, position] = ids[position] + salt(slot)
        slot.ids.append(ids[position])
    slot.written = max(slot.written, len(ids))


def held(slots: Slots, slot: Slot) -> list[int]:
    """The ids whose KV the slot really has; no ids at all where another key wrote it."""
    data = slots.cache.data[:, slot.index, :, : len(slot.ids)]
    assert (data == data[:1, :1, :, :1]).all()
    return [int(value) - salt(slot) for value in data[0, 0, :, 0]]


def salt(slot: Slot) -> int:
    return 1 + 1000 * sum(map(ord, slot.key))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the process' memory from Linux' /proc")
def test_memory_is_paid_only_for_what_is_written() -> None:
    before = resident()
    cache = KVCache(4, 64, 8, 4096, 32, torch.bfloat16, "cpu")
    assert cache.data.nbytes == 1 << 30
    assert not cache.data[:, 5, :, :7].any()
    assert resident() - before < 64 << 20


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 1), max_size=20), st.lists(st.integers(0, 1), max_size=20))
def test_common_prefix(one: list[int], other: list[int]) -> None:
    count = common_prefix(one, other)
    assert one[:count] == other[:count]
    assert count == min(len(one), len(other)) or one[count] != other[count]


class Book:
    """What the slots must hold and whom they must spare, kept in the plainest way."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.slots = make(clock=self.clock)
        self.known: dict[int, tuple[list[int], str]] = {}  # index -> ids and key, in use or cached
        self.running: list[Slot] = []
        self.cached: list[Slot] = []  # least recently used first
        self.until: dict[int, float] = {}
        self.doomed: set[int] = set()

    def take(self, ids: list[int], key: str) -> None:
        readable = {i: (k, owner) for i, (k, owner) in self.known.items() if i not in self.doomed and owner == key}
        shares = {index: common_prefix(other, ids[:-1]) for index, (other, _) in readable.items()}
        slot = self.slots.take(ids, key, len(ids) - 1)
        shared = len(slot.ids)
        assert slot.ids == ids[:shared]
        assert shared == max(shares.values(), default=0)
        assert slot not in self.running
        if slot in self.cached:
            kept = self._kept(slot)
            most = 7 / 8 if kept else 1 / 2
            if not shared or shares.get(slot.index) != shared or shared < most * len(self.known[slot.index][0]):
                # Its conversation is given up: no slot is empty, none is kept less, none is older.
                assert len(self.known) == len(self.slots.slots)
                spared = self.cached[: self.cached.index(slot)]
                assert all(self._kept(other) and not kept for other in spared)
                assert not kept or all(map(self._kept, self.cached))
            self.cached.remove(slot)
        else:
            assert slot.index not in self.known
        run(self.slots, slot, ids)
        self.running.append(slot)
        self.known[slot.index] = ids, key
        self.until[slot.index] = 0

    def give_back(self, slot: Slot, *, keep: float = 0, poisoned: bool = False) -> None:
        self.running.remove(slot)
        self.slots.give_back(slot, keep=keep, poisoned=poisoned)
        if poisoned or slot.index in self.doomed:
            del self.known[slot.index]
            self.doomed.discard(slot.index)
        else:
            self.cached.append(slot)
            self.until[slot.index] = self.clock.now + keep

    def forget(self, key: str | None) -> None:
        self.slots.forget(key)
        meant = {index for index, (_, owner) in self.known.items() if key in (None, owner)}
        self.doomed |= meant & {slot.index for slot in self.running}
        for slot in [slot for slot in self.cached if slot.index in meant]:
            self.cached.remove(slot)
            del self.known[slot.index]
        for slot in self.slots.slots:
            if slot.index not in self.doomed:  # not even what was there before is left behind what is there now
                assert not self.slots.cache.data[:, slot.index, :, len(slot.ids) :].any()

    def check(self) -> None:
        assert {slot.index for slot in self.slots.slots if slot.busy} == {slot.index for slot in self.running}
        assert self.slots.free == len(self.slots.slots) - len(self.running)
        assert self.slots.kept == sum(map(self._kept, self.cached))
        for slot in self.slots.slots:
            ids, key = self.known.get(slot.index, ([], slot.key))
            assert (held(self.slots, slot), slot.ids, slot.key) == (ids, ids, key)

    def _kept(self, slot: Slot) -> bool:
        return self.until[slot.index] > self.clock.now


slot_moves = st.lists(
    st.tuples(
        small_ids,
        st.sampled_from("ab"),
        st.sampled_from(["take", "take", "take", "poison", "wait", "forget", "forget all"]),
        st.integers(0, 5),
    ),
    min_size=8,
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(slot_moves)
def test_slots_whatever_is_taken_given_back_and_forgotten(moves: list[tuple[list[int], str, str, int]]) -> None:
    """Each slot is empty, cached or in use, once; what it holds is true and of its key; who is kept goes last, then
    the oldest first; what is forgotten is nowhere."""
    book = Book()
    for ids, key, move, which in moves:
        match move:
            case "wait":
                book.clock.now += which
            case "forget":
                book.forget(key)
            case "forget all":
                book.forget(None)
            case _:
                if len(book.running) == len(book.slots.slots):
                    for _ in range(1 + which // 2):
                        slot = book.running[which % len(book.running)]
                        book.give_back(slot, keep=which % 3 * 2, poisoned=move == "poison" and which < 2)
                book.take(ids, key)
        book.check()
    book.forget(None)
    for slot in list(book.running):
        book.give_back(slot)
    book.check()
    assert book.slots.free == len(book.slots.slots)
    assert not book.slots.cache.data.any()


def test_a_copy_that_fails_leaves_nothing_to_rely_on(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = make(2)
    first, second = slots.take([1, 2, 3], "", 2), slots.take([7, 8], "", 1)
    run(slots, first, [1, 2, 3])
    run(slots, second, [7, 8])
    slots.give_back(second)

    def fails(*_: int) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(slots.cache, "copy", fails)
    with pytest.raises(torch.OutOfMemoryError):
        slots.take([1, 2, 9], "", 2)
    assert (second.ids, second.busy, first.ids) == ([], False, [1, 2, 3])


def test_a_conversation_goes_on_in_its_slot() -> None:
    slots = make()
    first = slots.take([1, 2, 3, 4], "", 3)
    run(slots, first, [1, 2, 3, 4])
    slots.give_back(first)
    again = slots.take([1, 2, 3, 4, 5, 6], "", 5)
    assert again is first
    assert again.ids == [1, 2, 3, 4]


def test_a_short_shared_beginning_is_copied_and_leaves_the_conversation() -> None:
    slots = make()
    first = slots.take([1, 2, 3, 4, 5, 6], "", 5)
    run(slots, first, [1, 2, 3, 4, 5, 6])
    slots.give_back(first)
    other = slots.take([1, 2, 9, 9], "", 3)
    assert other is not first
    assert held(slots, other) == [1, 2]
    assert first.ids == [1, 2, 3, 4, 5, 6]


def test_a_running_neighbour_is_copied_from() -> None:
    slots = make()
    first = slots.take([1, 2, 3], "", 2)
    run(slots, first, [1, 2, 3])
    second = slots.take([1, 2, 3], "", 2)
    assert second is not first
    assert held(slots, second) == [1, 2]


def test_the_least_recently_used_goes_first() -> None:
    slots = make(2)
    one, two = slots.take([1, 1], "", 1), slots.take([2, 2], "", 1)
    for slot, ids in ((one, [1, 1]), (two, [2, 2])):
        run(slots, slot, ids)
    slots.give_back(two)
    slots.give_back(one)
    assert slots.take([7, 7], "", 1) is two


def test_none_free_is_an_error() -> None:
    slots = make(1)
    slots.take([1], "", 0)
    with pytest.raises(LookupError, match="no free slot"):
        slots.take([1], "", 0)


def converse(slots: Slots, ids: list[int], key: str = "", keep: float = 0) -> int:
    """One round; how many tokens it had to prefill."""
    slot = slots.take(ids, key, len(ids) - 1)
    new = len(ids) - len(slot.ids)
    run(slots, slot, ids)
    slots.give_back(slot, keep=keep)
    return new


def test_a_kept_conversation_outlasts_others_for_its_time_only() -> None:
    clock = Clock()
    slots = make(3, clock=clock)
    others = [[other, other] for other in range(100, 110)]
    converse(slots, [1, 2, 3, 4], keep=5)
    for other in others:
        converse(slots, other)
    clock.now += 4.9
    assert converse(slots, [1, 2, 3, 4, 5], keep=5) == 1
    clock.now += 5
    for other in others:
        converse(slots, other)
    assert converse(slots, [1, 2, 3, 4, 5]) == 5


def test_where_all_are_kept_the_first_kept_goes() -> None:
    slots = make(2, clock=Clock())
    for ids in ([1, 1], [2, 2], [3, 3]):
        converse(slots, ids, keep=5)
    assert [slot.ids for slot in slots.slots] == [[3, 3], [2, 2]]


def test_a_kept_conversation_is_not_gone_on_in_by_one_that_only_begins_alike() -> None:
    slots = make(3, clock=Clock())
    converse(slots, [1, 2, 3, 4, 5, 6], keep=5)
    assert converse(slots, [1, 2, 3, 4, 9]) == 1
    assert converse(slots, [1, 2, 3, 4, 5, 6, 7]) == 1


def test_the_last_copy_of_a_shared_beginning_outlasts_what_is_newer() -> None:
    clock = Clock()
    slots = make(4, context=HEAD + 20, clock=clock)
    head = list(range(HEAD))
    assert [converse(slots, [*head, *[own] * 8]) for own in (101, 102)] == [HEAD + 8, 8]
    for other in range(200, 220):
        converse(slots, [other] * 8)
    assert converse(slots, [*head, *[103] * 8]) == 8
    clock.now += HEAD_SECONDS
    for other in range(200, 220):
        converse(slots, [other] * 8)
    assert converse(slots, [*head, *[104] * 8]) == HEAD + 8


def test_the_oldest_loses_its_tail_and_keeps_its_head_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = make(2)
    converse(slots, [1, 2, 3, 4, 5, 6])
    converse(slots, [7, 7, 7])
    monkeypatch.setattr(slots.cache, "copy", None)
    assert converse(slots, [1, 2, 9]) == 1
    assert [slot.ids for slot in slots.slots] == [[1, 2, 9], [7, 7, 7]]


def test_a_prompt_is_known_to_its_key_while_it_is_held() -> None:
    slots = make()
    converse(slots, [1, 2, 3, 4], "a")
    assert [slots.knows([1, 2, 3, 9], "a", count) for count in (1, 3, 4, 5)] == [True, True, False, False]
    assert not slots.knows([1, 2, 3], "b", 1)
    slots.forget("b")
    assert slots.knows([1, 2, 3], "a", 3)
    slots.forget("a")
    assert not slots.knows([1, 2, 3], "a", 1)
