"""A memory whose stores count as large from 100 passages on: what changes under the searches, and what does not."""

import logging
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from index.dense import Approximate, Dense, Exact, Tiers
from index.loading import Loader
from index.memory import Memory
from index.rows import packed
from index.store import Store
from index.tiers import Trainer, recall
from index.types import Chunking
from tests.fakes import HashedWords
from tests.index import conftest
from tests.index.conftest import Open
from tests.index.test_kept_vectors import alive, vector_file

TIERS = Tiers("IVF4,RaBitQfs", 100)
VOCABULARY = [f"word{n}" for n in range(400)]


def passage(seed: int, n: int) -> str:
    """Drawn words."""
    return " ".join(random.Random(seed * 1000 + n).choices(VOCABULARY, k=24)) + "."


def put(memory: Memory, seed: int, count: int = 60) -> str:
    """A document of so many passages."""
    text = "\n\n".join(passage(seed, n) for n in range(count))
    return conftest.put(memory, f"{seed}.txt", text, chunking=Chunking(32))


def opened(memory: Memory) -> Store:
    return memory._shelf.get(1)


def train(memory: Memory) -> Dense:
    memory._trainer.train(1, opened(memory))
    return opened(memory).dense


def finds(memory: Memory, seed: int, n: int) -> bool:
    """Whether a passage is the best for its own words, by meaning alone."""
    (hit,) = memory.search("default", passage(seed, n), 1, dense_weight=1.0)
    return hit.chunk.text == passage(seed, n)


def found_of_all(memory: Memory) -> float:
    store = opened(memory)
    questions = HashedWords().encode([f"{a} {b}" for a, b in zip(VOCABULARY[:40], VOCABULARY[40:80], strict=True)])
    shares = [recall(store, question) for question in questions]
    return sum(share for share in shares if share is not None) / len(shares)


def whole(memory: Memory) -> bool:
    """Whether the index, the places and the catalog agree, and each vector can be read."""
    store = opened(memory)
    _, readable = store.rows.read(store.rows.chunks)
    return bool(readable.all()) and len(store.dense) == len(store.rows) == memory.stats().chunks


