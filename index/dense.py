"""The nearest vectors by inner product, by FAISS: exactly while they are few, by their codes when they are many.

An `Exact` keeps float32 values in RAM, 1.5 KB for 384 dimensions, and compares all: 100,000 take some 15 ms of one
thread. An `Approximate` keeps a short code of each, about 75 bytes with its number, in lists around trained centres; it
finds candidates by their codes and scores them again with their vectors, which it reads from the store's file. Few
chunks that a filter leaves are all scored so: that is exact again, and costs less than to look through the lists.

Vectors have length 1. Not locked: FAISS crashes when an add meets a search, see store.py; adding no rows kills it too.
"""

import ctypes
import math
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np
import numpy.typing as npt

from index.errors import FaissRefused
from index.gpu import Copy
from index.rows import Ids, Rows, numbers
from index.together import Together
from index.types import Vectors

VERSION = str(faiss.__version__)  # an index on the disk is this one's
AUTO, EXACT = "auto", "exact"
EXACT_UP_TO = 20_000
LISTS = ((200_000, 64), (1_500_000, 256), (6_000_000, 1024))  # for so many vectors, so many lists
MOST_LISTS = 4096
PROBES, PROBED = 104, 8  # lists that are looked through: so many, and one in so many where that is more
CANDIDATES = 250  # scored exactly, at least
CODED = 3, 4, 2  # dimensions that share four bits of a code: the first that divides all
REMAINDER = 5_000  # chunks that are all scored exactly when a filter leaves no more
GROWTH = 4  # trained again when there are so many times as many
TRAINED_ON, PER_LIST = 16_384, 40  # vectors at least; FAISS asks for 39 a list
ROUNDS = 10  # of k-means
ABREAST = 16  # questions compared at once: to 19 FAISS computes each score as it would alone


class Dense(Protocol):
    """Vectors under the numbers of their chunks."""

    def __len__(self) -> int: ...

    def add(self, chunks: Collection[int], vectors: Vectors) -> None: ...

    def remove(self, chunks: Collection[int]) -> None: ...

    def search(self, vector: Vectors, k: int, allowed: Collection[int] | None = None) -> dict[int, float]:
        """The k chunks nearest to one vector, best first, with their cosines; of the `allowed` only."""

    def search_each(self, vectors: Vectors, k: int, allowed: Collection[int] | None = None) -> list[dict[int, float]]:
        """The same for each of several."""


@dataclass(frozen=True, slots=True)
class Tiers:
    """Which index suits how many vectors. `faiss` is auto, exact, or a FAISS factory string for all large stores."""

    faiss: str = AUTO
    exact_up_to: int = EXACT_UP_TO
    gpu: bool = True  # where there is one

    def factory(self, count: int, dimension: int) -> str | None:
        """FAISS's name of the index for so many vectors; None for the exact one."""
        if self._exact(count):
            return None
        if self.faiss != AUTO:
            return self.faiss
        lists = next((lists for most, lists in LISTS if count < most), MOST_LISTS)
        return f"IVF{lists},PQ{dimension // next((n for n in CODED if dimension % n == 0), 1)}x4fs"

    def suits(self, dense: Dense, count: int) -> bool:
        """Whether an index may stay as it is for so many vectors. One that is at a border does not swing."""
        if isinstance(dense, Approximate):
            return self.exact_up_to < 2 * count and count < GROWTH * dense.built_for
        return self._exact(count)

    def _exact(self, count: int) -> bool:
        return self.faiss == EXACT or count <= self.exact_up_to

    def check(self, dimension: int) -> None:
        """Raises FaissRefused where the string is no index that can do what a store needs."""
        if self.faiss not in (AUTO, EXACT):
            _made(dimension, self.faiss)


def sample_size(factory: str) -> int:
    """How many vectors an index is trained on."""
    lists = re.search(r"IVF(\d+)", factory)
    return max(TRAINED_ON, PER_LIST * int(lists[1])) if lists else TRAINED_ON


