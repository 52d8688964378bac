"""How something is forgotten: in the catalog, in the open stores, on the disk, in this order.

Whatever is removed under one lock is gone together, and its words leave the write-ahead log before anybody is told.
"""

from index.blocks import Block
from index.catalog import Catalog, Transaction, aliases, chunks, documents, files, stores
from index.originals import Originals
from index.shelf import Shelf
from index.vectors import next_name

LEAST_ROOM = 1 << 22  # bytes that are worth the copying


class Removal:
    """Forgets files, stores and documents."""

    def __init__(self, catalog: Catalog, originals: Originals, shelf: Shelf) -> None:
        self._catalog, self._originals, self._shelf = catalog, originals, shelf

    def file(self, file_id: str) -> None:
        """With its documents in all stores, and with its bytes when no other file has the same."""
        with self._catalog.writing:
            with self._catalog.write() as tx:
                file = files.get(tx, file_id)
                places = documents.places_of_file(tx, files.number(tx, file_id))
                for place in places:
                    documents.remove(tx, place.document)
                files.remove(tx, file_id)
                last = not files.uses(tx, file.sha256)
            self._shelf.remove(places)
            if last:
                self._originals.drop(file.sha256)
            self._catalog.forget()

    def store(self, id_or_name: str) -> None:
        """With its documents; the files stay. Raises InvalidRequest where an alias points to it."""
        with self._catalog.writing:
            with self._catalog.write() as tx:
                number = stores.number(tx, id_or_name)
                aliases.check_free(tx, number)
                file = stores.vector_file(tx, number)
                stores.remove(tx, number)
            self._shelf.drop(number)
            self._shelf.files.drop(file)
            self._shelf.files.drop(next_name(file))
            self._shelf.snapshots.drop(number)
            self._catalog.forget()

    def document(self, store: str, file_id: str) -> None:
        with self._catalog.writing:
            with self._catalog.write() as tx:
                place = documents.place(tx, documents.number(tx, stores.number(tx, store), file_id))
                documents.remove(tx, place.document)
            self._shelf.remove([place])
            self._catalog.forget()

    def expired(self, now: int) -> bool:
        """Files past their time, and the documents of stores past theirs; whether there were any."""
        with self._catalog.writing:
            with self._catalog.write() as tx:
                late_files = files.expired(tx, now)
                late = [place for store in stores.expired(tx, now) for place in documents.places_of_store(tx, store)]
                for place in late:
                    documents.remove(tx, place.document)
            self._shelf.remove(late)
            for file_id in late_files:
                self.file(file_id)
            if self._catalog.doubted:
                self._catalog.doubted = False
                self.sweep()
            if late or self._catalog.owes:
                self._catalog.forget()
            return bool(late or late_files)

    def sweep(self) -> None:
        """End what a crash interrupted between the catalog's commit and the disk."""
        with self._catalog.writing:
            with self._catalog.read() as tx:
                self._originals.sweep(files.hashes(tx))
                blocks = documents.blocks(tx)
                named = stores.vector_files(tx)
                stale = [
                    store
                    for store in self._shelf.snapshots.stores()
                    if store not in named or not self._is_whole(tx, store)
                ]
            for store in stale:
                self._shelf.snapshots.drop(store)
            self._shelf.files.sweep({name: dict(blocks.get(n, [])) for n, name in named.items()})

    def _is_whole(self, tx: Transaction, store: int) -> bool:
        """Whether all that its snapshots cover is still there."""
        extents = self._shelf.snapshots.extents(store)
        return all(covers is not None and chunks.is_whole(tx, store, covers) for covers in extents)

    def compact(self) -> None:
        """Give back the room of what was removed, where that is the larger part of a vector file."""
        with self._catalog.writing:
            with self._catalog.read() as tx:
                blocks = documents.blocks(tx)
                named = stores.vector_files(tx)
            for store, name in named.items():
                alive = sum(block.length for _, block in blocks.get(store, []))
                if self._shelf.files.size(name) - alive > max(alive, LEAST_ROOM):
                    self._move(store, name, blocks.get(store, []))

    def _move(self, store: int, name: str, blocks: list[tuple[int, Block]]) -> None:
        """The old file goes when no row names it any more; until then the new one is nothing."""
        with self._catalog.write() as tx:
            target = stores.next_vector_file(tx, store)
            copied = self._shelf.files.copy(name, [block for _, block in blocks], target)
            for (document, _), block in zip(blocks, copied, strict=True):
                documents.keep_block(tx, document, block)
        self._shelf.moved(store)
        self._shelf.files.drop(name)
