"""Originals and their texts, whatever stores they are in."""

from index.catalog import documents, files, stores, texts
from index.catalog.paging import Cut
from index.checks import check_filename
from index.facets import Opened, Order, new_id, now
from index.parse import parse
from index.types import OWNER, Chunk, File, Page, Sight


class Files(Opened):
    """The files of one memory."""

    def add_file(
        self,
        filename: str,
        data: bytes,
        purpose: str = "assistants",
        expires_at: int | None = None,
        owner: str = OWNER,
        file_id: str = "",
    ) -> File:
        """`file_id` is one that `new_id` made and nobody has; without it, the file gets its own."""
        check_filename(filename)
        sha256 = self._originals.put(data)  # the slow part, outside the lock
        file = File(file_id or new_id("file-"), filename, len(data), now(), purpose, sha256, expires_at, owner)
        with self._catalog.write() as tx:
            if not self._originals.holds(sha256):  # the last other file of these bytes was just deleted
                self._originals.put(data)
            files.add(tx, file)
        return file

    def file(self, file_id: str, sight: Sight | None = None) -> File:
        with self._catalog.read() as tx:
            return files.get(tx, file_id, sight)

    def files(
        self,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
        order: Order = "desc",
        purpose: str | None = None,
        sight: Sight | None = None,
    ) -> Page[File]:
        with self._catalog.read() as tx:
            return files.page(tx, Cut(limit, after, before, order), purpose, sight)

    def delete_file(self, file_id: str) -> None:
        """From everywhere: all stores, the catalog and the disk."""
        self._removal.file(file_id)

    def stores_of(self, file_id: str) -> list[str]:
        """The ids of the stores that a file is in."""
        with self._catalog.read() as tx:
            return stores.with_file(tx, files.number(tx, file_id))

    def content(self, file_id: str) -> bytes:
        return self._originals.get(self.file(file_id).sha256)

    def text_around(self, chunk: Chunk) -> str:
        """What the parser read in a chunk's document: the chunk's offsets count in it. Raises ParseError."""
        with self._catalog.read() as tx:
            kept = texts.of_chunk(tx, chunk.id)
        return self.text(chunk.file_id) if kept is None else kept

    def store_text(self, store: str, file_id: str) -> str:
        """The same of a file as a store has it."""
        with self._catalog.read() as tx:
            kept = texts.of_document(tx, documents.number(tx, stores.number(tx, store), file_id))
        return self.text(file_id) if kept is None else kept

    def text(self, file_id: str) -> str:
        """What the parser reads in a file, or did when a store last took it in. Raises ParseError."""
        with self._catalog.read() as tx:
            kept = texts.of_file(tx, files.number(tx, file_id))
        if kept is not None:
            return kept
        file = self.file(file_id)
        data = self.content(file_id)
        text = parse(file.filename, data, self._limits).text
        with self._catalog.write() as tx:
            texts.keep(tx, files.number(tx, file_id), text)
        return text
