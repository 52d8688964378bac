"""Files. Their parsed texts: texts.py."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, delete, insert, or_, select, true

from index.catalog import Transaction
from index.catalog.paging import Cut, cut
from index.catalog.schema import documents, files, stores
from index.errors import FileNotFound
from index.types import File, Page, Sight

COLUMNS = (
    files.c.n,
    files.c.id,
    files.c.filename,
    files.c.bytes,
    files.c.created_at,
    files.c.purpose,
    files.c.sha256,
    files.c.expires_at,
    files.c.owner,
)


def to_file(row: Row[*tuple[Any, ...]]) -> File:
    return File(row.id, row.filename, row.bytes, row.created_at, row.purpose, row.sha256, row.expires_at, row.owner)


def add(tx: Transaction, file: File) -> None:
    tx.execute(
        insert(files).values(
            id=file.id,
            filename=file.filename,
            bytes=file.bytes,
            created_at=file.created_at,
            expires_at=file.expires_at,
            purpose=file.purpose,
            sha256=file.sha256,
            owner=file.owner,
        )
    )


def seen(sight: Sight | None) -> ColumnElement[bool]:
    if sight is None:
        return true()
    ours = files.c.owner == sight.owner
    if sight.stores is None:
        return ours
    inside = select(documents.c.file).join(stores).where(stores.c.id.in_(sight.stores))
    return and_(ours, or_(files.c.n.in_(inside), files.c.id.in_(sight.files)))


def number(tx: Transaction, file_id: str, sight: Sight | None = None) -> int:
    found = tx.execute(select(files.c.n).where(files.c.id == file_id, seen(sight))).scalar_one_or_none()
    if found is None:
        raise FileNotFound(f"there is no file {file_id!r}; list the files to see their ids")
    return int(found)


def get(tx: Transaction, file_id: str, sight: Sight | None = None) -> File:
    return to_file(tx.execute(select(*COLUMNS).where(files.c.n == number(tx, file_id, sight))).one())


def page(tx: Transaction, limits: Cut, purpose: str | None, sight: Sight | None = None) -> Page[File]:
    wanted: Select[*tuple[Any, ...]] = select(*COLUMNS).where(seen(sight))
    if purpose is not None:
        wanted = wanted.where(files.c.purpose == purpose)
    rows, more = cut(tx, wanted, files.c.n, limits, lambda cursor: number(tx, cursor, sight))
    return Page([to_file(row) for row in rows], more)


def expired(tx: Transaction, now: int) -> Sequence[str]:
    return tx.execute(select(files.c.id).where(files.c.expires_at <= now)).scalars().all()


def remove(tx: Transaction, file_id: str) -> None:
    """The row, its text, its documents and their chunks."""
    tx.execute(delete(files).where(files.c.id == file_id))


def uses(tx: Transaction, sha256: str) -> bool:
    return tx.execute(select(files.c.n).where(files.c.sha256 == sha256).limit(1)).first() is not None


def hashes(tx: Transaction) -> set[str]:
    return set(tx.execute(select(files.c.sha256).distinct()).scalars())
