"""Copies of large stores: the same code over a CPU's indexes, and over a GPU where there is one."""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import numpy.typing as npt
import pytest

from index import gpu
from index.dense import Approximate
from index.gpu import Copies, Gpu, trained
from index.rows import Ids, Rows
from index.types import Copied, Vectors
from tests.index.conftest import Open
from tests.index.test_tiers import TIERS, finds, opened, put, train

COUNT, DIMENSION = 3000, 32


def clustered(count: int, dimension: int) -> Vectors:
    dice = np.random.default_rng(3)
    centres = dice.standard_normal((60, dimension))
    drawn: Vectors = centres[dice.integers(0, 60, count)].astype(np.float32)
    drawn += dice.standard_normal((count, dimension), np.float32) / 2
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


class InRam:
    """Stands where the GPU stands, and minds who asks: FAISS crashes, or is wrong, when two threads use one GPU."""

    def __init__(self, room: int = COUNT) -> None:
        self.threads, self.room, self.broken = set[int](), room, False

    def flat(self, dimension: int) -> "Watched":
        self.threads.add(threading.get_ident())
        return Watched(self, faiss.IndexFlatIP(dimension), self.room)

    def lists(self, dimension: int, sample: Vectors) -> "Watched":
        self.threads.add(threading.get_ident())
        return Watched(self, trained(dimension, sample), 4 * self.room)


class Watched:
    def __init__(self, device: InRam, index: faiss.Index, room: int) -> None:
        self.device, self.index, self.room, self.busy = device, index, room, threading.Lock()

    def add(self, vectors: Vectors) -> None:
        self.device.threads.add(threading.get_ident())
        if self.index.ntotal + len(vectors) > self.room:
            raise RuntimeError("out of memory")
        self.index.add(vectors)

    def search(self, vectors: Vectors, k: int) -> tuple[Vectors, Ids]:
        self.device.threads.add(threading.get_ident())
        assert self.busy.acquire(blocking=False)
        try:
            if self.device.broken:
                raise RuntimeError("device lost")
            found: tuple[Vectors, Ids] = self.index.search(vectors, k)
            return found
        finally:
            self.busy.release()


class Large:
    """An approximate index with its vectors at hand, chunk n at row n - 1."""

    def __init__(self) -> None:
        self.vectors = clustered(COUNT + 100, DIMENSION)
        self.chunks = np.arange(1, COUNT + 1)
        rows = Rows("", lambda _, places: self.vectors[places])
        rows.add(np.arange(1, COUNT + 101), np.arange(COUNT + 100))
        self.dense = Approximate(DIMENSION, "IVF64,RaBitQfs", self.vectors, rows, COUNT)
        self.dense.add(self.chunks, self.vectors[:COUNT])

    def pieces(self) -> Iterator[tuple[Ids, Vectors]]:
        for start in range(0, COUNT, 1000):
            yield self.chunks[start : start + 1000], self.vectors[start : start + 1000]

    def copy_to(self, copies: Copies) -> None:
        self.dense.copy = copies.make(DIMENSION, self.chunks, self.pieces)

    def nearest(self, vector: Vectors, gone: int = 0) -> list[int]:
        order = np.argsort(-(self.vectors[:COUNT] @ vector)) + 1
        return [int(n) for n in order if n != gone][:10]


@pytest.fixture
def large() -> Large:
    return Large()


@pytest.fixture
def copies(request: pytest.FixtureRequest) -> Iterator[Copies]:
    made = Copies(lambda: request.getfixturevalue("device"))
    yield made
    made.close()


@pytest.fixture
def device() -> InRam:
    return InRam()


def test_a_copy_finds_the_nearest_and_one_thread_alone_touches_it(large: Large, copies: Copies, device: InRam) -> None:
    large.copy_to(copies)
    questions = large.vectors[:64]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda q: list(large.dense.search(q, 10)), questions))
    assert found == [large.nearest(q) for q in questions]
    assert len(device.threads) == 1 and threading.get_ident() not in device.threads and not copies.failures


