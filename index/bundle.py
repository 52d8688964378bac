"""A store frozen into one file: a zip archive that anybody can open, nothing in it packed, every member checksummed.

    chunks.jsonl        the passages with their places, document after document
    vectors.f16         a row of little-endian float16 for each passage, in the same order
    documents.jsonl     a line for each document: its file, attributes, chunking, parsed text, how many passages it has
    originals/SHA-256   the bytes that were uploaded
    manifest.json       the store itself, the embedder's fingerprint, and each member's size and SHA-256

Members come one after the other in this order, so whoever writes or reads one holds a document in RAM, never a store.
Whoever opens one has it checked from end to end first: what is damaged, cut off, of a newer format, or holds anything
that is not in its manifest is refused with the member's name. Since nothing is packed, nothing can unpack to more than
was sent.
"""

import hashlib
import io
import json
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import IO, Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from index.errors import BundleRefused
from index.types import Reason, Scalar, Vectors

FORMAT = 1
MANIFEST, DOCUMENTS, CHUNKS, VECTORS = "manifest.json", "documents.jsonl", "chunks.jsonl", "vectors.f16"
ORIGINALS = "originals/"
MEMBER = re.compile(rf"{DOCUMENTS}|{CHUNKS}|{VECTORS}|{ORIGINALS}[0-9a-f]{{64}}")
DTYPE = "<f2"
PIECE = 1 << 20
MOST_MEMBERS = 500_000
LARGEST_MANIFEST = 1 << 27
LONGEST_LINE = 1 << 27  # a document's whole text is one
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that zip can tell: when a member was written says nothing
END, END_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q")  # of a zip archive: records with its counts
LOCATOR = struct.Struct("<4sLQL")
UNIT = 0.02  # how far a vector's squared length may be from 1, rounded to float16
Number = Annotated[int, Field(ge=0, lt=2**53)]
Record = TypeVar("Record", bound=BaseModel)


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Sizes(_Line):
    """How a document was split, in the embedder's tokens."""

    max_tokens: Number
    overlap: Number


class DocumentLine(_Line):
    """A completed document. `original` is the SHA-256 of its bytes."""

    filename: str
    original: str = Field(pattern="^[0-9a-f]{64}$")
    purpose: str
    expires_at: Number | None
    attributes: dict[str, Scalar | int]
    chunking: Sizes
    left_out: dict[Reason, Number] | None
    chunks: PositiveInt
    text: str | None  # None where it was not kept: it is in the original


class ChunkLine(_Line):
    """A passage: `text` is the document's text[start:end]."""

    text: str
    start: Number
    end: Number
    page: Number | None
    headings: list[str]


class StoreLine(_Line):
    name: str
    description: str
    metadata: dict[str, str]
    expires_after_days: Number | None
    version: Number
    notes: dict[str, str]  # what an application keeps with it, such as its calibration


class Made(_Line):
    """Which embedder made the vectors."""

    fingerprint: str
    dimension: PositiveInt


class Member(_Line):
    bytes: NonNegativeInt
    sha256: str


class Manifest(_Line):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_by_name=True, validate_by_alias=True)

    format: Literal[1] = Field(1, alias="cogcore bundle")
    created_at: int
    store: StoreLine
    embedder: Made
    documents: NonNegativeInt
    chunks: NonNegativeInt
    members: dict[str, Member]


class Writer:
    """Writes members, one after the other, and the manifest at last. A context: left open, it would write once more."""

    def __init__(self, into: IO[bytes]) -> None:
        self._archive = zipfile.ZipFile(into, "w", zipfile.ZIP_STORED)
        self.members: dict[str, Member] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    @contextmanager
    def member(self, name: str) -> Iterator["Sink"]:
        if len(self.members) >= MOST_MEMBERS:
            raise BundleRefused(f"a bundle holds up to {MOST_MEMBERS} members; export a part of the store at a time")
        with self._archive.open(zipfile.ZipInfo(name, EPOCH), "w", force_zip64=True) as file:
            sink = Sink(file)
            yield sink
        self.members[name] = Member(bytes=sink.size, sha256=sink.hash.hexdigest())

    def seal(self, manifest: Manifest) -> None:
        self._archive.writestr(zipfile.ZipInfo(MANIFEST, EPOCH), manifest.model_dump_json(by_alias=True, indent=1))


