"""Copies of large stores on a GPU, for searches. The index in RAM stays the one that counts, and answers in need.

FAISS allows one thread at a time at a GPU: here one thread makes, searches and drops all copies. A copy is flat, of
float16, which is exact enough to find candidates; where that does not fit, lists of one byte a dimension. It is never
changed: what came since it was made is named beside what it finds, what went is left out, and when that is much, it is
made anew (tiers.py). A GPU that failed once is left alone until the next start.
"""

import logging
import weakref
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar

import faiss
import numpy as np

from index.rows import Ids, numbers
from index.types import Vectors

MOST_CHANGES = 5_000  # since a copy was made: more are dearer to score than the search itself
FEW_CHANGES = 500  # not worth another copy
LISTS, PER_LIST, PROBED = 4096, 40, 64
T = TypeVar("T")
Pieces = Callable[[], Iterator[tuple[Ids, Vectors]]]  # chunks and their vectors, all of them each time
log = logging.getLogger(__name__)


class Device(Protocol):
    """Makes FAISS's indexes where the copies are; asked by one thread alone. What it cannot do is a RuntimeError."""

    def flat(self, dimension: int) -> faiss.Index: ...

    def lists(self, dimension: int, sample: Vectors) -> faiss.Index: ...


class Gpu:
    """The first one."""

    def __init__(self) -> None:
        self._resources = faiss.StandardGpuResources()

    def flat(self, dimension: int) -> faiss.Index:
        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = True
        return faiss.GpuIndexFlatIP(self._resources, dimension, config)

    def lists(self, dimension: int, sample: Vectors) -> faiss.Index:
        return faiss.index_cpu_to_gpu(self._resources, 0, trained(dimension, sample))


def trained(dimension: int, sample: Vectors) -> faiss.Index:
    lists = max(1, min(LISTS, len(sample) // PER_LIST))
    made = faiss.index_factory(dimension, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    made.train(sample)
    faiss.extract_index_ivf(made).nprobe = min(lists, PROBED)
    return made


class Copies:
    """Those of one memory."""

    def __init__(self, device: Callable[[], Device]) -> None:
        self.failures = 0
        self._thread = ThreadPoolExecutor(1, "gpu")
        self._device = device
        self._made: Device | None = None

    def make(self, dimension: int, chunks: Ids, pieces: Pieces) -> "Copy | None":
        """Of so many chunks, handed over in pieces, twice if need be; None where the GPU failed, now or before."""
        for wanted in (self._flat, self._lists):
            if self.failures:
                return None
            index, held = list[faiss.Index](), [numbers([])]
            try:
                self.do(partial(wanted, index, dimension, len(chunks), pieces))
                for ids, vectors in pieces():
                    if len(ids):
                        self.do(partial(index[0].add, vectors))
                        held.append(ids)
            except RuntimeError as error:
                self.release(index)
                if wanted == self._lists:
                    self.failed(error)
            else:
                return Copy(self, index, np.concatenate(held))
        return None

    def release(self, index: list[faiss.Index]) -> None:
        """Freeing touches the GPU too."""
        with suppress(RuntimeError):  # closed
            self._thread.submit(index.clear)

    def do(self, work: Callable[[], T]) -> T:
        return self._thread.submit(work).result()

    def failed(self, error: RuntimeError) -> None:
        if not self.failures:
            log.warning("the GPU failed (%s); stores are searched by the CPU until the next start", error)
        self.failures += 1

    def close(self) -> None:
        self._thread.shutdown()

    def _flat(self, index: list[faiss.Index], dimension: int, _count: int, _pieces: Pieces) -> None:
        index.append(self._at().flat(dimension))

    def _lists(self, index: list[faiss.Index], dimension: int, count: int, pieces: Pieces) -> None:
        share = min(1.0, LISTS * PER_LIST / max(count, 1))
        drawn = [vectors[: max(1, round(len(vectors) * share))] for _, vectors in pieces() if len(vectors)]
        index.append(self._at().lists(dimension, np.concatenate(drawn)))

    def _at(self) -> Device:
        if self._made is None:
            self._made = self._device()
        return self._made


class Copy:
    """A store's vectors as they were. Changes are told to it by who holds the store's gate for writing."""

    def __init__(self, copies: Copies, index: list[faiss.Index], chunks: Ids) -> None:
        self.chunks = chunks
        weakref.finalize(self, copies.release, index).atexit = False
        self._copies, self._index = copies, index
        self._added, self._removed = set[int](), set[int]()

    @property
    def stale(self) -> bool:
        return len(self._added) + len(self._removed) > FEW_CHANGES

    def add(self, chunks: Collection[int]) -> None:
        self._added.update(map(int, chunks))

    def remove(self, chunks: Collection[int]) -> None:
        for chunk in map(int, chunks):
            if chunk in self._added:
                self._added.remove(chunk)
            else:
                self._removed.add(chunk)

    def candidates(self, vector: Vectors, count: int) -> Ids | None:
        """The chunks to be scored exactly; None where the index in RAM must be asked."""
        if self._copies.failures or len(self._added) + len(self._removed) > MOST_CHANGES:
            return None
        wanted = min(count + len(self._removed), len(self.chunks), 2048)  # no more at once on a GPU
        question = np.ascontiguousarray(vector[None], np.float32)
        try:
            _, found = self._copies.do(partial(self._index[0].search, question, wanted))
        except RuntimeError as error:
            self._copies.failed(error)
            return None
        ids = self.chunks[found[0][found[0] >= 0]]
        if self._removed:
            ids = ids[~np.isin(ids, numbers(self._removed))]
        return np.concatenate([ids[:count], numbers(self._added)])


def on_gpu() -> Copies | None:
    """None where FAISS finds no GPU."""
    return Copies(Gpu) if faiss.get_num_gpus() else None
