"""The trained dense index of a large store on the disk, with the numbers of its documents and chunks.

Where the vectors lie is the catalog's to say, so compaction does not make a snapshot stale. Vectors are not read at a
start that has one: their checksums are then looked at in the background (keeper.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.blocks import spread
from index.catalog.documents import Searchable
from index.dense import VERSION, Approximate, Tiers
from index.rows import Ids, Rows
from index.snapshot import Part
from index.store import Store
from index.types import Embedder, Extent

INDEX, NUMBERS = "index.faiss", "numbers.npz"


def part(embedder: Embedder, tiers: Tiers) -> Part:
    """FAISS's version, since it is its format; the rest decides what the codes are."""
    return Part(".codes", f"2, faiss {VERSION}, {tiers.faiss}, {embedder.fingerprint}")


@dataclass(frozen=True, slots=True)
class Codes:
    """An index and what is in it: `counts` chunks of each of the `documents`, one after the other."""

    dense: Approximate
    documents: Ids
    counts: Ids
    chunks: Ids

    def places(self, listed: Mapping[int, Searchable], dimension: int) -> Ids | None:
        """Where the vectors of all chunks are; None where the catalog's documents are not these."""
        blocks = [one.block if (one := listed.get(n)) else None for n in self.documents.tolist()]
        known = [block for block in blocks if block is not None]
        counts = np.array([block.count(dimension) for block in known], np.int64)
        if not np.array_equal(counts, self.counts):
            return None
        return spread(np.array([block.at for block in known], np.int64), counts, dimension)

    def held(self, listed: Mapping[int, Searchable]) -> Iterator[tuple[Searchable, Sequence[int]]]:
        """Its documents with their chunks; those in unbroken order take next to no room."""
        ends = np.cumsum(self.counts)
        starts = ends - self.counts
        steps = np.concatenate([[0], np.cumsum(np.diff(self.chunks) == 1)])
        unbroken = steps[ends - 1] - steps[starts] == self.counts - 1
        firsts = self.chunks[starts]
        for document, first, count, whole, start in zip(
            self.documents.tolist(),
            firsts.tolist(),
            self.counts.tolist(),
            unbroken.tolist(),
            starts.tolist(),
            strict=True,
        ):
            chunks = range(first, first + count) if whole else self.chunks[start : start + count].tolist()
            yield listed[document], chunks


def write(folder: Path, store: Store) -> Extent | None:
    """The index of an open store as it is now; None where it has none to write."""
    with store.gate.read():
        if not isinstance(store.dense, Approximate):
            return None
        version, built_for, held = store.version, store.dense.built_for, store.held()
        data = store.dense.serialized()
    data.tofile(folder / INDEX)
    documents = np.fromiter(held, np.int64, len(held))
    counts = np.fromiter(map(len, held.values()), np.int64, len(held))
    chunks = np.fromiter((chunk for one in held.values() for chunk in one), np.int64, int(counts.sum()))
    np.savez(folder / NUMBERS, documents=documents, counts=counts, chunks=chunks, built_for=built_for)
    return Extent(int(chunks.max(initial=0)), len(chunks), version)


def read(folder: Path, rows: Rows) -> Codes:
    """What was written, whose bytes the snapshot's seal has proven."""
    with np.load(folder / NUMBERS, allow_pickle=False) as kept:
        dense = Approximate.read(folder / INDEX, rows, int(kept["built_for"]))
        return Codes(dense, kept["documents"], kept["counts"], kept["chunks"])