class Sink:
    """An open member. `size` and `hash` are of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.size, self.hash = file, 0, hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.size += len(data)
        self.hash.update(data)

    def line(self, record: _Line) -> None:
        self.write(record.model_dump_json().encode() + b"\n")


class Bundle:
    """An opened bundle whose every byte was checked. Raises BundleRefused."""

    def __init__(self, file: IO[bytes]) -> None:
        with _told():
            _count(file)
            self._archive = zipfile.ZipFile(file)
            infos = self._archive.infolist()
            _check_container(infos)
            self.manifest = self._manifest()
            _check_members([info.filename for info in infos if info.filename != MANIFEST], self.manifest.members)
            for name, member in self.manifest.members.items():
                self._verify(name, member)
        width = self.manifest.chunks * self.manifest.embedder.dimension * np.dtype(DTYPE).itemsize
        if self.manifest.members[VECTORS].bytes != width:
            raise BundleRefused(f"{VECTORS} of the bundle has not one row for each of its passages")

    def documents(self) -> Iterator[tuple[DocumentLine, list[ChunkLine], Vectors]]:
        """One after the other, each with its passages and their vectors."""
        dimension = self.manifest.embedder.dimension
        row, left = np.dtype(DTYPE).itemsize * dimension, self.manifest.chunks
        count = 0
        with _told(), self._open(DOCUMENTS) as lines, self._open(CHUNKS) as passages, self._open(VECTORS) as vectors:
            all_chunks = _lines(passages, CHUNKS, ChunkLine)
            for document in _lines(lines, DOCUMENTS, DocumentLine):
                count += 1
                if document.chunks > left:
                    raise BundleRefused(f"{DOCUMENTS} of the bundle tells of more passages than {CHUNKS} has")
                if f"{ORIGINALS}{document.original}" not in self.manifest.members:
                    raise BundleRefused(f"the bundle lacks {ORIGINALS}{document.original}, which {DOCUMENTS} names")
                left -= document.chunks
                held = list(islice(all_chunks, document.chunks))
                if len(held) < document.chunks:
                    raise BundleRefused(f"{CHUNKS} of the bundle ends too early")
                rows = np.frombuffer(vectors.read(row * document.chunks), DTYPE).reshape(-1, dimension)
                yield document, held, _unit(rows.astype(np.float32))
            if left or count != self.manifest.documents or next(all_chunks, None) is not None:
                raise BundleRefused(f"{DOCUMENTS} of the bundle does not tell of all that its {MANIFEST} counts")

    def originals(self) -> Iterator[str]:
        """Their SHA-256."""
        for name in self.manifest.members:
            if name.startswith(ORIGINALS):
                yield name.removeprefix(ORIGINALS)

    def original(self, sha256: str) -> IO[bytes]:
        return self._open(f"{ORIGINALS}{sha256}")

    def original_size(self, sha256: str) -> int:
        return self.manifest.members[f"{ORIGINALS}{sha256}"].bytes

    def _open(self, name: str) -> IO[bytes]:
        return self._archive.open(name)

    def _manifest(self) -> Manifest:
        try:
            info = self._archive.getinfo(MANIFEST)
        except KeyError:
            raise BundleRefused(f"this is no bundle: it has no {MANIFEST}; `cogcore export` makes them") from None
        if info.file_size > LARGEST_MANIFEST:
            raise BundleRefused(f"the bundle's {MANIFEST} is larger than {LARGEST_MANIFEST >> 20} MiB")
        data = self._archive.read(MANIFEST)
        try:
            found = json.loads(data)["cogcore bundle"]
        except (ValueError, LookupError, TypeError):
            raise BundleRefused(f"the bundle's {MANIFEST} is damaged, or another program's") from None
        if isinstance(found, int) and found > FORMAT:
            raise BundleRefused(
                f"the bundle has format {found}, and this server knows up to {FORMAT}: upgrade the server"
            )
        return _parsed(data, MANIFEST, Manifest)

    def _verify(self, name: str, member: Member) -> None:
        size, found = 0, hashlib.sha256()
        with _told(name), self._open(name) as file:
            while piece := file.read(PIECE):
                size += len(piece)
                found.update(piece)
        digest = found.hexdigest()
        if (size, digest) != (member.bytes, member.sha256):
            raise BundleRefused(f"{name} of the bundle is damaged: it is not what the {MANIFEST} says; export it again")
        if name.startswith(ORIGINALS) and digest != name.removeprefix(ORIGINALS):
            raise BundleRefused(f"{name} of the bundle is named after other bytes")


@contextmanager
def _told(name: str = "") -> Iterator[None]:
    """What zipfile says of a damaged archive, as our refusal."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OSError,
        struct.error,
    ) as fault:
        what = f"{name} of the bundle" if name else "the bundle"
        raise BundleRefused(f"{what} is damaged or cut off ({fault}); export it again") from fault


