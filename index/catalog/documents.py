"""Files in stores. A row in progress is a job: jobs.py."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Table, cast, delete, func, insert, select, update

from index.blocks import Block
from index.catalog import Transaction
from index.catalog.files import COLUMNS as FILE_COLUMNS
from index.catalog.files import number as file_number
from index.catalog.files import to_file
from index.catalog.paging import Cut, cut
from index.catalog.schema import chunks, documents, files, stores
from index.catalog.stores import keep_note, note, owner
from index.catalog.wide import Integer
from index.errors import FileNotFound, InvalidRequest
from index.types import Attachment, Chunking, Failure, File, FileStatus, Page, Reason, Scalar, Sight, Stats, StoreFile


@dataclass(frozen=True, slots=True)
class Place:
    """A document, by the numbers of the catalog."""

    document: int
    store: int
    file_n: int
    usage_bytes: int
    block: Block | None  # its vectors; None where it has none


@dataclass(frozen=True, slots=True)
class Searchable:
    """A completed document, as an open store needs it."""

    document: int
    filename: str
    attributes: Mapping[str, Scalar]
    block: Block | None


@dataclass(frozen=True, slots=True)
class Whole:
    """A completed document with its file, as a bundle has it. `number` and `file_n` are those of the catalog."""

    number: int
    file_n: int
    file: File
    attributes: Mapping[str, Scalar]
    chunking: Chunking
    left_out: Mapping[Reason, int] | None


@dataclass(frozen=True, slots=True)
class Change:
    """What an attach means for an open store: new attributes for a document, or its removal."""

    place: Place
    attributes: Mapping[str, Scalar] | None


REPLACES = "replaces/"  # and the new file's id: a note with the old ones', until the new one is completed
PLACE = (
    documents.c.n,
    documents.c.store,
    documents.c.file,
    documents.c.usage_bytes,
    documents.c.block_at,
    documents.c.block_bytes,
)


def attach(tx: Transaction, store: int, wanted: Attachment, batch: int | None, now: int) -> Change | None:
    """Queue a file, unless it is in the store already with the same chunking and did not fail.

    A file of another owner than the store's is not there.
    """
    file_n = file_number(tx, wanted.file_id, Sight(owner(tx, store)))
    for replaced_id in wanted.replaces:
        number(tx, store, replaced_id)
    if wanted.replaces:
        keep_note(tx, store, f"{REPLACES}{wanted.file_id}", json.dumps(list(wanted.replaces)))
    document = find(tx, store, wanted.file_id)
    if document is None:
        _add(tx, store, file_n, wanted, batch, now)
        return None
    known = get(tx, store, wanted.file_id)
    if known.status in ("failed", "cancelled") or wanted.chunking not in (None, known.chunking):
        removed = place(tx, document)
        remove(tx, document)
        kept = Attachment(wanted.file_id, wanted.attributes or known.attributes, wanted.chunking or known.chunking)
        _add(tx, store, file_n, kept, batch, now)
        return Change(removed, None)
    if wanted.replaces and known.status == "completed":
        raise InvalidRequest("cogcore.replaces", "the file is searchable already; delete what it is to replace")
    if batch is not None:
        tx.execute(update(documents).where(documents.c.n == document).values(batch=batch))
    if wanted.attributes is None:
        return None
    retag(tx, document, wanted.attributes)
    return Change(place(tx, document), wanted.attributes)


def replaced(tx: Transaction, store: int, new_id: str) -> list[Place]:
    """What a file that has become searchable takes the place of, removed."""
    key = f"{REPLACES}{new_id}"
    listed = json.loads(note(tx, store, key) or "[]")
    keep_note(tx, store, key, None)
    numbers = [find(tx, store, file_id) for file_id in listed if file_id != new_id]
    places = [place(tx, document) for document in numbers if document is not None]
    for one in places:
        remove(tx, one.document)
    return places


def find(tx: Transaction, store: int, file_id: str) -> int | None:
    return tx.execute(
        select(documents.c.n).join(files).where(documents.c.store == store, files.c.id == file_id)
    ).scalar_one_or_none()


def number(tx: Transaction, store: int, file_id: str) -> int:
    found = find(tx, store, file_id)
    if found is None:
        raise FileNotFound(f"the store has no file {file_id!r}; attach it first")
    return int(found)


def get(tx: Transaction, store: int, file_id: str) -> StoreFile:
    n = number(tx, store, file_id)
    return _to_store_file(tx.execute(_wanted().where(documents.c.n == n)).one())


def page(tx: Transaction, store: int, limits: Cut, status: FileStatus | None, batch: int | None) -> Page[StoreFile]:
    wanted = _wanted().where(documents.c.store == store)
    if status is not None:
        wanted = wanted.where(documents.c.status == status)
    if batch is not None:
        wanted = wanted.where(documents.c.batch == batch)
    rows, more = cut(tx, wanted, documents.c.n, limits, lambda cursor: number(tx, store, cursor))
    return Page([_to_store_file(row) for row in rows], more)


def retag(tx: Transaction, document: int, attributes: Mapping[str, Scalar]) -> None:
    tx.execute(update(documents).where(documents.c.n == document).values(attributes=dict(attributes)))
    count_change(tx, document)


def remove(tx: Transaction, document: int) -> None:
    """The row and its chunks; the file stays."""
    count_change(tx, document)
    tx.execute(delete(documents).where(documents.c.n == document))


def cancel_batch(tx: Transaction, batch: int) -> None:
    tx.execute(
        update(documents)
        .where(documents.c.batch == batch, documents.c.status == "in_progress")
        .values(status="cancelled")
    )


def place(tx: Transaction, document: int) -> Place:
    (found,) = _places(tx, documents.c.n == document)
    return found


def places_of_file(tx: Transaction, file_n: int) -> list[Place]:
    return _places(tx, documents.c.file == file_n)


def places_of_store(tx: Transaction, store: int) -> list[Place]:
    return _places(tx, documents.c.store == store)


def places(tx: Transaction, numbers: Collection[int]) -> list[Place]:
    """Of those of the documents that still are there."""
    return _places(tx, documents.c.n.in_(numbers))


def completed(tx: Transaction, store: int) -> set[int]:
    wanted = select(documents.c.n).where(documents.c.store == store, documents.c.status == "completed")
    return set(tx.execute(wanted).scalars())


def searchable(tx: Transaction, store: int) -> list[Searchable]:
    """The completed documents, in the order of their vectors in the file."""
    rows = tx.execute(
        select(documents.c.n, files.c.filename, documents.c.attributes, documents.c.block_at, documents.c.block_bytes)
        .join(files)
        .where(documents.c.store == store, documents.c.status == "completed")
        .order_by(documents.c.block_at)
    )
    return [Searchable(row.n, row.filename, row.attributes, _block(row)) for row in rows]


def whole(tx: Transaction, store: int) -> list[Whole]:
    """The completed documents, oldest first."""
    rows = tx.execute(
        select(
            documents.c.n.label("document"),
            documents.c.attributes,
            documents.c.max_tokens,
            documents.c.overlap,
            documents.c.left_out,
            *FILE_COLUMNS,
        )
        .join(files)
        .where(documents.c.store == store, documents.c.status == "completed")
        .order_by(documents.c.n)
    )
    return [
        Whole(row.document, row.n, to_file(row), row.attributes, Chunking(row.max_tokens, row.overlap), row.left_out)
        for row in rows
    ]


def add_whole(tx: Transaction, store: int, wanted: Whole, usage_bytes: int, now: int) -> int:
    """A document that is completed as it comes; its number. That in `wanted` was another catalog's."""
    values = _values(store, wanted.file_n, Attachment("", wanted.attributes, wanted.chunking), None, now)
    done = {"status": "completed", "usage_bytes": usage_bytes, "left_out": wanted.left_out}
    made: int = tx.execute(insert(documents).values(**values | done).returning(documents.c.n)).scalar_one()
    return made


