"""Slots: what one holds is always true, keys never mix, and nobody's running sequence is touched."""

import resource
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.cache import KVCache, Slot, Slots, common_prefix

small_ids = st.lists(st.integers(0, 2), min_size=1, max_size=12)


def make(count: int = 3) -> Slots:
    return Slots(KVCache(2, count, 1, 12, 2, torch.float32, "cpu"), count)


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


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(small_ids, st.sampled_from("ab"), st.booleans(), st.integers(0, 5)), min_size=8, max_size=25))
def test_slots_whatever_is_taken_and_given_back(moves: list[tuple[list[int], str, bool, int]]) -> None:
    """Each slot is empty, cached or in use, once; what it holds is true and of its key; the oldest goes first."""
    slots = make()
    kept: dict[int, tuple[list[int], str]] = {}  # in use or cached: index -> ids and key
    running: list[Slot] = []
    cached: list[Slot] = []  # least recently used first

    def give_back(slot: Slot, poisoned: bool) -> None:
        running.remove(slot)
        slots.give_back(slot, poisoned=poisoned)
        if poisoned:
            del kept[slot.index]
        else:
            cached.append(slot)

    for ids, key, poisoned, which in moves:
        if len(running) == len(slots.slots):
            for _ in range(1 + which // 2):
                give_back(running[which % len(running)], poisoned and which < 2)
        known = {index: common_prefix(other, ids[:-1]) for index, (other, owner) in kept.items() if owner == key}
        slot = slots.take(ids, key, len(ids) - 1)
        shared = len(slot.ids)
        assert slot.ids == ids[:shared]
        assert shared == max(known.values(), default=0)
        assert slot not in running
        if slot not in cached:
            assert slot.index not in kept
        elif not shared or 2 * shared < len(kept[slot.index][0]) or known.get(slot.index) != shared:
            # Its conversation is given up: then all that were older are the one that was copied from.
            assert len(kept) == len(slots.slots)
            older = cached[: cached.index(slot)]
            assert len(older) <= 1
            assert all(shared and known.get(other.index) == shared for other in older)
        run(slots, slot, ids)
        running.append(slot)
        cached = [other for other in cached if other is not slot]
        kept[slot.index] = ids, key
        assert {other.index for other in slots.slots if other.busy} == {other.index for other in running}
        assert slots.free == len(slots.slots) - len(running)
        for other in slots.slots:
            assert (held(slots, other), other.ids) == (kept[other.index][0] if other.index in kept else [],) * 2
            assert other.index not in kept or other.key == kept[other.index][1]


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
