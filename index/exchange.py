"""Stores out of a memory into bundles, and out of bundles into a memory, while searches and ingest go on.

An export is the store as it was at one moment, and all of it was still there when the export ended: where a document
was removed meanwhile it begins again, and in the end lets nothing change until it is done. An import is one commit:
killed before, it has left nothing; after, everything. Ids are given anew: those in a bundle may be somebody's here.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from index.bundle import (
    CHUNKS,
    DOCUMENTS,
    DTYPE,
    MANIFEST,
    ORIGINALS,
    PIECE,
    VECTORS,
    Bundle,
    ChunkLine,
    DocumentLine,
    Made,
    Manifest,
    Sizes,
    StoreLine,
    Writer,
)
from index.catalog import Catalog, Transaction, aliases, chunks, documents, files, stores
from index.catalog.chunks import Draft, Entry, Passages
from index.catalog.documents import Whole
from index.checks import (
    LONGEST_NAME,
    check_attributes,
    check_chunking,
    check_days,
    check_filename,
    check_metadata,
    check_store_name,
)
from index.errors import BundleRefused, FolderFault, InvalidRequest
from index.loading import Loader
from index.originals import Originals
from index.shelf import Shelf
from index.types import OWNER, Chunking, Embedder, File, StoreInfo, Vectors
from index.vectors import Kept

ATTEMPTS = 3  # of an export, before it lets nothing be removed
BATCH = 256  # documents read in one transaction


class _Vanished(Exception):
    """A document that was to be exported is no longer there."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a bundle. `vectors_kept`: as they were; else made again. `expired` documents were left out."""

    store: StoreInfo
    documents: int
    chunks: int
    expired: int
    vectors_kept: bool


