"""The vectors of each store, in a file that only grows (blocks.py): half of the truth beside the catalog.

The catalog says where a document's block is: a block is written and fsynced before the commit that names it, so what
no row names is nothing: the rest of an append that was cut off, or of a removal. Removing overwrites with zeros. A
flipped byte makes its block unreadable, never wrong; whoever reads makes the vectors again from the text.

Beside a store's file may lie its next one, with the vectors of another embedder (reembed.py). No row names its blocks
yet; what is erased there keeps its length, so that the others are found.

Written by one thread at a time (the catalog's writing lock), read by any.
"""

import logging
import mmap
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from index.blocks import (
    DTYPE,
    HEAD,
    HEADER,
    NOBODY,
    Block,
    Kept,
    blocks_of,
    dimension_of,
    header,
    is_header,
    line_of,
    pack,
    unpack,
    widened,
)
from index.disk import sync
from index.errors import FolderFault
from index.rows import Ids
from index.types import Vectors

NEXT = "next"
PIECE = 1 << 20  # bytes looked at or copied at once
ALIGNED = np.dtype(DTYPE).itemsize
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Map:
    """A file in memory, by its number and its size."""

    file: int
    size: int
    starting: npt.NDArray[np.void]


class VectorFiles:
    """The folder of vector files, by their names."""

    def __init__(self, folder: Path, dimension: int, embedder: str) -> None:
        self._folder, self._dimension = folder, dimension
        self._width = dimension * ALIGNED
        self._maps: dict[str, _Map] = {}
        self._none = np.empty(0, f"V{self._width}")
        self._header = header(dimension, embedder)
        folder.mkdir(parents=True, exist_ok=True)

    def append(self, name: str, document: int, chunks: Sequence[int], vectors: Vectors) -> Block:
        """On the disk when this returns."""
        with self.appending(name) as append:
            return append(document, chunks, vectors)

    @contextmanager
    def appending(self, name: str) -> Iterator[Callable[[int, Sequence[int], Vectors], Block]]:
        """A function that appends. What it has written is on the disk at the end, or else is gone."""
        with self._open(name) as file:
            start = at = os.lseek(file, 0, os.SEEK_END)

            def append(document: int, chunks: Sequence[int], vectors: Vectors) -> Block:
                nonlocal at
                if vectors.shape != (len(chunks), self._dimension):
                    raise ValueError(f"{len(chunks)} chunks, vectors {vectors.shape}, dimension {self._dimension}")
                data = pack(document, chunks, vectors)
                _write(file, data, at)
                at += len(data)
                return Block(at - len(data), len(data))

            try:
                yield append
                os.fsync(file)
            except BaseException:
                os.ftruncate(file, start)
                raise

    @contextmanager
    def reading(self, name: str) -> Iterator[Callable[[int, Block | None], Kept | None]]:
        """A function from a document and its block to what is kept there: None where that is lost or damaged."""
        if (self._folder / name).exists():
            with self._open(name) as file:
                yield lambda document, block: self._read(file, document, block)
        else:
            yield lambda document, block: None

    def rows(self, name: str, places: Ids) -> Vectors:
        """The vectors that begin at these places, unchecked; zeros where there is no file, not enough, or no place.

        By a map, in one call: hundreds of reads would let go of the interpreter's lock, and wait for it, as often.
        """
        starting = self._starting(name)
        there = (places >= HEADER) & (places // ALIGNED < len(starting))
        halves = np.zeros((len(places), self._dimension), DTYPE)
        halves.view(starting.dtype)[there, 0] = starting[places[there] // ALIGNED]
        return widened(halves)

    def _starting(self, name: str) -> npt.NDArray[np.void]:
        """A vector from each even byte of the file on, as far as it goes now: reading beyond would kill the process."""
        try:
            now = (self._folder / name).stat()
            known = self._maps.get(name)
            if known is None or known.file != now.st_ino or known.size < now.st_size:
                known = self._maps[name] = self._map(name)
        except FileNotFoundError:
            self._maps.pop(name, None)
            return self._none
        return known.starting[: max(0, (now.st_size - self._width) // ALIGNED + 1)]

    def _map(self, name: str) -> _Map:
        with (self._folder / name).open("rb") as file:
            told = os.fstat(file.fileno())
            count = (told.st_size - self._width) // ALIGNED + 1
            if count <= 0:
                return _Map(told.st_ino, told.st_size, self._none)
            mapped = mmap.mmap(file.fileno(), told.st_size, prot=mmap.PROT_READ)
        mapped.madvise(mmap.MADV_RANDOM)
        starting = np.ndarray((count,), self._none.dtype, mapped, strides=(ALIGNED,))
        return _Map(told.st_ino, told.st_size, starting)

    def erase(self, name: str, block: Block) -> None:
        with self._open(name) as file:
            _blank(file, block.at, min(block.end, os.fstat(file).st_size))
            os.fsync(file)

    def erase_next(self, name: str, documents: Collection[int]) -> None:
        """What the next file of the same store has of these documents. Where that cannot be told, all of it goes."""
        path = self._folder / next_name(name)
        if not path.exists():
            return
        if not is_header(_beginning(path)):
            path.unlink()
            return
        with path.open("r+b") as opened:
            file = opened.fileno()
            size = os.fstat(file).st_size
            for document, block in blocks_of(file):
                if document not in documents:
                    continue
                if block.end > size:  # who was killed writes no further
                    os.ftruncate(file, block.at)
                else:
                    _blank(file, block.at + HEAD.size, block.end)
                    _write(file, HEAD.pack(0, block.count(dimension_of(file)), NOBODY), block.at)
            os.fsync(file)

    def written(self, name: str) -> dict[int, Block]:
        """Where each document's vectors are, by what the file says itself: nothing where it is another embedder's.

        From the first damaged block on all of it is cut off.
        """
        found = dict[int, Block]()
        if not self.is_ours(name):
            self.drop(name)
            return found
        with self._open(name) as file:
            end = HEADER
            for document, block in blocks_of(file):
                if document != NOBODY:
                    if self._read(file, document, block) is None:
                        break
                    found[document] = block
                end = block.end
            os.ftruncate(file, end)
        return found

    def promote(self, name: str, target: str) -> None:
        """Let a file have another name too."""
        self.drop(target)
        os.link(self._folder / name, self._folder / target)
        sync(self._folder)

    def is_ours(self, name: str) -> bool:
        """Whether its vectors are of this embedder."""
        path = self._folder / name
        return path.exists() and _beginning(path) == self._header

    def drop(self, name: str) -> None:
        self._maps.pop(name, None)  # what is mapped keeps its room on the disk
        (self._folder / name).unlink(missing_ok=True)

    def keep_only(self, known: Collection[str]) -> None:
        """Drop the files of stores that are not; what is made beside those that are stays."""
        kept = {*known, *map(next_name, known)}
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink()

    def sweep(self, known: Mapping[str, Mapping[int, Block]]) -> None:
        """Erase what a crash left: blocks that no row names, and files. What was lost becomes zeros."""
        following = {next_name(name): name for name in known}
        for path in self._folder.iterdir():
            if path.name in following and not self.is_ours(path.name) and is_header(_beginning(path)):
                name = following[path.name]
                with path.open("rb") as beside:
                    held = {document for document, _ in blocks_of(beside.fileno())}
                self.erase_next(name, held - known[name].keys() - {NOBODY})
                continue
            if path.name not in known:
                path.unlink()
                continue
            with self._open(path.name) as file:
                end = HEADER
                for block in sorted(known[path.name].values(), key=lambda block: block.at):
                    _blank(file, end, block.at)
                    end = block.end
                os.ftruncate(file, end)
                os.fsync(file)

    def reserve(self, name: str, end: int) -> None:
        """Where the end of a file was lost, nothing new may come to lie where rows still name the old."""
        with self._open(name) as file:
            if os.fstat(file).st_size < end:
                os.ftruncate(file, end)

    def size(self, name: str) -> int:
        """Of its blocks, dead or alive, in bytes."""
        path = self._folder / name
        return path.stat().st_size - HEADER if path.exists() else 0

    def copy(self, name: str, blocks: Sequence[Block], target: str) -> list[Block]:
        """These blocks, without what is between them, in a new file; where each of them is there."""
        self.drop(target)
        copied, at = list[Block](), HEADER
        with self._open(name) as source, self._open(target) as file:
            for block in blocks:
                for start in range(0, block.length, PIECE):
                    piece = os.pread(source, min(PIECE, block.length - start), block.at + start)
                    _write(file, piece, at + start)
                copied.append(Block(at, block.length))
                at += block.length
            os.fsync(file)
        return copied

    @contextmanager
    def _open(self, name: str) -> Iterator[int]:
        """With a header that fits. Raises FolderFault where the vectors are another embedder's."""
        path = self._folder / name
        new = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            found = os.pread(file, HEADER, 0)
            if found != self._header:
                if is_header(found):
                    raise FolderFault(
                        f"the vectors in {path} were made by another embedder ({line_of(found)}): put the right "
                        "file there, or remove it, and they are made again from the texts"
                    )
                if found:
                    log.warning("the header of %s was damaged; it is written again", path)
                _write(file, self._header, 0)  # the blocks prove themselves
                os.fsync(file)
            if new:
                sync(self._folder)
            yield file
        finally:
            os.close(file)

    def _read(self, file: int, document: int, block: Block | None) -> Kept | None:
        if block is None:
            return None
        data = os.pread(file, block.length, block.at)
        return unpack(data, document, self._dimension) if len(data) == block.length else None


def next_name(name: str) -> str:
    """Of the file beside this one of the same store."""
    return f"{name.partition('-')[0]}-{NEXT}"


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER)


def _blank(file: int, start: int, end: int) -> None:
    """Zeros from `start` to `end`, written only where there are none."""
    for at in range(start, end, PIECE):
        piece = os.pread(file, min(PIECE, end - at), at)
        if any(piece):
            _write(file, bytes(len(piece)), at)


def _write(file: int, data: bytes, at: int) -> None:
    left = memoryview(data)
    while left:
        done = os.pwrite(file, left, at)
        left, at = left[done:], at + done
