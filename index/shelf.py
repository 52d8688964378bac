"""The stores that are open, each built from the catalog when it is first asked for.

The order of locks is always: the catalog's writing lock, then a store's gate. Searches take the gate alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

from index.catalog import Catalog, chunks, stores
from index.store import Store
from index.types import Scalar


class Shelf:
    """Open stores by their numbers in the catalog."""

    def __init__(self, catalog: Catalog, dimension: int) -> None:
        self._catalog = catalog
        self._dimension = dimension
        self._stores: dict[int, Store] = {}

    def get(self, store: int) -> Store:
        """The store, read into RAM if it is not there: about 8 s of one core and 250 MB per 100,000 chunks.

        Raises StoreNotFound.
        """
        opened = self._stores.get(store)
        if opened is not None:
            return opened
        with self._catalog.writing:  # nothing may be published between the reading and the opening
            if store not in self._stores:
                with self._catalog.read() as tx:
                    fresh = Store(self._dimension, stores.version(tx, store))
                    fresh.add(chunks.of_store(tx, store))
                self._stores[store] = fresh
            return self._stores[store]

    @contextmanager
    def change(self, store: int) -> Iterator[Store | None]:
        """The store, if it is open, for a change of the catalog and of the store that no search may see half done."""
        with self._catalog.writing:
            opened = self._stores.get(store)
            try:
                with opened.gate.write() if opened else nullcontext():
                    yield opened
                    if opened is not None:
                        with self._catalog.read() as tx:
                            opened.version = stores.version(tx, store)
            except BaseException:
                self.close(store)  # it may disagree with the catalog now; the next search builds it again
                raise

    def remove(self, store: int, document: int) -> None:
        with self.change(store) as opened:
            if opened is not None:
                opened.remove(document)

    def retag(self, store: int, document: int, attributes: Mapping[str, Scalar]) -> None:
        with self.change(store) as opened:
            if opened is not None:
                opened.retag(document, attributes)

    def close(self, store: int) -> None:
        self._stores.pop(store, None)
