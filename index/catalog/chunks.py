"""Passages with their places and vectors: all that is needed to build the dense and the lexical index again."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import ColumnElement, insert, select

from index.catalog import Transaction
from index.catalog.schema import chunks, documents, files, stores
from index.catalog.stores import seen
from index.errors import ChunkNotFound
from index.types import Chunk, Scalar, Sight, Vectors

ROWS = 4096  # per fetch: 4,096 chunks with their vectors are about 10 MB


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
class Indexed:
    """Chunks of one document, in order."""

    document: int
    filename: str
    attributes: Mapping[str, Scalar]
    entries: Sequence[Entry]
    vectors: Vectors


def pack(vector: np.ndarray) -> bytes:
    return vector.astype("<f2").tobytes()


def add(tx: Transaction, document: int, drafts: Sequence[Draft], vectors: Vectors) -> None:
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
                    "vector": pack(vector),
                }
                for draft, vector in zip(drafts, vectors, strict=True)
            ],
        )


def copy(tx: Transaction, source: int, target: int) -> None:
    fields = (chunks.c[name] for name in ("text", "start", "end", "page", "headings", "vector"))
    taken = tx.execute(select(*fields).where(chunks.c.document == source).order_by(chunks.c.n)).mappings().all()
    if taken:
        tx.execute(insert(chunks), [{**row, "id": _new_id(), "document": target} for row in taken])


def of_document(tx: Transaction, document: int) -> list[Indexed]:
    return list(_indexed(tx, documents.c.n == document))


def of_store(tx: Transaction, store: int) -> Iterator[Indexed]:
    return _indexed(tx, documents.c.store == store)


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


def _indexed(tx: Transaction, condition: ColumnElement[bool]) -> Iterator[Indexed]:
    """Completed documents only; a large one comes in several parts."""
    rows = tx.execute(
        select(
            chunks.c.n,
            chunks.c.document,
            chunks.c.headings,
            chunks.c.text,
            chunks.c.vector,
            documents.c.attributes,
            files.c.filename,
        )
        .join(documents, chunks.c.document == documents.c.n)
        .join(files, documents.c.file == files.c.n)
        .where(condition, documents.c.status == "completed")
        .order_by(chunks.c.document, chunks.c.n)
        .execution_options(yield_per=ROWS)
    )
    for part in rows.partitions():
        start = 0
        for stop in range(1, len(part) + 1):
            if stop == len(part) or part[stop].document != part[start].document:
                first = part[start]
                yield Indexed(
                    document=first.document,
                    filename=first.filename,
                    attributes=first.attributes,
                    entries=[Entry(row.n, tuple(row.headings), row.text) for row in part[start:stop]],
                    vectors=np.stack([np.frombuffer(row.vector, "<f2") for row in part[start:stop]]).astype(np.float32),
                )
                start = stop
