"""How something is forgotten: in the catalog, in the open stores, on the disk, in this order.

Whatever is removed under one lock is gone together, and its words leave the write-ahead log before anybody is told.
"""

from index.catalog import Catalog, aliases, documents, files, stores
from index.originals import Originals
from index.shelf import Shelf


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
            for place in places:
                self._shelf.remove(place.store, place.document)
            if last:
                self._originals.drop(file.sha256)
            self._catalog.forget()

    def store(self, id_or_name: str) -> None:
        """With its documents; the files stay. Raises InvalidRequest where an alias points to it."""
        with self._catalog.writing:
            with self._catalog.write() as tx:
                number = stores.number(tx, id_or_name)
                aliases.check_free(tx, number)
                stores.remove(tx, number)
            self._shelf.close(number)
            self._catalog.forget()

    def document(self, store: str, file_id: str) -> None:
        with self._catalog.writing:
            with self._catalog.write() as tx:
                number = stores.number(tx, store)
                document = documents.number(tx, number, file_id)
                documents.remove(tx, document)
            self._shelf.remove(number, document)
            self._catalog.forget()

    def expired(self, now: int) -> None:
        """Files past their time, and the documents of stores past theirs."""
        with self._catalog.writing:
            with self._catalog.write() as tx:
                late_files = files.expired(tx, now)
                late = [place for store in stores.expired(tx, now) for place in documents.places_of_store(tx, store)]
                for place in late:
                    documents.remove(tx, place.document)
            for place in late:
                self._shelf.remove(place.store, place.document)
            for file_id in late_files:
                self.file(file_id)
            if late:
                self._catalog.forget()
