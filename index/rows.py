"""Where in its file the vector of each chunk is: 16 bytes a chunk in RAM, so that the vectors need not be there.

The system's page cache is the cache. What is read is not checked against its block's CRC-32, which would take the whole
block: a row that is no unit vector is told to be damaged. Not locked: see store.py.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt

from index.types import Vectors

NOWHERE = -1
ROUNDING = 0.01  # of a squared length; that of float16 is a tenth of it
SLACK = 8  # one eighth of room is kept for what comes

Ids = npt.NDArray[np.int64]
ReadRows = Callable[[str, Ids], Vectors]  # from a file and places in it to the vectors there; zeros where nothing is


def numbers(chunks: Collection[int]) -> Ids:
    if isinstance(chunks, np.ndarray):
        return chunks
    if isinstance(chunks, range):
        return np.arange(chunks.start, chunks.stop, chunks.step)
    return np.fromiter(chunks, np.int64, len(chunks))


def packed(chunks: Sequence[int]) -> Sequence[int]:
    """The same numbers; those of a document mostly follow each other, and then take next to no room."""
    whole = range(chunks[0], chunks[0] + len(chunks)) if chunks else range(0)
    return whole if all(a == b for a, b in zip(whole, chunks, strict=True)) else chunks


class Rows:
    """Chunks and the places of their vectors in a file, sorted by chunk."""

    def __init__(self, file: str, read: ReadRows) -> None:
        self.file, self._read_rows = file, read
        self._count = 0
        self._chunks, self._places = np.empty((2, 0), np.int64)

    def __len__(self) -> int:
        return self._count

    @property
    def chunks(self) -> Ids:
        """All of them, in a copy."""
        return self._chunks[: self._count].copy()

    def add(self, chunks: Ids, places: Ids) -> None:
        if not len(chunks):
            return
        before, self._count = self._count, self._count + len(chunks)
        if self._count > len(self._chunks):
            room = np.empty((2, self._count + self._count // SLACK), np.int64)
            room[0, :before], room[1, :before] = self._chunks[:before], self._places[:before]
            self._chunks, self._places = room
        self._chunks[before : self._count], self._places[before : self._count] = chunks, places
        start = max(before - 1, 0)  # numbers rise, so new ones mostly belong at the end
        if np.any(np.diff(self._chunks[start : self._count]) < 0):
            order = np.argsort(self._chunks[: self._count], kind="stable")
            self._chunks[: self._count] = self._chunks[order]
            self._places[: self._count] = self._places[order]

    def remove(self, chunks: Collection[int]) -> None:
        at = self._find(numbers(chunks))
        at = at[at >= 0]
        if len(at):
            start, end = int(at.min()), self._count - len(at)
            kept = np.ones(self._count - start, np.bool_)
            kept[at - start] = False
            for array in (self._chunks, self._places):
                array[start:end] = array[start : self._count][kept]
            self._count = end

    def relocate(self, file: str, chunks: Ids, places: Ids) -> None:
        """All of them are in another file, or elsewhere in this one."""
        self.file, self._count = file, 0
        self._chunks, self._places = np.empty((2, 0), np.int64)
        self.add(chunks, places)

    def read(self, chunks: Ids) -> tuple[Vectors, npt.NDArray[np.bool_]]:
        """The vectors of chunks, and which of them are whole; the others are lost, damaged, or nowhere."""
        at = self._find(chunks)
        places = np.where(at >= 0, self._places[at], NOWHERE) if self._count else at
        vectors = self._read_rows(self.file, places)
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.abs(np.einsum("nd,nd->n", vectors, vectors) - 1.0) < ROUNDING
        return vectors, whole

    def _find(self, chunks: Ids) -> Ids:
        """Their positions; NOWHERE for those that are unknown."""
        if not self._count:
            return np.full(len(chunks), NOWHERE)
        known, last = self._chunks[: self._count], self._count - 1
        at = np.clip(chunks - known[0], 0, last)  # where no number is missing, as in an only store; a third of the time
        if np.any(known[at] != chunks):
            at = np.minimum(np.searchsorted(known, chunks), last)
        return np.where(known[at] == chunks, at, NOWHERE)
