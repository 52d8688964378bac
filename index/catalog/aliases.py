"""Names that point to stores, and where they pointed before. A name and all its targets are of one owner.

Without a sight, a name is the default owner's.
"""

from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from index.catalog import Transaction
from index.catalog.schema import aliases, stores, targets_before
from index.catalog.stores import owner, seen
from index.errors import AliasNotFound, InvalidRequest
from index.types import Alias, Sight

KEPT = 100  # earlier targets of one alias


def is_one(tx: Transaction, name: str, owner: str) -> bool:
    ours = select(aliases.c.n).where(aliases.c.name == name, aliases.c.owner == owner)
    return tx.execute(ours).first() is not None


def get(tx: Transaction, name: str, sight: Sight | None = None) -> Alias:
    return _alias(tx, _row(tx, name, sight), sight)


def page(tx: Transaction, sight: Sight | None = None) -> list[Alias]:
    """All of them, by name."""
    wanted = select(aliases).join(stores).where(seen(sight or Sight())).order_by(aliases.c.name)
    return [_alias(tx, row, sight) for row in tx.execute(wanted).all()]


def point(tx: Transaction, name: str, store: int, now: int) -> None:
    """To this store from now on. A name that is new to the store's owner makes an alias."""
    whose = owner(tx, store)
    known = tx.execute(select(aliases).where(aliases.c.name == name, aliases.c.owner == whose)).one_or_none()
    if known is None:
        tx.execute(insert(aliases).values(name=name, owner=whose, store=store, moved_at=now))
    elif known.store != store:
        tx.execute(insert(targets_before).values(alias=known.n, store=known.store))
        tx.execute(update(aliases).where(aliases.c.n == known.n).values(store=store, moved_at=now))
        ours = targets_before.c.alias == known.n
        oldest = select(targets_before.c.n).where(ours).order_by(targets_before.c.n.desc()).offset(KEPT).limit(1)
        tx.execute(delete(targets_before).where(ours, targets_before.c.n <= oldest.scalar_subquery()))


def roll_back(tx: Transaction, name: str, now: int, sight: Sight | None = None) -> None:
    """To the target before, of those that are still there; the one it leaves is not remembered."""
    known = _row(tx, name, sight)
    ours = targets_before.c.alias == known.n
    before = tx.execute(
        select(targets_before.c.n, targets_before.c.store)
        .where(ours, targets_before.c.store != known.store)
        .order_by(targets_before.c.n.desc())
        .limit(1)
    ).one_or_none()
    if before is None:
        raise InvalidRequest(
            "alias", f"the alias {name!r} pointed to no other store before; set it to the one you mean"
        )
    tx.execute(delete(targets_before).where(ours, targets_before.c.n >= before.n))
    tx.execute(update(aliases).where(aliases.c.n == known.n).values(store=before.store, moved_at=now))


def remove(tx: Transaction, name: str, sight: Sight | None = None) -> None:
    tx.execute(delete(aliases).where(aliases.c.n == _row(tx, name, sight).n))


def check_free(tx: Transaction, store: int) -> None:
    """Raises InvalidRequest where an alias points to the store."""
    names = tx.execute(select(aliases.c.name).where(aliases.c.store == store).order_by(aliases.c.name)).scalars().all()
    if names:
        raise InvalidRequest(
            "vector_store_id",
            f"a store that an alias points to cannot be deleted, and {', '.join(map(repr, names))} does; "
            "point it to another store first",
        )


def _row(tx: Transaction, name: str, sight: Sight | None = None) -> Row[*tuple[Any, ...]]:
    ours = select(*aliases.c).join(stores).where(aliases.c.name == name, seen(sight or Sight()))
    found = tx.execute(ours).one_or_none()
    if found is None:
        raise AliasNotFound(f"there is no alias {name!r}; list the aliases to see their names")
    return found


def _alias(tx: Transaction, row: Row[*tuple[Any, ...]], sight: Sight | None) -> Alias:
    wanted = (
        select(stores.c.id)
        .join(targets_before, targets_before.c.store == stores.c.n)
        .where(targets_before.c.alias == row.n, seen(sight))
        .order_by(targets_before.c.n.desc())
    )
    ids = tx.execute(wanted).scalars().all()
    now = tx.execute(select(stores.c.id).where(stores.c.n == row.store)).scalar_one()
    # Where a store between two moves was deleted, its neighbours may be the same.
    before = tuple(one for one, later in zip(ids, (now, *ids), strict=False) if one != later)
    return Alias(row.name, now, row.moved_at, before)
