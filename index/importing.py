"""Stores out of bundles into a memory, while searches and ingest go on.

An import is one commit: killed before, it has left nothing; after, everything. Ids are given anew: those in a bundle
may be somebody's here.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np

from index.bundle import DOCUMENTS, DTYPE, MANIFEST, Bundle, ChunkLine, DocumentLine, Manifest
from index.catalog import Catalog, Transaction, aliases, chunks, documents, files, stores, texts
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
from index.errors import BundleRefused, InvalidRequest
from index.loading import Loader
from index.originals import Originals
from index.shelf import Shelf
from index.types import OWNER, Chunking, Embedder, File, StoreInfo, Vectors


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a bundle. `vectors_kept`: as they were; else made again. `expired` documents were left out."""

    store: StoreInfo
    documents: int
    chunks: int
    expired: int
    vectors_kept: bool


class Importer:
    """The imports of one memory. `new_id` makes an id after a prefix, `spool` a file to write to."""

    def __init__(
        self,
        catalog: Catalog,
        originals: Originals,
        shelf: Shelf,
        loader: Loader,
        embedder: Embedder,
        new_id: Callable[[str], str],
        spool: Callable[[], IO[bytes]],
    ) -> None:
        self._catalog, self._originals, self._shelf = catalog, originals, shelf
        self._loader, self._embedder, self._new_id, self._spool = loader, embedder, new_id, spool

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
        with closing(self._spool()) as again:
            if not kept:
                for document, held, _ in bundle.documents():
                    again.write(self._encoded(document, held).astype(DTYPE).tobytes())
                again.seek(0)
            return self._take(bundle, name, taken, owner, None if kept else again)

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
            texts.keep(tx, number, line.text)
        return Whole(0, number, file, attributes, chunking, line.left_out)


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