def test_a_small_store_is_exact_one_that_grew_is_not_and_opens_so(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory(tiers=TIERS)
    put(memory, 1)
    assert isinstance(train(memory), Exact)
    put(memory, 2)
    assert isinstance(opened(memory).dense, Exact)
    assert isinstance(train(memory), Approximate)
    assert finds(memory, 1, 3) and finds(memory, 2, 59) and whole(memory) and found_of_all(memory) >= 0.98
    memory.close()
    memory = open_memory(tiers=TIERS)
    assert isinstance(opened(memory).dense, Approximate)
    assert finds(memory, 1, 3) and finds(memory, 2, 59) and whole(memory)
    memory.close()
    memory = open_memory(tiers=Tiers("exact", 100))
    assert isinstance(opened(memory).dense, Exact) and isinstance(train(memory), Exact) and finds(memory, 1, 3)


def test_it_is_trained_again_at_four_times_the_size_and_exact_again_when_little_is_left(open_memory: Open) -> None:
    memory = open_memory(tiers=TIERS)
    ids = [put(memory, seed) for seed in (1, 2)]
    first = train(memory)
    ids += [put(memory, seed, 115) for seed in (3, 4, 5)]
    assert train(memory) is first
    ids.append(put(memory, 6, 15))
    second = train(memory)
    assert isinstance(second, Approximate) and second is not first and second.built_for == len(second) == 480
    assert all(finds(memory, seed, 7) for seed in range(1, 7)) and found_of_all(memory) >= 0.98
    for gone in ids[1:5]:
        memory.delete_file(gone)
    assert train(memory) is second
    memory.delete_file(ids[5])
    put(memory, 7, 5)
    memory.delete_file(ids[0])
    assert isinstance(train(memory), Exact) and finds(memory, 7, 4) and whole(memory)


class Meddled(Loader):
    """While it builds an index, somebody adds a document and removes one."""

    memory: Memory
    gone: str

    def dense(self, *given: object) -> tuple[Dense, dict[int, Sequence[int]]] | None:
        built = super().dense(*given)  # type: ignore[arg-type]
        put(self.memory, 9)
        self.memory.delete_file(self.gone)
        return built


def test_what_comes_and_goes_during_the_training_is_not_lost(open_memory: Open) -> None:
    memory = open_memory(tiers=TIERS)
    gone = [put(memory, seed) for seed in (1, 2, 3)][1]
    loader = Meddled(memory._catalog, memory._shelf.files, memory._shelf.snapshots, memory.embedder, TIERS)
    loader.memory, loader.gone = memory, gone
    Trainer(memory._shelf, loader, TIERS).train(1, opened(memory))
    assert isinstance(opened(memory).dense, Approximate) and whole(memory)
    assert finds(memory, 9, 30) and finds(memory, 3, 1) and not finds(memory, 2, 5)


def test_searches_and_changes_go_on_while_indexes_are_swapped(open_memory: Open) -> None:
    memory = open_memory(tiers=TIERS)
    put(memory, 1)
    put(memory, 2)
    missed, ends = list[int](), threading.Event()

    def search(seed: int) -> None:
        n = 0
        while not ends.is_set():
            n = (n + 7) % 60
            if not finds(memory, seed, n):
                missed.append(n)

    searchers = [threading.Thread(target=search, args=(seed,)) for seed in (1, 2)]
    for searcher in searchers:
        searcher.start()
    try:
        for round_ in range(6):
            built = memory._shelf._loader.dense(1, opened(memory))
            extra = put(memory, 10 + round_, 5)
            assert built is not None and memory._shelf.swap_vectors(1, opened(memory), *built)
            memory.delete_file(extra)
    finally:
        ends.set()
        for searcher in searchers:
            searcher.join(30)
    assert not missed and whole(memory)


def test_damage_is_mended_when_the_store_is_opened_and_when_it_is_trained(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory(tiers=TIERS)
    for seed in (1, 2, 3):
        put(memory, seed)

    def damage() -> None:
        with vector_file(tmp_path / "data").open("r+b") as file:
            file.seek(alive(tmp_path / "data")[1].at + 3000)
            file.write(b"\xff\x7f" * 3000)

    damage()
    assert isinstance(train(memory), Approximate) and finds(memory, 2, 30) and whole(memory)
    memory.close()
    damage()
    memory = open_memory(tiers=TIERS)
    assert isinstance(opened(memory).dense, Approximate) and finds(memory, 2, 30) and whole(memory)


def test_vectors_that_move_in_their_file_are_still_read(open_memory: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = open_memory(tiers=TIERS)
    ids = [put(memory, seed) for seed in (1, 2, 3, 4, 5)]
    train(memory)
    for gone in ids[:3]:
        memory.delete_file(gone)
    before = opened(memory).rows.file
    monkeypatch.setattr("index.removal.LEAST_ROOM", 0)
    memory.tidy()
    assert opened(memory).rows.file != before and whole(memory) and finds(memory, 5, 8)
    only = {"type": "eq", "key": "filename", "value": "5.txt"}
    (hit,) = memory.search("default", passage(5, 8), 1, filters=only, dense_weight=1.0)
    assert hit.chunk.text == passage(5, 8)


def test_what_faiss_cannot_train_leaves_the_search_exact(open_memory: Open, caplog: pytest.LogCaptureFixture) -> None:
    tiers = Tiers("IVF256,Flat", 100)
    memory = open_memory(tiers=tiers)
    put(memory, 1)
    put(memory, 2)
    with caplog.at_level(logging.WARNING):
        assert isinstance(train(memory), Exact) and isinstance(train(memory), Exact)
    assert caplog.text.count("cannot train IVF256,Flat on 120 vectors") == 1  # it is not tried again and again
    memory.close()
    memory = open_memory(tiers=tiers)
    assert isinstance(opened(memory).dense, Exact) and finds(memory, 2, 5)
    put(memory, 3, 150)
    assert isinstance(train(memory), Approximate) and finds(memory, 3, 5)


def test_recall_is_sampled_on_what_was_asked(open_memory: Open) -> None:
    memory = open_memory(tiers=TIERS)
    put(memory, 1)
    put(memory, 2)
    assert finds(memory, 1, 1)
    memory._trainer.sample(opened(memory))
    assert memory.recall().samples == 0 and memory.recall().mean is None  # exact needs no measuring
    train(memory)
    memory._trainer.sample(opened(memory))
    assert memory.recall().samples == 0  # nothing was asked
    assert finds(memory, 1, 1)
    memory._trainer.sample(opened(memory))
    memory._trainer.sample(opened(memory))
    told = memory.recall()
    assert told.samples == 1 and told.mean is not None and told.mean >= 0.9


def test_a_measuring_that_a_change_came_into_does_not_count(open_memory: Open) -> None:
    memory = open_memory(tiers=TIERS)
    put(memory, 1)
    put(memory, 2)
    train(memory)
    store = opened(memory)
    read, vector = store.rows.read, HashedWords().encode(["word1"])[0]

    def meddled(chunks: np.ndarray[tuple[int], np.dtype[np.int64]]) -> object:
        store.version += 1
        return read(chunks)

    store.rows.read = meddled  # type: ignore[method-assign, assignment]
    assert recall(store, vector) is None


def test_numbers_that_follow_each_other_are_packed() -> None:
    assert packed([4, 5, 6]) == range(4, 7) and packed([]) == range(0)
    assert packed([4, 6, 7]) == [4, 6, 7] and packed([7, 6]) == [7, 6]
