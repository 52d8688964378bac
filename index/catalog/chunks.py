"""Passages with their places. With the vector files they are all that is needed to build the indexes again.

SQLite has no checksums: the end of a passage's id is one, of its text and place. What is read to be shown is held
against it, and where they differ, the text of its document has the words once more.
"""

import json
import logging
import secrets
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, func, insert, or_, select

from index.blocks import Block
from index.catalog import Transaction, texts
from index.catalog.schema import chunks, documents, files, stores
from index.catalog.stores import seen, version
from index.errors import ChunkNotFound, FolderFault
from index.types import Chunk, Extent, Scalar, Sight, Vectors

ROWS = 4096  # per fetch
FIELDS = ("text", "start", "end", "page", "headings")
CHECKED, SUM = 38, 8  # characters of an id that ends in a checksum, and of that; older ids are shorter
SHOWN = (  # made once: each search asks for it
    select(
        chunks.c.n,
        chunks.c.id.label("chunk_id"),
        chunks.c.text,
        chunks.c.start,
        chunks.c.end,
        chunks.c.page,
        chunks.c.headings,
        documents.c.attributes,
        chunks.c.document,
        files.c.id,
        files.c.filename,
    )
    .join(documents, chunks.c.document == documents.c.n)
    .join(files, documents.c.file == files.c.n)
    .where(chunks.c.n.in_(bindparam("numbers", expanding=True)))
)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """A passage on its way into the catalog."""

    text: str
    start: int
    end: int
    page: int | None
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A chunk as the indexes need it."""

    chunk: int
    headings: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Passages:
    """The chunks of one document, in order, as the catalog has them."""

    document: int
    filename: str
    attributes: Mapping[str, Scalar]
    entries: Sequence[Entry]

    @property
    def chunks(self) -> list[int]:
        return [entry.chunk for entry in self.entries]

    def indexed(self, vectors: Vectors, block: Block | None) -> "Indexed":
        return Indexed(self.document, self.filename, self.attributes, self.entries, vectors, block)


@dataclass(frozen=True, slots=True)
class Indexed:
    """Chunks of one document, in order, with their vectors."""

    document: int
    filename: str
    attributes: Mapping[str, Scalar]
    entries: Sequence[Entry]
    vectors: Vectors
    block: Block | None = None  # where these are in the file of their store


def add(tx: Transaction, document: int, drafts: Sequence[Draft]) -> None:
    if drafts:
        rows = [
            {
                "text": draft.text,
                "start": draft.start,
                "end": draft.end,
                "page": draft.page,
                "headings": list(draft.headings),
            }
            for draft in drafts
        ]
        _insert(tx, document, rows)


def copy(tx: Transaction, source: int, target: int) -> None:
    fields = (chunks.c[name] for name in FIELDS)
    taken = tx.execute(select(*fields).where(chunks.c.document == source).order_by(chunks.c.n)).mappings().all()
    if taken:
        _insert(tx, target, [dict(row) for row in taken])


def _insert(tx: Transaction, document: int, rows: Iterable[Mapping[str, Any]]) -> None:
    made = [{**row, "id": f"{_new_id()}{_checksum(*(row[name] for name in FIELDS))}"} for row in rows]
    tx.execute(insert(chunks), [{**row, "document": document} for row in made])


def drafts(tx: Transaction, numbers: Collection[int]) -> dict[int, list[Draft]]:
    """The passages of those of the documents that still are there, in order."""
    rows = tx.execute(select(chunks).where(chunks.c.document.in_(numbers)).order_by(chunks.c.document, chunks.c.n))
    return {
        document: [Draft(row.text, row.start, row.end, row.page, tuple(row.headings)) for row in group]
        for document, group in groupby(rows, key=attrgetter("document"))
    }


def numbers_of(tx: Transaction, document: int) -> list[int]:
    return list(tx.execute(select(chunks.c.n).where(chunks.c.document == document).order_by(chunks.c.n)).scalars())


def of_document(tx: Transaction, document: int) -> Passages | None:
    """None unless it is completed."""
    found = of_documents(tx, [document])
    return found[0] if found else None


def of_documents(tx: Transaction, numbers: Collection[int]) -> list[Passages]:
    """Of those of them that are completed."""
    return list(_passages(tx, documents.c.n.in_(numbers)))


def documents_after(tx: Transaction, store: int, chunk: int) -> list[int]:
    """The completed documents whose chunks have higher numbers, in order."""
    ours = select(chunks.c.document).join(documents).where(documents.c.store == store, chunks.c.n > chunk)
    ours = ours.where(documents.c.status == "completed").distinct().order_by(chunks.c.document)
    return list(tx.execute(ours).scalars())


def extent(tx: Transaction, store: int, until: int | None = None) -> Extent:
    """How far the chunks go that can be found in a store: all, or those up to `until`.

    Numbers are given out in the order of publication, and never twice: where the extent is the same again, all are.
    """
    ours = select(func.max(chunks.c.n), func.count()).select_from(chunks.join(documents))
    ours = ours.where(documents.c.store == store, documents.c.status == "completed")
    last, count = tx.execute(ours if until is None else ours.where(chunks.c.n <= until)).one()
    return Extent(last or 0, count, version(tx, store))


def is_whole(tx: Transaction, store: int, covers: Extent) -> bool:
    """Whether all that an extent told of can still be found. At the same version nothing is counted."""
    return covers.version == version(tx, store) or extent(tx, store, covers.last) == covers


def get(tx: Transaction, numbers: Sequence[int]) -> dict[int, Chunk]:
    """Those of the chunks that still are there. Raises FolderFault where one is damaged beyond mending."""
    rows = tx.execute(SHOWN, {"numbers": list(numbers)}).all()
    return {
        row.n: Chunk(
            id=row.chunk_id,
            file_id=row.id,
            filename=row.filename,
            text=row.text if _is_whole(row, row.text) else _mended(tx, row),
            start=row.start,
            end=row.end,
            page=row.page,
            headings=tuple(row.headings),
            attributes=row.attributes,
        )
        for row in rows
    }


def around(tx: Transaction, ids: Sequence[str], reach: int) -> dict[str, tuple[list[Chunk], list[Chunk]]]:
    """By the id of each chunk: those before it and those after it in its section, nearest first, `reach` at most.

    A section is what stands under the same headings of the same document. Its chunks have numbers that follow.
    """
    columns = chunks.c.n, chunks.c.document, chunks.c.headings
    asked = tx.execute(select(chunks.c.id, *columns).where(chunks.c.id.in_(ids))).all()
    near = or_(*(chunks.c.n.between(one.n - reach, one.n + reach) for one in asked))
    rows = {row.n: row for row in tx.execute(select(*columns).where(near))} if asked else {}

    def walk(start: int, step: int) -> list[int]:
        def same(n: int) -> bool:
            return n in rows and rows[n].document == rows[start].document and rows[n].headings == rows[start].headings

        return list(takewhile(same, (start + step * i for i in range(1, reach + 1))))

    walks = {one.id: (walk(one.n, -1), walk(one.n, 1)) for one in asked}
    found = get(tx, sorted({n for both in walks.values() for side in both for n in side}))
    return {key: ([found[n] for n in before], [found[n] for n in after]) for key, (before, after) in walks.items()}


def by_id(tx: Transaction, chunk_id: str, sight: Sight | None = None) -> Chunk:
    joined = chunks.join(documents, chunks.c.document == documents.c.n).join(stores, documents.c.store == stores.c.n)
    wanted = select(chunks.c.n).select_from(joined).where(chunks.c.id == chunk_id, seen(sight))
    found = tx.execute(wanted).scalar_one_or_none()
    if found is None:
        raise ChunkNotFound(f"there is no chunk {chunk_id!r}; its document may have been removed")
    return get(tx, [found])[found]


def _is_whole(row: Row[*tuple[Any, ...]], text: str) -> bool:
    told = row.chunk_id[-SUM:] if row.chunk_id and len(row.chunk_id) == CHECKED else None
    return told is None or told == _checksum(text, row.start, row.end, row.page, row.headings)


def _mended(tx: Transaction, row: Row[*tuple[Any, ...]]) -> str:
    """The text of a damaged passage, from that of its document."""
    text = texts.part(tx, row.document, row.start, row.end)
    if text is None or not _is_whole(row, text):
        raise FolderFault(
            f"the catalog is damaged: a passage of {row.filename!r} ({row.id}) is not what was written; delete it "
            "and upload it again, or restore the catalog from a backup"
        )
    log.warning("a passage of file %s is damaged in the catalog; its words come from the document's text", row.id)
    return text


def _checksum(text: str, start: int, end: int, page: int | None, headings: Sequence[str]) -> str:
    # What is damaged may be of any type.
    return f"{zlib.crc32(json.dumps([text, start, end, page, list(headings)], default=str).encode()):08x}"


def _new_id() -> str:
    """Whoever was not told it cannot guess it, nor tell from it how much there is."""
    return f"chunk_{secrets.token_hex(12)}"


def _passages(tx: Transaction, condition: ColumnElement[bool]) -> Iterator[Passages]:
    rows = tx.execute(
        select(
            chunks.c.n,
            chunks.c.document,
            chunks.c.headings,
            chunks.c.text,
            documents.c.attributes,
            files.c.filename,
        )
        .join(documents, chunks.c.document == documents.c.n)
        .join(files, documents.c.file == files.c.n)
        .where(condition, documents.c.status == "completed")
        .order_by(chunks.c.document, chunks.c.n)
        .execution_options(yield_per=ROWS)
    )
    for document, group in groupby(rows, key=attrgetter("document")):
        held = list(group)
        entries = [Entry(row.n, tuple(row.headings), str(row.text)) for row in held]  # damaged, it may be bytes
        yield Passages(document, held[0].filename, held[0].attributes, entries)
