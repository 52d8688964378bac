"""The stores that are open, each built from the truth when it is first asked for.

The order of locks is always: a store's loading, the catalog's writing lock, the store's gate. Searches take the gate
alone, unless the store is not there yet.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from index.catalog import Catalog, chunks, documents, stores
from index.catalog.documents import Place
from index.dense import Dense
from index.errors import MilvusAway
from index.lexical import Lexical
from index.loading import Loader
from index.snapshot import Snapshots
from index.store import Store, words
from index.types import Scalar
from index.vectors import VectorFiles

log = logging.getLogger(__name__)


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
                with nullcontext() if opened is None else opened.gate.write():
                    yield opened
                    if opened is not None:
                        with self._catalog.read() as tx:
                            opened.version = stores.version(tx, store)
            except MilvusAway as error:
                self.close(store)  # the catalog has the change; the next opening brings Milvus up to date
                log.warning("%s; store %d waits for it", error, store)
            except BaseException:
                self.close(store)  # it may disagree with the catalog now; the next search builds it again
                raise

    def remove(self, places: Iterable[Place]) -> None:
        """Documents that the catalog has forgotten; their vectors leave the disk.

        A store is changed once for all of its own: at its new version it must have none of them, also for who makes
        a snapshot of it.
        """
        of_store = attrgetter("store")
        with self._catalog.writing:
            for store, held in groupby(sorted(places, key=of_store), key=of_store):
                gone = list(held)
                with self.change(store) as opened:
                    if opened is not None:
                        for place in gone:
                            opened.remove(place.document)
                blocks = [place.block for place in gone if place.block is not None]
                if blocks:
                    with self._catalog.read() as tx:
                        file = stores.vector_file(tx, store)
                    for block in blocks:
                        self.files.erase(file, block)
                    self.files.erase_next(file, [place.document for place in gone])
                    self.snapshots.drop(store)

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

    def swap_vectors(self, store: int, opened: Store, dense: Dense, known: Mapping[int, Sequence[int]]) -> bool:
        """Let an open store search in another dense index, which has the chunks of the `known` documents.

        What came and went while that was built is caught up with; searches wait for no more than the swap itself.
        """
        with self._catalog.writing:
            if self._stores.get(store) is not opened:
                return False
            with self._catalog.read() as tx:
                file = stores.vector_file(tx, store)
                blocks = {one.document: one.block for one in documents.searchable(tx, store)}
            for gone in known.keys() - opened.documents:
                dense.remove(known[gone])
            with self.files.reading(file) as read:
                for new in opened.documents - known.keys():
                    kept = read(new, blocks.get(new))
                    if kept is None:
                        log.warning("the vectors of document %d cannot be read; the index stays as it was", new)
                        return False
                    dense.add(kept.chunks, kept.vectors)
            located = opened.located(blocks)
            with opened.gate.write():
                opened.rows.relocate(file, *located)
                opened.swap_vectors(dense)
            return True

    def moved(self, store: int) -> None:
        """The vectors are elsewhere now, says the catalog. Who calls holds its writing lock."""
        opened = self._stores.get(store)
        if opened is not None:
            with self._catalog.read() as tx:
                file = stores.vector_file(tx, store)
                blocks = {one.document: one.block for one in documents.searchable(tx, store)}
            located = opened.located(blocks)
            with opened.gate.write():
                opened.rows.relocate(file, *located)

    def drop(self, store: int) -> None:
        """One that the catalog has forgotten."""
        self.close(store)
        self._loader.forget(store)

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
