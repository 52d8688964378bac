"""Names that point to stores, and can be pointed elsewhere while others ask."""

import time

from index.catalog import Catalog, Transaction, aliases, stores
from index.checks import DEFAULT_STORE, check_alias
from index.errors import InvalidRequest
from index.shelf import Shelf
from index.types import OWNER, Alias, Sight


class Aliases:
    """The aliases of one memory. A move is one commit: who looks a name up sees the store before or the one after.

    Each owner has names of its own; without a sight they are the default owner's.
    """

    def __init__(self, catalog: Catalog, shelf: Shelf) -> None:
        self._catalog, self._shelf = catalog, shelf

    def all(self, sight: Sight | None = None) -> list[Alias]:
        with self._catalog.read() as tx:
            return aliases.page(tx, sight)

    def get(self, name: str, sight: Sight | None = None) -> Alias:
        with self._catalog.read() as tx:
            return aliases.get(tx, name, sight)

    def set(self, name: str, store: str, sight: Sight | None = None) -> Alias:
        """Point a name to a store: one that the store's owner has moves, a new one is made."""
        check_alias(name)
        self._open(store, sight)
        with self._catalog.write() as tx:
            number, _ = stores.usable(tx, store, _now(), sight)
            owner = stores.owner(tx, number)
            _check_unnamed(tx, name, owner)
            aliases.point(tx, name, number, _now())
            return aliases.get(tx, name, sight or Sight(owner))

    def check(self, name: str, owner: str = OWNER) -> None:
        """Whether a store of this owner could be pointed to by this name, there or not. Raises InvalidRequest."""
        check_alias(name)
        with self._catalog.read() as tx:
            _check_unnamed(tx, name, owner)

    def roll_back(self, name: str, sight: Sight | None = None) -> Alias:
        """Point it to the store before, of those that are still there; said again, to the one before that."""
        for store in self.get(name, sight).before[:1]:
            self._open(store, sight)
        with self._catalog.write() as tx:
            aliases.roll_back(tx, name, _now(), sight)
            rolled = aliases.get(tx, name, sight)
            stores.usable(tx, rolled.store_id, _now(), sight)
            return rolled

    def remove(self, name: str, sight: Sight | None = None) -> None:
        if name == DEFAULT_STORE:
            raise InvalidRequest("alias", f"the alias {DEFAULT_STORE!r} is always there; point it to another store")
        with self._catalog.write() as tx:
            aliases.remove(tx, name, sight)

    def _open(self, store: str, sight: Sight | None) -> None:
        """Read a store into RAM before anybody is sent there, so that no question waits for it."""
        with self._catalog.read() as tx:
            number, _ = stores.usable(tx, store, _now(), sight)
        self._shelf.get(number)


def _check_unnamed(tx: Transaction, name: str, owner: str) -> None:
    if stores.named(tx, name, owner):
        raise InvalidRequest("alias", f"a store is named {name!r}; rename it, or choose another alias")


def _now() -> int:
    return int(time.time())