class Exchange:
    """Exports and imports of one memory. `new_id` makes an id after a prefix."""

    def __init__(
        self,
        folder: Path,
        catalog: Catalog,
        originals: Originals,
        shelf: Shelf,
        loader: Loader,
        embedder: Embedder,
        new_id: Callable[[str], str],
    ) -> None:
        self._folder, self._catalog, self._originals, self._shelf = folder, catalog, originals, shelf
        self._loader, self._embedder, self._new_id = loader, embedder, new_id

    def spool(self) -> IO[bytes]:
        """An empty file beside the documents, without a name: whatever ends the process removes it."""
        return tempfile.TemporaryFile(dir=self._folder)

    def export(self, store: str, into: IO[bytes]) -> Manifest:
        """What can be found in a store, as a bundle. Raises StoreNotFound and FolderFault."""
        for _ in range(ATTEMPTS):
            with suppress(_Vanished):
                return self._export(store, into)
            into.seek(0)
            into.truncate()
        with self._catalog.writing:
            return self._export(store, into)

    def import_(
        self,
        file: IO[bytes],
        name: str | None = None,
        *,
        reembed: bool = False,
        taken: Sequence[str] = (),
        owner: str = OWNER,
    ) -> Imported:
        """A new store of a bundle's, for this owner and under this name; else under its own, numbered if that is taken.

        Raises BundleRefused, and InvalidRequest where the name is taken (as are those in `taken`), or the vectors are
        another embedder's and are not to be made again.
        """
        if name is not None:
            check_store_name(name)
            with self._catalog.read() as tx:
                _check_free(tx, name, taken, owner)
        bundle = Bundle(file)
        made, own = bundle.manifest.embedder, self._embedder
        kept = (made.fingerprint, made.dimension) == (own.fingerprint, own.dimension)
        if not (kept or reembed):
            raise InvalidRequest(
                "reembed",
                f"the bundle's vectors were made by {made.fingerprint}, this memory's are by {own.fingerprint}: "
                "import it with reembed, which makes them again from the texts, or set that embedder",
            )
        with closing(self.spool()) as again:
            if not kept:
                for document, held, _ in bundle.documents():
                    again.write(self._encoded(document, held).astype(DTYPE).tobytes())
                again.seek(0)
            return self._take(bundle, name, taken, owner, None if kept else again)

    # Out

    def _export(self, store: str, into: IO[bytes]) -> Manifest:
        with self._catalog.read() as tx:
            number = stores.number(tx, store)
            info, notes, listed = stores.get(tx, store), stores.notes_of(tx, number), documents.whole(tx, number)
        with Writer(into) as writer:
            counts = self._write(writer, number, listed)
            manifest = Manifest(
                created_at=int(time.time()),
                store=StoreLine(
                    name=info.name,
                    description=info.description,
                    metadata=dict(info.metadata),
                    expires_after_days=info.expires_after_days,
                    version=info.version,
                    notes=notes,
                ),
                embedder=Made(fingerprint=self._embedder.fingerprint, dimension=self._embedder.dimension),
                documents=len(listed),
                chunks=sum(counts.values()),
                members=writer.members,
            )
            writer.seal(manifest)
        self._check_there(number, listed)
        into.seek(0)
        return manifest

    def _write(self, writer: Writer, store: int, listed: Sequence[Whole]) -> dict[int, int]:
        """All but the manifest; how many passages each document has."""
        counts = dict[int, int]()
        with writer.member(CHUNKS) as sink:
            for batch in _batches(listed):
                for document, drafts in self._drafts(batch):
                    counts[document] = len(drafts)
                    for draft in drafts:
                        sink.line(_chunk_line(draft))
        with writer.member(VECTORS) as sink:
            for batch in _batches(listed):
                for one, kept in self._kept(store, batch):
                    whole = kept is not None and len(kept.vectors) == counts[one.number]
                    vectors = kept.vectors if kept is not None and whole else self._again(one)
                    sink.write(vectors.astype(DTYPE).tobytes())
        with writer.member(DOCUMENTS) as sink:
            for one in listed:
                sink.line(self._document_line(one, counts[one.number]))
        for sha256 in dict.fromkeys(one.file.sha256 for one in listed):
            with self._original(sha256, store, listed) as source, writer.member(ORIGINALS + sha256) as sink:
                while piece := source.read(PIECE):
                    sink.write(piece)
            if sink.hash.hexdigest() != sha256:
                raise FolderFault(f"the original {sha256} is damaged; delete its file and upload it again")
        return counts

    def _drafts(self, batch: Sequence[Whole]) -> Iterator[tuple[int, list[Draft]]]:
        with self._catalog.read() as tx:
            found = chunks.drafts(tx, [one.number for one in batch])
        for one in batch:
            if one.number not in found:
                raise _Vanished
            yield one.number, found[one.number]

    def _kept(self, store: int, batch: Sequence[Whole]) -> Iterator[tuple[Whole, Kept | None]]:
        with self._catalog.writing, self._catalog.read() as tx:  # no vectors may be moved meanwhile
            blocks = {place.document: place.block for place in documents.places(tx, [one.number for one in batch])}
            with self._shelf.files.reading(stores.vector_file(tx, store)) as read:
                kept = [read(one.number, blocks.get(one.number)) for one in batch]
        yield from zip(batch, kept, strict=True)

    def _again(self, one: Whole) -> Vectors:
        """Those that the disk has lost, from the text."""
        with self._catalog.read() as tx:
            passages = chunks.of_document(tx, one.number)
        if passages is None:
            raise _Vanished
        return self._loader.encoded(passages)

    def _document_line(self, one: Whole, count: int) -> DocumentLine:
        with self._catalog.read() as tx:
            text = files.text_of(tx, one.file_n)
        return DocumentLine(
            filename=one.file.filename,
            original=one.file.sha256,
            purpose=one.file.purpose,
            expires_at=one.file.expires_at,
            attributes=dict(one.attributes),
            chunking=Sizes(max_tokens=one.chunking.max_tokens, overlap=one.chunking.overlap),
            left_out=None if one.left_out is None else dict(one.left_out),
            chunks=count,
            text=text,
        )

    @contextmanager
    def _original(self, sha256: str, store: int, listed: Sequence[Whole]) -> Iterator[IO[bytes]]:
        try:
            source = self._originals.open(sha256)
        except FolderFault:
            self._check_there(store, listed)
            raise
        with source:
            yield source

    def _check_there(self, store: int, listed: Sequence[Whole]) -> None:
        with self._catalog.read() as tx:
            now = documents.completed(tx, store)
        if any(one.number not in now for one in listed):
            raise _Vanished

    # In

    def _encoded(self, document: DocumentLine, held: Sequence[ChunkLine]) -> Vectors:
        entries = [Entry(0, tuple(one.headings), one.text) for one in held]
        return self._loader.encoded(Passages(0, document.filename, {}, entries))

    def _take(
        self, bundle: Bundle, name: str | None, taken: Sequence[str], owner: str, again: IO[bytes] | None
    ) -> Imported:
        known = set(bundle.originals())
        try:
            for sha256 in known:  # the slow part, outside the lock
                self._keep_original(bundle, sha256)
            with self._catalog.writing, self._catalog.write() as tx:
                for sha256 in known:  # the last file of these bytes may have been deleted just now
                    self._keep_original(bundle, sha256)
                store_id, number = self._add_store(tx, bundle.manifest, name, taken, owner)
                imported = self._add_documents(tx, bundle, number, owner, again)
                info = stores.get(tx, store_id)
        except BaseException:
            self._undo(known)
            raise
        self._catalog.forget()
        return Imported(info, *imported, again is None)

    def _keep_original(self, bundle: Bundle, sha256: str) -> None:
        with bundle.original(sha256) as source:
            self._originals.take(sha256, source)

    def _undo(self, known: set[str]) -> None:
        """What no row names goes."""
        with self._catalog.writing:
            with self._catalog.read() as tx:
                lost = [sha256 for sha256 in known if not files.uses(tx, sha256)]
                named = stores.vector_files(tx)
            for sha256 in lost:
                self._originals.drop(sha256)
            self._shelf.files.keep_only(named.values())

    def _add_store(
        self, tx: Transaction, manifest: Manifest, name: str | None, taken: Sequence[str], owner: str
    ) -> tuple[str, int]:
        told, now = manifest.store, int(time.time())
        with _refusing(MANIFEST):
            own, metadata = check_store_name(told.name), check_metadata(told.metadata)
            days = check_days(told.expires_after_days)
        if name is None:
            name = _free_name(tx, own, taken, owner)
        else:
            _check_free(tx, name, taken, owner)
        info = StoreInfo(self._new_id("vs_"), name, now, now, metadata, {}, 0, told.description, days, owner=owner)
        stores.add(tx, info)
        number = stores.number(tx, info.id)
        stores.change(tx, number, {"version": told.version})
        for key, text in told.notes.items():
            stores.keep_note(tx, number, key, text)
        return info.id, number

    def _add_documents(
        self, tx: Transaction, bundle: Bundle, store: int, owner: str, again: IO[bytes] | None
    ) -> tuple[int, int, int]:
        """How many documents, and passages, and how many documents had expired."""
        now, added, passages, expired = int(time.time()), 0, 0, 0
        width = self._embedder.dimension * np.dtype(DTYPE).itemsize
        with self._shelf.files.appending(stores.vector_file(tx, store)) as append:
            for line, held, vectors in bundle.documents():
                if again is not None:
                    rows = np.frombuffer(again.read(len(held) * width), DTYPE)
                    vectors = rows.reshape(len(held), -1).astype(np.float32)
                if line.expires_at is not None and line.expires_at <= now:
                    expired += 1
                    continue
                added, passages = added + 1, passages + len(held)
                with _refusing(f"{DOCUMENTS}, document {added + expired}"):
                    wanted = self._file(tx, line, bundle.original_size(line.original), owner, now)
                size = sum(len(one.text.encode()) for one in held) + vectors.size * 2
                document = documents.add_whole(tx, store, wanted, size, now)
                chunks.add(tx, document, [_draft(one) for one in held])
                block = append(document, chunks.numbers_of(tx, document), vectors)
                documents.keep_block(tx, document, block)
        return added, passages, expired

    def _file(self, tx: Transaction, line: DocumentLine, size: int, owner: str, now: int) -> Whole:
        """The document, whose file is in the catalog."""
        name, attributes = check_filename(line.filename), check_attributes(line.attributes)
        chunking = check_chunking(Chunking(line.chunking.max_tokens, line.chunking.overlap))
        file = File(self._new_id("file-"), name, size, now, line.purpose, line.original, line.expires_at, owner)
        files.add(tx, file)
        number = files.number(tx, file.id)
        if line.text is not None:
            files.keep_text(tx, number, line.text)
        return Whole(0, number, file, attributes, chunking, line.left_out)