def left_out(tx: Transaction, document: int) -> Mapping[Reason, int] | None:
    """What of a document is not searchable; None where nobody looked."""
    found: Mapping[Reason, int] | None = tx.execute(
        select(documents.c.left_out).where(documents.c.n == document)
    ).scalar_one()
    return found


def count_searchable(tx: Transaction, store: int) -> int:
    ours = select(func.count()).where(documents.c.store == store, documents.c.status == "completed")
    return tx.execute(ours).scalar_one()


def blocks(tx: Transaction) -> dict[int, list[tuple[int, Block]]]:
    """Of each store: its documents that have vectors, in the order of these."""
    found: dict[int, list[tuple[int, Block]]] = {}
    for row in tx.execute(
        select(documents.c.store, documents.c.n, documents.c.block_at, documents.c.block_bytes)
        .where(documents.c.block_at.is_not(None))
        .order_by(documents.c.block_at)
    ):
        found.setdefault(row.store, []).append((row.n, Block(row.block_at, row.block_bytes)))
    return found


def keep_block(tx: Transaction, document: int, block: Block) -> None:
    tx.execute(update(documents).where(documents.c.n == document).values(block_at=block.at, block_bytes=block.length))


def count(tx: Transaction) -> Stats:
    def number_of(table: Table) -> int:
        return tx.execute(select(func.count()).select_from(table)).scalar_one()

    size = tx.execute(select(func.coalesce(cast(func.sum(files.c.bytes), Integer), 0))).scalar_one()
    waiting = tx.execute(select(func.count()).where(documents.c.status == "in_progress")).scalar_one()
    return Stats(number_of(files), size, number_of(stores), number_of(chunks), waiting)


