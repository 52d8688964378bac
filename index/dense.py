"""Exact inner-product search over unit vectors, by FAISS.

384 float32 values per chunk stay in RAM: 1.5 KB each. One thread scans 100,000 chunks in some 15 ms, so exact is the
right answer up to a few hundred thousand. Not locked: FAISS crashes when an add meets a search, see store.py.
"""

from collections.abc import Collection

import faiss
import numpy as np
import numpy.typing as npt

from index.types import Vectors

Ids = npt.NDArray[np.int64]


class Dense:
    """Vectors under the numbers of their chunks."""

    def __init__(self, dimension: int) -> None:
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, chunks: Collection[int], vectors: Vectors) -> None:
        if len(chunks) != len(vectors) or (len(vectors) and vectors.shape[1] != self._index.d):
            raise ValueError(f"{len(chunks)} chunks, vectors {vectors.shape}, dimension {self._index.d}")
        if len(chunks):
            self._index.add_with_ids(np.ascontiguousarray(vectors, np.float32), _ids(chunks))

    def remove(self, chunks: Collection[int]) -> None:
        if len(chunks):
            self._index.remove_ids(faiss.IDSelectorBatch(_ids(chunks)))

    def search(self, vector: Vectors, k: int, allowed: Collection[int] | None = None) -> dict[int, float]:
        """The k chunks nearest to one vector, best first, with their cosines; of the `allowed` only."""
        count = len(self) if allowed is None else len(allowed)
        if count == 0 or len(self) == 0:
            return {}
        # The selector must outlive the call: FAISS keeps only its address.
        selector = None if allowed is None else faiss.IDSelectorBatch(_ids(allowed))
        options = None
        if selector is not None:
            options = faiss.SearchParameters()
            options.sel = selector
        scores, found = self._index.search(vector[None], min(k, count), params=options)
        return {int(n): float(s) for n, s in zip(found[0], scores[0], strict=True) if n >= 0}


def _ids(chunks: Collection[int]) -> Ids:
    return np.fromiter(chunks, np.int64, len(chunks))