def _batches(listed: Sequence[Whole]) -> Iterator[Sequence[Whole]]:
    for start in range(0, len(listed), BATCH):
        yield listed[start : start + BATCH]


def _chunk_line(draft: Draft) -> ChunkLine:
    return ChunkLine(text=draft.text, start=draft.start, end=draft.end, page=draft.page, headings=list(draft.headings))


def _draft(line: ChunkLine) -> Draft:
    return Draft(line.text, line.start, line.end, line.page, tuple(line.headings))


def _check_free(tx: Transaction, name: str, taken: Sequence[str], owner: str) -> None:
    if name and _is_taken(tx, name, taken, owner):
        raise InvalidRequest(
            "name", f"{name!r} is a store or an alias already; choose another name, and point an alias to it afterwards"
        )


def _free_name(tx: Transaction, own: str, taken: Sequence[str], owner: str) -> str:
    """A store's own name, with a number where that is taken."""
    name, number = own, 1
    while name and _is_taken(tx, name, taken, owner):
        number += 1
        name = f"{own[: LONGEST_NAME - 10]}-{number}"
    return name


def _is_taken(tx: Transaction, name: str, taken: Sequence[str], owner: str) -> bool:
    return name in taken or aliases.is_one(tx, name, owner) or stores.named(tx, name, owner)


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """What a bundle says and nobody may say, as its refusal."""
    try:
        yield
    except InvalidRequest as error:
        raise BundleRefused(f"the bundle's {where}: {error}") from error
