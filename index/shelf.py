"""The stores that are open, each built from the truth when it is first asked for.

The order of locks is always: a store's loading, the catalog's writing lock, the store's gate. Searches take the gate
alone, unless the store is not there yet.
"""

import threading
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext
from pathlib import Path

from index.catalog import Catalog, chunks, stores
from index.catalog.documents import Place
from index.lexical import Lexical
from index.loading import Loader
from index.snapshot import Snapshots
from index.store import Store, words
from index.types import Scalar
from index.vectors import VectorFiles


class Shelf:
    """Open stores by their numbers in the catalog, and the files behind them."""

    def __init__(self, catalog: Catalog, files: VectorFiles, snapshots: Snapshots, loader: Loader) -> None:
        self.files, self.snapshots = files, snapshots
        self._catalog, self._loader = catalog, loader
        self._stores: dict[int, Store] = {}
        self._loading: dict[int, threading.Lock] = {}

    def get(self, store: int) -> Store:
        """The store, read into RAM if it is not there. Raises StoreNotFound."""
        opened = self._stores.get(store)
        if opened is not None:
            return opened
        with self._loading.setdefault(store, threading.Lock()):
            opened = self._stores.get(store)
            if opened is None:
                opened = self._loader.load(store)
                try:
                    with self._catalog.writing:  # nothing may be published between the catching up and the opening
                        self._loader.catch_up(store, opened)
                        self._stores[store] = opened
                except BaseException:
                    self._discard(opened.folder)
                    raise
            return opened

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

    def remove(self, place: Place) -> None:
        """A document that the catalog has forgotten; its vectors leave the disk."""
        with self._catalog.writing:
            with self.change(place.store) as opened:
                if opened is not None:
                    opened.remove(place.document)
            if place.block is not None:
                with self._catalog.read() as tx:
                    file = stores.vector_file(tx, place.store)
                self.files.erase(file, place.block)
                self.snapshots.drop(place.store)

    def retag(self, store: int, document: int, attributes: Mapping[str, Scalar]) -> None:
        with self.change(store) as opened:
            if opened is not None:
                opened.retag(document, attributes)

    def opened(self) -> dict[int, Store]:
        return dict(self._stores)

    def swap_words(self, store: int, opened: Store, lexical: Lexical, known: Set[int]) -> None:
        """Let an open store search in another lexical index, which has the words of the `known` documents."""
        before = opened.folder
        with self._catalog.writing:
            if self._stores.get(store) is not opened:
                return
            with self._catalog.read() as tx:
                new = [chunks.of_document(tx, document) for document in opened.documents - known]
            for document in known - opened.documents:
                lexical.remove(document)
            lexical.add(entry for one in new if one is not None for entry in words(one))
            with opened.gate.write():
                opened.swap_words(lexical)
        self._discard(before)

    def close(self, store: int) -> None:
        closed = self._stores.pop(store, None)
        if closed is not None:
            self._discard(closed.folder)

    def close_all(self) -> None:
        for store in self.opened():
            self.close(store)

    def _discard(self, folder: Path | None) -> None:
        if folder is not None:
            self.snapshots.discard(folder)