def _add(tx: Transaction, store: int, file_n: int, wanted: Attachment, batch: int | None, now: int) -> None:
    tx.execute(insert(documents).values(**_values(store, file_n, wanted, batch, now)))


def _values(store: int, file_n: int, wanted: Attachment, batch: int | None, now: int) -> dict[str, object]:
    chunking = wanted.chunking or Chunking()
    return {
        "store": store,
        "file": file_n,
        "batch": batch,
        "status": "in_progress",
        "attributes": dict(wanted.attributes or {}),
        "max_tokens": chunking.max_tokens,
        "overlap": chunking.overlap,
        "usage_bytes": 0,
        "attempts": 0,
        "created_at": now,
    }


def count_change(tx: Transaction, document: int) -> None:
    """Raise the version of the document's store, if the document can be found there."""
    searchable = select(documents.c.store).where(documents.c.n == document, documents.c.status == "completed")
    tx.execute(update(stores).where(stores.c.n.in_(searchable)).values(version=stores.c.version + 1))


def _places(tx: Transaction, condition: ColumnElement[bool]) -> list[Place]:
    return [to_place(row) for row in tx.execute(select(*PLACE).where(condition))]


def to_place(row: Row[*tuple[Any, ...]]) -> Place:
    return Place(row.n, row.store, row.file, row.usage_bytes, _block(row))


def _block(row: Row[*tuple[Any, ...]]) -> Block | None:
    return None if row.block_at is None else Block(row.block_at, row.block_bytes)


def _wanted() -> Select[*tuple[Any, ...]]:
    return (
        select(*documents.c, stores.c.id.label("store_id"), files.c.id, files.c.filename)
        .join(files, documents.c.file == files.c.n)
        .join(stores, documents.c.store == stores.c.n)
    )


def _to_store_file(row: Row[*tuple[Any, ...]]) -> StoreFile:
    return StoreFile(
        id=row.id,
        store_id=row.store_id,
        filename=row.filename,
        status=row.status,
        last_error=Failure(row.error_code, row.error_message) if row.error_code else None,
        attributes=row.attributes,
        chunking=Chunking(row.max_tokens, row.overlap),
        usage_bytes=row.usage_bytes,
        created_at=row.created_at,
        left_out=row.left_out,
    )