class Exact:
    """Searches that meet share one pass over all vectors: they are read from RAM once, which takes most of the time."""

    def __init__(self, dimension: int) -> None:
        self._index = faiss.IndexIDMap(faiss.IndexFlatIP(dimension))
        self._of_all = Together(self._pass, ABREAST, max(1, (os.cpu_count() or 1) // 2))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, chunks: Collection[int], vectors: Vectors) -> None:
        _add(self._index, chunks, vectors)

    def remove(self, chunks: Collection[int]) -> None:
        _remove(self._index, chunks)

    def search(self, vector: Vectors, k: int, allowed: Collection[int] | None = None) -> dict[int, float]:
        return self.search_each(vector[None], k, allowed)[0]

    def search_each(self, vectors: Vectors, k: int, allowed: Collection[int] | None = None) -> list[dict[int, float]]:
        if allowed is None:
            return self._of_all((vectors, k))
        return self._nearest(vectors, k, numbers(allowed))

    def _pass(self, asked: Sequence[tuple[Vectors, int]]) -> list[list[dict[int, float]]]:
        most = max(k for _, k in asked)
        found = iter(self._nearest(np.concatenate([vectors for vectors, _ in asked]), most, None))
        return [[dict(islice(next(found).items(), k)) for _ in vectors] for vectors, k in asked]

    def _nearest(self, vectors: Vectors, k: int, allowed: Ids | None) -> list[dict[int, float]]:
        found = _search(self._index, faiss.SearchParameters(), vectors, k, allowed)
        return [dict(zip(ids.tolist(), scores.tolist(), strict=True)) for ids, scores in found]


class Approximate:
    """Made for about `built_for` vectors, trained on a sample of them. Raises FaissRefused where that cannot be."""

    copy: Copy | None = None  # on a GPU

    def __init__(self, dimension: int, factory: str, sample: Vectors, rows: Rows, built_for: int) -> None:
        self.built_for = built_for
        self.asked: Vectors | None = None  # the last question without a filter
        self._rows = rows
        self._index, self._lists = _made(dimension, factory)
        if not self._index.is_trained:
            faiss.omp_set_num_threads(1)  # of this thread; searches need the other cores
            try:
                self._index.train(np.ascontiguousarray(sample, np.float32))
            except RuntimeError as error:
                raise FaissRefused(
                    f"FAISS cannot train {factory} on {len(sample)} vectors: {_reason(error)}"
                ) from error

    @classmethod
    def read(cls, path: Path, rows: Rows, built_for: int) -> "Approximate":
        """What `serialized` gave, from a file that is whole: FAISS does not check."""
        read = cls.__new__(cls)
        read.built_for, read.asked, read._rows = built_for, None, rows
        read._index = faiss.read_index(str(path))
        ivf = faiss.try_extract_index_ivf(read._index)
        read._lists = 0 if ivf is None else int(ivf.nlist)
        return read

    def serialized(self) -> npt.NDArray[np.uint8]:
        return faiss.serialize_index(self._index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, chunks: Collection[int], vectors: Vectors) -> None:
        _add(self._index, chunks, vectors)
        if self.copy is not None:
            self.copy.add(chunks)

    def remove(self, chunks: Collection[int]) -> None:
        _remove(self._index, chunks)
        if self.copy is not None:
            self.copy.remove(chunks)

    def tighten(self) -> None:
        """Once it is filled: its lists grew by doubling, and are copied to where they fit, which saves a third."""
        self._index = faiss.deserialize_index(self.serialized())
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's: what was freed goes back to the system
        if trim is not None:
            trim(0)

    def search(self, vector: Vectors, k: int, allowed: Collection[int] | None = None) -> dict[int, float]:
        if allowed is None:
            self.asked = vector
            ids = self._nearest(vector, max(CANDIDATES, 2 * k))
        else:
            ids = numbers(allowed)
            if len(ids) > REMAINDER:
                ids, _ = self._candidates(vector, max(CANDIDATES, 2 * k), ids)
        ids, scores = self._scores(vector, ids)
        best = np.lexsort((ids, -scores))[:k]
        return dict(zip(ids[best].tolist(), scores[best].tolist(), strict=True))

    def search_each(self, vectors: Vectors, k: int, allowed: Collection[int] | None = None) -> list[dict[int, float]]:
        # One by one: they look through different lists, so there is nothing to share.
        only = None if allowed is None else numbers(allowed)
        return [self.search(vector, k, only) for vector in vectors]

    def _scores(self, vector: Vectors, ids: Ids) -> tuple[Ids, Vectors]:
        """By their vectors; where one cannot be read, by its code."""
        vectors, whole = self._rows.read(ids)
        if whole.all():
            return ids, vectors @ vector
        lost = ids[~whole]
        coded, estimates = self._candidates(vector, len(lost), lost)
        return np.concatenate([ids[whole], coded]), np.concatenate([vectors[whole] @ vector, estimates])

    def _nearest(self, vector: Vectors, count: int) -> Ids:
        found = None if self.copy is None else self.copy.candidates(vector, count)
        return self._candidates(vector, count, None)[0] if found is None else found

    def _candidates(self, vector: Vectors, count: int, allowed: Ids | None) -> tuple[Ids, Vectors]:
        if not self._lists:
            return _search(self._index, faiss.SearchParameters(), vector[None], count, allowed)[0]
        share = 1.0 if allowed is None else max(len(allowed), 1) / max(len(self), 1)
        probes = max(PROBES, self._lists // PROBED) / share  # what a filter leaves is spread over all lists
        options = faiss.SearchParametersIVF()
        options.nprobe = min(self._lists, math.ceil(probes))
        return _search(self._index, options, vector[None], count, allowed)[0]


def _made(dimension: int, factory: str) -> tuple[faiss.Index, int]:
    """An empty index that takes numbers, and how many lists it has: 0 where it is not made of lists."""
    if "IDMap" in factory:
        raise FaissRefused(f"{factory} is refused: leave IDMap out, the numbers of chunks are kept in any case")
    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise FaissRefused(f"FAISS makes no index for inner products of {factory!r}: {_reason(error)}") from error
    try:
        index.remove_ids(faiss.IDSelectorBatch(numbers([0])))
    except RuntimeError as error:
        raise FaissRefused(f"{factory} is refused: FAISS cannot remove vectors from such an index") from error
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is None:
        inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
        if isinstance(inner, faiss.IndexFastScan):
            raise FaissRefused(f"{factory} is refused: FAISS cannot filter in such an index; IVF64,{factory} can")
        return faiss.IndexIDMap(index), 0
    if not ivf.nlist:
        raise FaissRefused(f"{factory} is refused: it has no lists")
    ivf.cp.niter = ROUNDS
    return index, int(ivf.nlist)


def _reason(error: RuntimeError) -> str:
    """What FAISS says, without where in its sources it says so."""
    return str(error).rpartition("Error: ")[2].rpartition("\n")[2]


def _add(index: faiss.Index, chunks: Collection[int], vectors: Vectors) -> None:
    if len(chunks) != len(vectors) or (len(vectors) and vectors.shape[1] != index.d):
        raise ValueError(f"{len(chunks)} chunks, vectors {vectors.shape}, dimension {index.d}")
    if len(chunks):
        faiss.omp_set_num_threads(1)
        index.add_with_ids(np.ascontiguousarray(vectors, np.float32), numbers(chunks))


def _remove(index: faiss.Index, chunks: Collection[int]) -> None:
    if len(chunks):
        index.remove_ids(faiss.IDSelectorBatch(numbers(chunks)))


def _search(
    index: faiss.Index, options: faiss.SearchParameters, vectors: Vectors, k: int, allowed: Ids | None
) -> list[tuple[Ids, Vectors]]:
    """For each vector the k best numbers and their scores; fewer where there are not as many."""
    k = min(k, index.ntotal if allowed is None else min(len(allowed), index.ntotal))
    if not k:
        return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in vectors]
    selector = None if allowed is None else faiss.IDSelectorBatch(allowed)  # FAISS keeps only its address
    if selector is not None:
        options.sel = selector
    faiss.omp_set_num_threads(1)
    each = list[tuple[Ids, Vectors]]()
    for start in range(0, len(vectors), ABREAST):
        scores, found = index.search(vectors[start : start + ABREAST], k, params=options)
        each += [(ids[ids >= 0], best[ids >= 0]) for ids, best in zip(found, scores, strict=True)]
    return each