def test_what_came_and_went_since(large: Large, copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    large.copy_to(copies)
    new = large.vectors[COUNT]
    large.dense.add([COUNT + 1], new[None])
    assert next(iter(large.dense.search(new, 10))) == COUNT + 1
    large.dense.remove([COUNT + 1])
    assert COUNT + 1 not in large.dense.search(new, 10)
    old = large.vectors[7]
    large.dense.remove([8])
    assert list(large.dense.search(old, 10)) == large.nearest(old, gone=8)
    copy = large.dense.copy
    assert copy is not None
    stale = [copy.stale]
    monkeypatch.setattr(gpu, "FEW_CHANGES", 0)
    assert [*stale, copy.stale] == [False, True]
    monkeypatch.setattr(gpu, "MOST_CHANGES", 0)
    assert copy.candidates(old, 10) is None


def test_what_does_not_fit_is_kept_in_lists(large: Large, copies: Copies, device: InRam) -> None:
    device.room = 1500
    large.copy_to(copies)
    assert large.dense.copy is not None and len(large.dense.copy.chunks) == COUNT
    questions = large.vectors[:50]
    found = [set(large.dense.search(q, 10)) for q in questions]
    recall = [len(some & set(large.nearest(q))) / 10 for some, q in zip(found, questions, strict=True)]
    assert sum(recall) / len(recall) > 0.95


def test_a_gpu_that_fails_is_told_once_and_left_alone(
    large: Large, copies: Copies, device: InRam, caplog: pytest.LogCaptureFixture
) -> None:
    before = list(large.dense.search(large.vectors[3], 10))
    large.copy_to(copies)
    device.broken = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert list(large.dense.search(large.vectors[3], 10)) == before
    assert caplog.text.count("device lost") == 1 and copies.failures == 1
    device.broken = False
    large.copy_to(copies)
    assert large.dense.copy is None


def test_without_room_at_all_the_cpu_answers(large: Large, copies: Copies, device: InRam) -> None:
    device.room = 10
    large.copy_to(copies)
    assert large.dense.copy is None and copies.failures == 1
    assert large.dense.search(large.vectors[3], 10)


def test_a_store_goes_on_while_its_copy_is_made_and_made_again(
    open_memory: Open, copies: Copies, device: InRam, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = open_memory(tiers=TIERS)
    monkeypatch.setattr(memory._trainer, "_copies", copies)
    first, second = put(memory, 1), put(memory, 2)
    dense, read = train(memory), opened(memory).rows.read

    def meanwhile(chunks: Ids) -> tuple[Vectors, npt.NDArray[np.bool_]]:
        monkeypatch.undo()
        monkeypatch.setattr(memory._trainer, "_copies", copies)
        threading.Thread(target=memory.delete_file, args=(first,)).start()
        return read(chunks)

    monkeypatch.setattr(opened(memory).rows, "read", meanwhile)
    memory._trainer.copy(opened(memory))
    while memory.stats().chunks > 60:
        time.sleep(0.01)
    assert isinstance(dense, Approximate) and dense.copy is not None and memory.copied() == Copied(1, 0)
    put(memory, 3)
    assert not finds(memory, 1, 3) and finds(memory, 2, 3) and finds(memory, 3, 3) and device.threads
    made = dense.copy
    memory._trainer.copy(opened(memory))
    assert dense.copy is made
    monkeypatch.setattr(gpu, "FEW_CHANGES", 10)
    memory._trainer.copy(opened(memory))
    assert dense.copy is not made and sorted(dense.copy.chunks) == sorted(opened(memory).rows.chunks)
    assert finds(memory, 2, 3) and finds(memory, 3, 3)
    device.broken = True
    assert finds(memory, 2, 3) and memory.copied() == Copied(1, 1)
    memory._trainer.copy(opened(memory))
    assert finds(memory, 2, 3) and memory.copied() == Copied(0, 1)
    assert second in {document.id for document in memory.store_files("default").data}


@pytest.mark.skipif(not faiss.get_num_gpus(), reason="FAISS finds no GPU here")
def test_the_same_on_a_real_gpu(large: Large) -> None:
    copies = Copies(Gpu)
    large.copy_to(copies)
    questions = large.vectors[:64]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda q: list(large.dense.search(q, 10)), questions))
    assert found == [large.nearest(q) for q in questions] and not copies.failures
    copies.close()
