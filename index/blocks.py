"""A file of vectors, as bytes: a header and blocks, all little-endian.

The header is a line of JSON (dimension, dtype, the embedder's fingerprint) with its CRC-32, filled up to 4 KB. A block
is one document: CRC-32 of what follows, number of chunks, document, the chunks' numbers (int64), their vectors
(float16), zeros up to a multiple of 8.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.rows import Ids
from index.types import Vectors

HEADER = 4096
HEAD = struct.Struct("<IIq")
FORMAT, DTYPE = 1, "<f2"
NOBODY = 0  # no document has this number


@dataclass(frozen=True, slots=True)
class Block:
    """Where a document's vectors are in their file, in bytes."""

    at: int
    length: int

    @property
    def end(self) -> int:
        return self.at + self.length

    def count(self, dimension: int) -> int:
        """Of its vectors."""
        return (self.length - HEAD.size) // (8 + np.dtype(DTYPE).itemsize * dimension)

    def rows(self, dimension: int) -> Ids:
        """Where in the file each of its vectors begins."""
        count = self.count(dimension)
        return self.at + HEAD.size + 8 * count + np.arange(count) * np.dtype(DTYPE).itemsize * dimension


def spread(at: Ids, counts: Ids, dimension: int) -> Ids:
    """Where each vector begins of blocks that begin at these places and hold so many, as `Block.rows` tells of one."""
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(at + HEAD.size + 8 * counts, counts) + within * np.dtype(DTYPE).itemsize * dimension


@dataclass(frozen=True, slots=True)
class Kept:
    """What a block holds: the chunks of one document, in order, and their vectors."""

    chunks: Ids
    vectors: Vectors


def rounded(vectors: Vectors) -> Vectors:
    """As they come back from the file."""
    return vectors.astype(DTYPE).astype(np.float32)


def widened(halves: npt.NDArray[np.float16]) -> Vectors:
    """Finite float16 in float32, by their bits: a third of the time of `astype`. Others become 65,536 and more."""
    bits = halves.view(np.uint16).astype(np.uint32)
    signs = bits & 0x8000
    signs <<= 16
    bits &= 0x7FFF
    bits <<= 13
    bits |= signs
    values: Vectors = bits.view(np.float32)
    values *= np.float32(2.0**112)  # between the exponents' biases, 15 and 127
    return values


def header(dimension: int, embedder: str) -> bytes:
    line = json.dumps({"cogcore vectors": FORMAT, "dimension": dimension, "dtype": DTYPE, "embedder": embedder})
    filled = line.encode().ljust(HEADER - 9)
    if len(filled) != HEADER - 9:
        raise ValueError(f"the embedder's fingerprint has {len(embedder)} characters, too many for a header")
    return b"%s%08x\n" % (filled, zlib.crc32(filled))


def is_header(found: bytes) -> bool:
    return len(found) == HEADER and found[HEADER - 9 :] == b"%08x\n" % zlib.crc32(found[: HEADER - 9])


def dimension_of(file: int) -> int:
    """As its header tells, which is whole."""
    return int(json.loads(line_of(os.pread(file, HEADER, 0)))["dimension"])


def blocks_of(file: int) -> Iterator[tuple[int, Block]]:
    """Where blocks begin, by what they say of themselves. Unchecked; the last may not be all there."""
    at, size, dimension = HEADER, os.fstat(file).st_size, dimension_of(file)
    while at + HEAD.size <= size:
        _, count, document = HEAD.unpack(os.pread(file, HEAD.size, at))
        if not count:
            return
        block = Block(at, _length(count, dimension))
        yield document, block
        at = block.end


def _length(count: int, dimension: int) -> int:
    return -(-(HEAD.size + count * (8 + np.dtype(DTYPE).itemsize * dimension)) // 8) * 8


def line_of(header: bytes) -> str:
    return header[: HEADER - 9].decode().strip()


def pack(document: int, chunks: Sequence[int], vectors: Vectors) -> bytes:
    numbers = np.asarray(chunks, "<i8").tobytes()
    data = HEAD.pack(0, len(chunks), document) + numbers + vectors.astype(DTYPE).tobytes()
    data = data.ljust(_length(len(chunks), vectors.shape[1]), b"\0")
    return struct.pack("<I", zlib.crc32(data[4:])) + data[4:]


def unpack(data: bytes, document: int, dimension: int) -> Kept | None:
    """None where the data is not this document's block, or damaged."""
    if len(data) < HEAD.size:
        return None
    checksum, count, found = HEAD.unpack_from(data)
    if zlib.crc32(data[4:]) != checksum or found != document:
        return None
    chunks = np.frombuffer(data, "<i8", count, HEAD.size)
    vectors = np.frombuffer(data, DTYPE, count * dimension, HEAD.size + chunks.nbytes)
    return Kept(chunks, vectors.reshape(count, dimension).astype(np.float32))
