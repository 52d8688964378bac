"""Keeps the dense index of each open store the one that suits its size, and looks how much it finds.

A new index is trained and filled aside while searches and ingest go on, then swapped in. How much an approximate index
finds is measured on questions that were asked: now and then one is asked again, of all vectors.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator

import numpy as np

from index.dense import Approximate, Tiers
from index.errors import FaissRefused
from index.gpu import Copies, on_gpu
from index.loading import Loader
from index.rank import DEPTH
from index.rows import Ids
from index.shelf import Shelf
from index.store import Store
from index.types import Copied, Recall, Vectors

NEAREST = 10
LAST = 100  # samples that the recall is told of
PIECE = 4096  # vectors compared at once; changes wait no longer
SHARE = 100  # one in so many seconds is spent on samples, at most
RETRY = 2  # times as many vectors as when FAISS could not train
log = logging.getLogger(__name__)


class Trainer:
    """Used by one thread; `recall` by any."""

    def __init__(self, shelf: Shelf, loader: Loader, tiers: Tiers, copies: Copies | None = None) -> None:
        self._shelf, self._loader, self._tiers = shelf, loader, tiers
        self._copies = copies or (on_gpu() if tiers.gpu else None)
        self._failed: dict[int, int] = {}
        self._samples, self._last = 0, deque[float](maxlen=LAST)
        self._rest_until = 0.0

    @property
    def recall(self) -> Recall:
        last = list(self._last)
        return Recall(self._samples, sum(last) / len(last) if last else None)

    def train(self, store: int, opened: Store, stop: threading.Event | None = None) -> None:
        """Where the store has outgrown its index, build the next one and swap it in."""
        count = len(opened)
        if self._tiers.suits(opened.dense, count) or count < RETRY * self._failed.get(store, 0):
            return
        began = time.monotonic()
        try:
            built = self._loader.dense(store, opened, stop)
        except FaissRefused as error:
            self._failed[store] = count
            log.warning("store %d keeps the index that it has: %s", store, error)
            return
        if built is not None and self._shelf.swap_vectors(store, opened, *built):
            kind = self._tiers.factory(count, opened.dimension) or "exact"
            log.info("store %d: %s for %d vectors, in %.1f s", store, kind, len(opened), time.monotonic() - began)

    @property
    def copied(self) -> Copied:
        all_dense = [opened.dense for opened in self._shelf.opened().values()]
        held = sum(isinstance(dense, Approximate) and dense.copy is not None for dense in all_dense)
        return Copied(held, self._copies.failures if self._copies else 0)

    def copy(self, opened: Store, stop: threading.Event | None = None) -> None:
        """Put an index that has its lists in RAM on the GPU too, if there is one, or again what has changed there."""
        dense = opened.dense
        if self._copies is None or not isinstance(dense, Approximate):
            return
        if dense.copy is not None and self._copies.failures:
            dense.copy = None
        if self._copies.failures or (dense.copy is not None and not dense.copy.stale):
            return
        with opened.gate.read():
            chunks = opened.rows.chunks

        def pieces() -> Iterator[tuple[Ids, Vectors]]:
            for start in range(0, len(chunks), PIECE):
                if stop is not None and stop.is_set():
                    return
                ids = chunks[start : start + PIECE]
                with opened.gate.read():
                    vectors, whole = opened.rows.read(ids)
                yield ids[whole], vectors[whole]

        made = self._copies.make(opened.dimension, chunks, pieces)
        if made is None or (stop is not None and stop.is_set()):
            return
        with opened.gate.write():
            now = opened.rows.chunks
            made.add(np.setdiff1d(now, made.chunks))
            made.remove(np.setdiff1d(made.chunks, now))
            dense.copy = made

    def close(self) -> None:
        if self._copies is not None:
            self._copies.close()

    def sample(self, opened: Store, stop: threading.Event | None = None) -> None:
        """Measure on the last question, unless the last measuring was long and short ago."""
        dense = opened.dense
        if not isinstance(dense, Approximate) or dense.asked is None or time.monotonic() < self._rest_until:
            return
        began = time.monotonic()
        vector, dense.asked = dense.asked, None
        found = recall(opened, vector, stop)
        self._rest_until = time.monotonic() + SHARE * (time.monotonic() - began)
        if found is not None:
            self._samples += 1
            self._last.append(found)


def recall(opened: Store, vector: Vectors, stop: threading.Event | None = None) -> float | None:
    """The share of the nearest chunks that the index finds; None where the store changed meanwhile."""
    with opened.gate.read():
        version, chunks = opened.version, opened.rows.chunks
    scores = np.empty(len(chunks), np.float32)
    for start in range(0, len(chunks), PIECE):
        if stop is not None and stop.is_set():
            return None
        with opened.gate.read():
            vectors, _ = opened.rows.read(chunks[start : start + PIECE])
        scores[start : start + PIECE] = vectors @ vector
    nearest = set(chunks[np.argsort(-scores)[:NEAREST]].tolist())
    with opened.gate.read():
        if opened.version != version or not nearest:
            return None
        found = list(opened.dense.search(vector, DEPTH))[:NEAREST]
    return len(nearest.intersection(found)) / len(nearest)
