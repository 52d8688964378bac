"""Files in stores: how they come in, how far they are, how they go."""

from collections.abc import Mapping, Sequence

from index.catalog import documents, stores
from index.catalog.paging import Cut
from index.checks import check_attachment, check_attributes
from index.errors import InvalidRequest
from index.facets import Opened, Order, new_id, now
from index.types import Attachment, Batch, Chunking, FileStatus, Page, Scalar, StoreFile

LARGEST_BATCH = 2000


class Documents(Opened):
    """The documents of one memory. A file and its store are of one owner."""

    def attach(
        self,
        store: str,
        file_id: str,
        attributes: Mapping[str, Scalar] | None = None,
        chunking: Chunking | None = None,
        replaces: Sequence[str] = (),
    ) -> StoreFile:
        """Queue a file to become searchable. Again for the same file: sets attributes, retries what failed.

        The files that it `replaces` stay searchable until it is, and not a moment longer.
        """
        wanted = Attachment(file_id, attributes, chunking, replaces)
        return self._document(self._attach(store, [wanted], None), file_id)

    def attach_batch(self, store: str, attachments: Sequence[Attachment]) -> Batch:
        if not 1 <= len(attachments) <= LARGEST_BATCH:
            raise InvalidRequest("file_ids", f"a batch has 1 to {LARGEST_BATCH} files, not {len(attachments)}")
        batch_id = new_id("vsfb_")
        number = self._attach(store, attachments, batch_id)
        with self._catalog.read() as tx:
            return stores.batch(tx, number, batch_id)

    def batch(self, store: str, batch_id: str) -> Batch:
        with self._catalog.read() as tx:
            return stores.batch(tx, stores.number(tx, store), batch_id)

    def cancel_batch(self, store: str, batch_id: str) -> Batch:
        """What is not yet searchable will not become so."""
        with self._catalog.write() as tx:
            number = stores.number(tx, store)
            documents.cancel_batch(tx, stores.batch_number(tx, number, batch_id))
            return stores.batch(tx, number, batch_id)

    def store_file(self, store: str, file_id: str) -> StoreFile:
        with self._catalog.read() as tx:
            number = stores.number(tx, store)
            return self._ingest.told(number, documents.get(tx, number, file_id))

    def store_files(
        self,
        store: str,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
        order: Order = "desc",
        status: FileStatus | None = None,
        batch_id: str | None = None,
    ) -> Page[StoreFile]:
        with self._catalog.read() as tx:
            number = stores.number(tx, store)
            batch = None if batch_id is None else stores.batch_number(tx, number, batch_id)
            page = documents.page(tx, number, Cut(limit, after, before, order), status, batch)
        return Page([self._ingest.told(number, one) for one in page.data], page.has_more)

    def detach(self, store: str, file_id: str) -> None:
        """Forget a file's passages in one store; the file itself stays."""
        self._removal.document(store, file_id)

    def update_attributes(self, store: str, file_id: str, attributes: Mapping[str, Scalar]) -> StoreFile:
        checked = check_attributes(attributes)
        with self._catalog.writing:
            with self._catalog.write() as tx:
                number = stores.number(tx, store)
                document = documents.number(tx, number, file_id)
                documents.retag(tx, document, checked)
                changed = documents.get(tx, number, file_id)
            self._shelf.retag(number, document, checked)
        return changed

    def wait(self, store: str, file_id: str, timeout: float | None = None) -> StoreFile:
        """The document when it is completed or failed; after the timeout (seconds) as it then is."""
        with self._catalog.read() as tx:
            number = stores.number(tx, store)
        return self._ingest.wait(lambda: self._document(number, file_id), timeout)

    def _document(self, store: int, file_id: str) -> StoreFile:
        with self._catalog.read() as tx:
            return self._ingest.told(store, documents.get(tx, store, file_id))

    def _attach(self, store: str, attachments: Sequence[Attachment], batch_id: str | None) -> int:
        """The number of the store."""
        checked = [check_attachment(attachment) for attachment in attachments]
        with self._catalog.writing:
            with self._catalog.write() as tx:
                number, _ = stores.usable(tx, store, now())
                batch = stores.add_batch(tx, number, batch_id, now()) if batch_id else None
                changes = [documents.attach(tx, number, one, batch, now()) for one in checked]
            self._shelf.remove(change.place for change in changes if change and change.attributes is None)
            for change in changes:
                if change and change.attributes is not None:
                    self._shelf.retag(number, change.place.document, change.attributes)
        self._ingest.wake()
        return number