def _count(file: IO[bytes]) -> None:
    """Refuse an archive by the counts at its end, before all its members are told to somebody who keeps them in RAM."""
    size = file.seek(0, io.SEEK_END)
    if size < END.size:
        raise BundleRefused("the bundle is cut off: it has no end")
    file.seek(size - END.size)
    signature, _, _, _, members, directory, _, comment = END.unpack(file.read(END.size))
    if signature != b"PK\x05\x06" or comment:
        raise BundleRefused("the bundle is cut off, or no bundle: it does not end as a zip archive does")
    if (members == 0xFFFF or directory == 0xFFFFFFFF) and size > END.size + LOCATOR.size:
        file.seek(size - END.size - LOCATOR.size)
        file.seek(min(LOCATOR.unpack(file.read(LOCATOR.size))[2], size))
        found = END_64.unpack(file.read(END_64.size))
        members, directory = found[7], found[8]
    if members > MOST_MEMBERS or directory > MOST_MEMBERS * 256:
        raise BundleRefused(f"the bundle has {members} members; {MOST_MEMBERS} are the most")
    file.seek(0)


def _check_container(infos: Iterable[zipfile.ZipInfo]) -> None:
    seen, end = set[str](), 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        name = info.filename
        if name != MANIFEST and not MEMBER.fullmatch(name):
            raise BundleRefused(f"the bundle holds {name!r:.100}, which no bundle has")
        if name in seen:
            raise BundleRefused(f"the bundle holds {name} twice")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise BundleRefused(f"{name} of the bundle is packed or encrypted; nothing in a bundle is")
        if info.header_offset < end:
            raise BundleRefused(f"{name} of the bundle lies over another member")
        seen.add(name)
        end = info.header_offset + info.file_size


def _check_members(found: Iterable[str], told: Mapping[str, Member]) -> None:
    known = set(found)
    for name in (DOCUMENTS, CHUNKS, VECTORS, *told):
        if name not in known:
            raise BundleRefused(f"the bundle lacks {name}; export it again")
    for name in sorted(known - told.keys()):
        raise BundleRefused(f"the bundle holds {name}, of which its {MANIFEST} does not tell")


def _lines(file: IO[bytes], name: str, kind: type[Record]) -> Iterator[Record]:
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if not line.endswith(b"\n"):
            raise BundleRefused(f"line {number} of the bundle's {name} is cut off or too long")
        yield _parsed(line, f"{name}, line {number}", kind)


def _parsed(data: bytes, where: str, kind: type[Record]) -> Record:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first: Mapping[str, Any] = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise BundleRefused(f"the bundle's {where}: {place}: {first['msg']}") from error


def _unit(vectors: Vectors) -> Vectors:
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.abs(np.einsum("nd,nd->n", vectors, vectors) - 1.0) < UNIT
    if not whole.all():
        raise BundleRefused(f"{VECTORS} of the bundle holds a row that is no unit vector")
    return vectors
