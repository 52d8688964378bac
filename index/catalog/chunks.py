"""Passages with their places. With the vector files they are all that is needed to build the indexes again."""

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from sqlalchemy import ColumnElement, func, insert, select

from index.catalog import Transaction
from index.catalog.schema import chunks, documents, files, stores
from index.catalog.stores import seen
from index.errors import ChunkNotFound
from index.types import Chunk, Extent, Scalar, Sight, Vectors
from index.vectors import Block

ROWS = 4096  # per fetch


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
        tx.execute(
            insert(chunks),
            [
                {
                    "id": _new_id(),
                    "document": document,
                    "text": draft.text,
                    "start": draft.start,
                    "end": draft.end,
                    "page": draft.page,
                    "headings": list(draft.headings),
                }
                for draft in drafts
            ],
        )


def copy(tx: Transaction, source: int, target: int) -> None:
    fields = (chunks.c[name] for name in ("text", "start", "end", "page", "headings"))
    taken = tx.execute(select(*fields).where(chunks.c.document == source).order_by(chunks.c.n)).mappings().all()
    if taken:
        tx.execute(insert(chunks), [{**row, "id": _new_id(), "document": target} for row in taken])


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
    return Extent(last or 0, count)


def get(tx: Transaction, numbers: Sequence[int]) -> dict[int, Chunk]:
    """Those of the chunks that still are there."""
    rows = tx.execute(
        select(
            chunks.c.n,
            chunks.c.id.label("chunk_id"),
            chunks.c.text,
            chunks.c.start,
            chunks.c.end,
            chunks.c.page,
            chunks.c.headings,
            documents.c.attributes,
            files.c.id,
            files.c.filename,
        )
        .join(documents, chunks.c.document == documents.c.n)
        .join(files, documents.c.file == files.c.n)
        .where(chunks.c.n.in_(numbers))
    ).all()
    return {
        row.n: Chunk(
            id=row.chunk_id,
            file_id=row.id,
            filename=row.filename,
            text=row.text,
            start=row.start,
            end=row.end,
            page=row.page,
            headings=tuple(row.headings),
            attributes=row.attributes,
        )
        for row in rows
    }


def by_id(tx: Transaction, chunk_id: str, sight: Sight | None = None) -> Chunk:
    joined = chunks.join(documents, chunks.c.document == documents.c.n).join(stores, documents.c.store == stores.c.n)
    wanted = select(chunks.c.n).select_from(joined).where(chunks.c.id == chunk_id, seen(sight))
    found = tx.execute(wanted).scalar_one_or_none()
    if found is None:
        raise ChunkNotFound(f"there is no chunk {chunk_id!r}; its document may have been removed")
    return get(tx, [found])[found]


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
        entries = [Entry(row.n, tuple(row.headings), row.text) for row in held]
        yield Passages(document, held[0].filename, held[0].attributes, entries)
