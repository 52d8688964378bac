"""Stores: what they are called, how long they last, whose they are, and what an application keeps with them."""

from collections.abc import Mapping

from index.catalog import Transaction, aliases, stores
from index.catalog.paging import Cut
from index.checks import DEFAULT_STORE, FIRST_STORE, check_days, check_metadata, check_store_name
from index.errors import InvalidRequest
from index.facets import Opened, Order, new_id, now
from index.types import OWNER, Page, Sight, StoreInfo


class Stores(Opened):
    """The stores of one memory. `_settled` are owners known to have their first store."""

    _settled: set[str]

    def settle(self, owner: str) -> None:
        """Make sure that there is an alias `default` for an owner: who is new gets a store, and the alias to it."""
        if owner in self._settled:
            return
        with self._catalog.read() as tx:
            there = aliases.is_one(tx, DEFAULT_STORE, owner)
        if not there:
            with self._catalog.write() as tx:
                if not aliases.is_one(tx, DEFAULT_STORE, owner):
                    first = _new_store(FIRST_STORE, owner=owner)
                    stores.add(tx, first)
                    aliases.point(tx, DEFAULT_STORE, stores.number(tx, first.id), first.created_at)
        self._settled.add(owner)

    def create_store(
        self,
        name: str = "",
        metadata: Mapping[str, str] | None = None,
        description: str = "",
        expires_after_days: int | None = None,
        owner: str = OWNER,
    ) -> StoreInfo:
        check_store_name(name)
        info = _new_store(name, check_metadata(metadata or {}), description, check_days(expires_after_days), owner)
        with self._catalog.write() as tx:
            _check_unaliased(tx, name, owner)
            stores.add(tx, info)
            return stores.get(tx, info.id)

    def store(self, id_or_name: str, sight: Sight | None = None) -> StoreInfo:
        with self._catalog.read() as tx:
            return stores.get(tx, id_or_name, sight)

    def store_id(self, id_or_name: str, sight: Sight | None = None) -> str:
        """Quick, however much is in the store."""
        with self._catalog.read() as tx:
            return stores.known(tx, id_or_name, sight)

    def stores(
        self,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
        order: Order = "desc",
        sight: Sight | None = None,
    ) -> Page[StoreInfo]:
        with self._catalog.read() as tx:
            return stores.page(tx, Cut(limit, after, before, order), sight)

    def update_store(
        self,
        store: str,
        *,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        description: str | None = None,
        expires_after_days: int | None = None,
        never_expires: bool = False,
    ) -> StoreInfo:
        """Changes what is given. `never_expires` takes an expiry away."""
        values: dict[str, object] = {}
        if metadata is not None:
            values["metadata"] = check_metadata(metadata)
        if description is not None:
            values["description"] = description
        if expires_after_days is not None or never_expires:
            values["expires_after_days"] = None if never_expires else check_days(expires_after_days)
        with self._catalog.write() as tx:
            info = stores.get(tx, store)
            if name is not None and name != info.name:
                _check_unaliased(tx, name, info.owner)
                values["name"] = check_store_name(name)
            stores.change(tx, stores.number(tx, info.id), values)
            return stores.get(tx, info.id)

    def delete_store(self, store: str) -> None:
        """The store and its documents; the files stay. Not while an alias points to it."""
        self._removal.store(store)

    def note(self, store: str, key: str) -> str | None:
        """What an application keeps with a store under this key. It goes when the store goes."""
        with self._catalog.read() as tx:
            return stores.note(tx, stores.number(tx, store), key)

    def keep_note(self, store: str, key: str, text: str | None) -> None:
        """In the place of what was kept; None keeps nothing."""
        with self._catalog.write() as tx:
            stores.keep_note(tx, stores.number(tx, store), key, text)


def _check_unaliased(tx: Transaction, name: str, owner: str) -> None:
    if aliases.is_one(tx, name, owner):
        raise InvalidRequest("name", f"{name!r} is an alias; choose another name for the store")


def _new_store(
    name: str,
    metadata: Mapping[str, str] | None = None,
    description: str = "",
    days: int | None = None,
    owner: str = OWNER,
) -> StoreInfo:
    return StoreInfo(new_id("vs_"), name, now(), now(), metadata or {}, {}, 0, description, days, owner=owner)
