"""Stores and batches, with the counts of their documents."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    String,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    true,
    union_all,
    update,
)

from index.catalog import Transaction
from index.catalog.paging import Cut, cut
from index.catalog.schema import aliases, batches, documents, notes, stores
from index.catalog.wide import Integer
from index.errors import AmbiguousName, InvalidRequest, StoreNotFound
from index.types import Batch, FileStatus, Page, Sight, StoreInfo

STATUSES: tuple[FileStatus, ...] = ("in_progress", "completed", "failed", "cancelled")

# A store by what it is called, made once: each search asks for it.
_KEPT = stores.c.n, stores.c.id, stores.c.owner, stores.c.last_active_at, stores.c.expires_after_days
_NAME = bindparam("called", type_=String)
_OURS = stores.c.owner == bindparam("owner")
CALLED = union_all(
    select(*_KEPT, literal(0).label("way")).where(stores.c.id == _NAME),
    select(*_KEPT, literal(1)).join(aliases).where(aliases.c.name == _NAME, _OURS),
    select(*_KEPT, literal(2)).where(stores.c.name == _NAME, _OURS),
).order_by("way")


def add(tx: Transaction, info: StoreInfo) -> None:
    tx.execute(
        insert(stores).values(
            id=info.id,
            name=info.name,
            description=info.description,
            metadata=dict(info.metadata),
            created_at=info.created_at,
            last_active_at=info.last_active_at,
            expires_after_days=info.expires_after_days,
            owner=info.owner,
        )
    )


def seen(sight: Sight | None) -> ColumnElement[bool]:
    if sight is None:
        return true()
    ours = stores.c.owner == sight.owner
    return ours if sight.stores is None else and_(ours, stores.c.id.in_(sight.stores))


def number(tx: Transaction, id_or_name: str, sight: Sight | None = None) -> int:
    """Of an id, an alias or a name, in this order. Names are an owner's: without a sight, the default owner's."""
    return int(_called(tx, id_or_name, sight).n)


def _called(tx: Transaction, id_or_name: str, sight: Sight | None) -> Row[*tuple[Any, ...]]:
    rows = tx.execute(CALLED, {"called": id_or_name, "owner": (sight or Sight()).owner}).all()
    ours = [row for row in rows if sight is None or (row.owner == sight.owner and _holds(sight, row.id))]
    best = [row for row in ours if row.way == ours[0].way]
    if not best:
        raise StoreNotFound(f"there is no store {id_or_name!r}; list the stores to see their ids and names")
    if len(best) > 1:
        raise AmbiguousName(f"{len(best)} stores are named {id_or_name!r}; use the id of the one you mean")
    return best[0]


def _holds(sight: Sight, store_id: str) -> bool:
    return sight.stores is None or store_id in sight.stores


def named(tx: Transaction, name: str, owner: str) -> bool:
    """Whether a store of this owner goes by this name."""
    ours = select(stores.c.n).where(stores.c.name == name, stores.c.owner == owner)
    return tx.execute(ours.limit(1)).first() is not None


def known(tx: Transaction, id_or_name: str, sight: Sight | None = None) -> str:
    """The id."""
    return str(_called(tx, id_or_name, sight).id)


def owner(tx: Transaction, store: int) -> str:
    found: str = tx.execute(select(stores.c.owner).where(stores.c.n == store)).scalar_one()
    return found


def version(tx: Transaction, store: int) -> int:
    found = tx.execute(select(stores.c.version).where(stores.c.n == store)).scalar_one_or_none()
    if found is None:
        raise StoreNotFound("the store was just deleted")
    return int(found)


def usable(tx: Transaction, id_or_name: str, now: int, sight: Sight | None = None) -> tuple[int, str]:
    """The number and the id of a store that has not expired."""
    row = _called(tx, id_or_name, sight)
    if row.expires_after_days is not None and row.last_active_at + row.expires_after_days * 86_400 <= now:
        raise InvalidRequest(
            "vector_store_id",
            f"the store {id_or_name!r} expired after {row.expires_after_days} days without use; create a new one",
        )
    return row.n, row.id


def get(tx: Transaction, id_or_name: str, sight: Sight | None = None) -> StoreInfo:
    return _fill(tx, [tx.execute(select(stores).where(stores.c.n == number(tx, id_or_name, sight))).one()])[0]


def page(tx: Transaction, limits: Cut, sight: Sight | None = None) -> Page[StoreInfo]:
    wanted: Select[*tuple[Any, ...]] = select(*stores.c).where(seen(sight))
    rows, more = cut(tx, wanted, stores.c.n, limits, lambda cursor: number(tx, cursor, sight))
    return Page(_fill(tx, rows), more)


def change(tx: Transaction, store: int, values: Mapping[str, object]) -> None:
    if values:
        tx.execute(update(stores).where(stores.c.n == store).values(**values))


def remove(tx: Transaction, store: int) -> None:
    """The row, its documents and their chunks; the files stay. No alias may point to it."""
    tx.execute(delete(stores).where(stores.c.n == store))


def note(tx: Transaction, store: int, key: str) -> str | None:
    wanted = select(notes.c.text).where(notes.c.store == store, notes.c.key == key)
    return tx.execute(wanted).scalar_one_or_none()


def keep_note(tx: Transaction, store: int, key: str, text: str | None) -> None:
    tx.execute(delete(notes).where(notes.c.store == store, notes.c.key == key))
    if text is not None:
        tx.execute(insert(notes).values(store=store, key=key, text=text))


def notes_of(tx: Transaction, store: int) -> dict[str, str]:
    return {row.key: row.text for row in tx.execute(select(notes).where(notes.c.store == store))}


def with_file(tx: Transaction, file_n: int) -> list[str]:
    return list(tx.execute(select(stores.c.id).join(documents).where(documents.c.file == file_n)).scalars())


def expired(tx: Transaction, now: int) -> Sequence[int]:
    """Stores past their time that still hold documents."""
    end = stores.c.last_active_at + stores.c.expires_after_days * 86_400
    return tx.execute(select(stores.c.n).where(end <= now).join(documents).distinct()).scalars().all()


def vector_file(tx: Transaction, store: int) -> str:
    """The name of its vector file."""
    found = tx.execute(select(stores.c.vectors).where(stores.c.n == store)).scalar_one_or_none()
    if found is None:
        raise StoreNotFound("the store was just deleted")
    return _vector_file(store, found)


def vector_files(tx: Transaction) -> dict[int, str]:
    return {row.n: _vector_file(row.n, row.vectors) for row in tx.execute(select(stores.c.n, stores.c.vectors))}


def next_vector_file(tx: Transaction, store: int) -> str:
    """From now on another one counts."""
    tx.execute(update(stores).where(stores.c.n == store).values(vectors=stores.c.vectors + 1))
    return vector_file(tx, store)


def _vector_file(store: int, generation: int) -> str:
    return f"{store}-{generation}"


def add_batch(tx: Transaction, store: int, batch_id: str, created_at: int) -> int:
    tx.execute(insert(batches).values(id=batch_id, store=store, created_at=created_at))
    return batch_number(tx, store, batch_id)


def batch_number(tx: Transaction, store: int, batch_id: str) -> int:
    found = tx.execute(select(batches.c.n).where(batches.c.id == batch_id, batches.c.store == store)).scalar()
    if found is None:
        raise StoreNotFound(f"this store has no batch {batch_id!r}")
    return int(found)


def batch(tx: Transaction, store: int, batch_id: str) -> Batch:
    n = batch_number(tx, store, batch_id)
    row = tx.execute(
        select(batches.c.created_at, stores.c.id.label("store_id")).join(stores).where(batches.c.n == n)
    ).one()
    counted = tx.execute(
        select(documents.c.status, func.count()).where(documents.c.batch == n).group_by(documents.c.status)
    )
    return Batch(batch_id, row.store_id, row.created_at, _counts(dict(counted.all())))


def _counts(found: Mapping[str, int]) -> dict[FileStatus, int]:
    return {status: found.get(status, 0) for status in STATUSES}


def _fill(tx: Transaction, rows: Iterable[Row[*tuple[Any, ...]]]) -> list[StoreInfo]:
    kept = list(rows)
    counted = tx.execute(
        select(documents.c.store, documents.c.status, func.count(), cast(func.sum(documents.c.usage_bytes), Integer))
        .where(documents.c.store.in_([row.n for row in kept]))
        .group_by(documents.c.store, documents.c.status)
    )
    counts: dict[int, dict[str, int]] = {}
    usage: dict[int, int] = {}
    for store, status, count, size in counted:
        counts.setdefault(store, {})[status] = count
        usage[store] = usage.get(store, 0) + size
    pointing = select(aliases.c.store, aliases.c.name).where(aliases.c.store.in_([row.n for row in kept]))
    called: dict[int, tuple[str, ...]] = {}
    for store, name in tx.execute(pointing.order_by(aliases.c.name)):
        called[store] = (*called.get(store, ()), name)
    return [
        StoreInfo(
            id=row.id,
            name=row.name,
            created_at=row.created_at,
            last_active_at=row.last_active_at,
            metadata=row.metadata,
            counts=_counts(counts.get(row.n, {})),
            usage_bytes=usage.get(row.n, 0),
            description=row.description,
            expires_after_days=row.expires_after_days,
            version=row.version,
            aliases=called.get(row.n, ()),
            owner=row.owner,
        )
        for row in kept
    ]
