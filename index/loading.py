"""From the truth to an open store: the vector file and the catalog's rows become its indexes.

Nobody waits for it but who asked. It reads the catalog in short transactions (a long one would keep the write-ahead
log, and deleted text in it), and what changes meanwhile is caught up with at the end, under the catalog's writing lock.
Words come from a snapshot where there is one, and from the texts of what is newer; vectors that are lost or damaged
are made again from the texts. The dense index of a large store comes from its snapshot too, or is trained, on vectors
that are read before the others.
"""

import logging
import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from index import codes
from index.blocks import Kept, rounded
from index.catalog import Catalog, chunks, documents, stores
from index.catalog.chunks import Indexed, Passages
from index.catalog.documents import Searchable
from index.dense import Approximate, Dense, Exact, Tiers, sample_size
from index.errors import FaissRefused
from index.lexical import Lexical
from index.rows import Rows, packed
from index.snapshot import Snapshots
from index.store import Store, indexed_text
from index.types import Embedder, Extent, Vectors
from index.vectors import VectorFiles

GROUP = 64  # chunks embedded at once
BATCH = 1024  # documents whose vectors are added at once
TEXTS = 256  # documents whose texts are read in one transaction
SPREAD = 64  # documents at least that an index is trained on, where there are so many
log = logging.getLogger(__name__)


class Loader:
    """Stateless beside what it was given."""

    def __init__(
        self, catalog: Catalog, files: VectorFiles, snapshots: Snapshots, embedder: Embedder, tiers: Tiers
    ) -> None:
        self._catalog, self._files, self._snapshots, self._embedder = catalog, files, snapshots, embedder
        self._tiers = tiers
        self.codes = codes.part(embedder, tiers)

    def load(self, store: int) -> Store:
        """The store as it was when this began. Raises StoreNotFound."""
        snapshot = self._snapshots.open(store)
        try:
            return self._load(store, snapshot)
        except BaseException:
            if snapshot is not None:
                self._snapshots.discard(snapshot[0])
            raise

    def _load(self, store: int, snapshot: tuple[Path, Extent] | None) -> Store:
        with self._catalog.read() as tx:
            version = stores.version(tx, store)
            file, listed = stores.vector_file(tx, store), documents.searchable(tx, store)
            whole = snapshot is not None and chunks.is_whole(tx, store, snapshot[1])
        fresh = Store(self._embedder.dimension, version, Rows(file, self._files.rows))
        lost = list[int]()
        if self._restore(store, fresh, listed):
            newer = [one for one in listed if one.document not in fresh.documents]
            for held in self._kept(file, newer, lost):
                fresh.hold(held)
        else:
            self._fill(store, fresh, listed, lost)
        covered = 0
        if snapshot is not None:
            words = self._opened(snapshot[0]) if whole and not lost else None
            if words is None:
                self._snapshots.discard(snapshot[0])
            else:
                fresh.swap_words(words)
                covered = snapshot[1].last
        fresh.index(self.texts(store, covered))
        self._mend_all(store, lost)
        return fresh

    def _restore(self, store: int, fresh: Store, listed: Sequence[Searchable]) -> bool:
        """The dense index from its snapshot, if there is one that suits; only documents of that snapshot are in it."""
        found = self._snapshots.open(store, self.codes)
        if found is None:
            return False
        folder, covers = found
        try:
            kept = codes.read(folder, fresh.rows)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            log.warning("FAISS cannot read a snapshot (%s); the index is trained again", error)
            return False
        finally:
            self._snapshots.discard(folder)
        by_number = {one.document: one for one in listed}
        places = kept.places(by_number, self._embedder.dimension)
        if places is None or not self._tiers.suits(kept.dense, self._count(listed)):
            return False
        log.info("store %d: the codes of %d passages come from a snapshot", store, covers.count)
        fresh.restore(kept.dense, kept.held(by_number), kept.chunks, places)
        fresh.checked, fresh.saved = False, fresh.dense
        return True

    def _fill(self, store: int, fresh: Store, listed: Sequence[Searchable], lost: list[int]) -> None:
        try:
            fresh.swap_vectors(self._fitting(fresh.rows.file, listed, fresh.rows))
        except FaissRefused as error:
            log.warning("the search of store %d stays exact: %s", store, error)
        for held in self._kept(fresh.rows.file, listed, lost):
            fresh.hold(held)
        if isinstance(fresh.dense, Approximate):
            fresh.dense.tighten()

    def check(self, store: int, stop: threading.Event | None = None) -> bool | None:
        """Whether all vectors were whole in their file; the others are made again. None when told to stop."""
        with self._catalog.read() as tx:
            file, listed = stores.vector_file(tx, store), documents.searchable(tx, store)
        lost = list[int]()
        for _ in self._kept(file, listed, lost):
            if stop is not None and stop.is_set():
                return None
        self._mend_all(store, lost)
        return not lost

    def dense(
        self, store: int, opened: Store, stop: threading.Event | None = None
    ) -> tuple[Dense, dict[int, Sequence[int]]] | None:
        """All vectors of an open store in a new index, and the chunks of each document that it has.

        None when told to stop. Raises FaissRefused where it cannot be trained.
        """
        with self._catalog.read() as tx:
            file, listed = stores.vector_file(tx, store), documents.searchable(tx, store)
        dense = self._fitting(file, listed, opened.rows)
        known, lost = dict[int, Sequence[int]](), list[int]()
        for held in self._kept(file, listed, lost):
            if stop is not None and stop.is_set():
                return None
            dense.add(np.concatenate([kept.chunks for _, kept in held]), np.concatenate([k.vectors for _, k in held]))
            known |= {one.document: packed(kept.chunks.tolist()) for one, kept in held}
        if isinstance(dense, Approximate):
            dense.tighten()
        self._mend_all(store, lost)
        return dense, known

    def catch_up(self, store: int, fresh: Store) -> None:
        """What changed since, and what was mended. Who calls holds the writing lock and alone knows the store."""
        with self._catalog.read() as tx:
            version, file = stores.version(tx, store), stores.vector_file(tx, store)
            known = (fresh.version, fresh.rows.file, len(fresh.documents))
            if known == (version, file, documents.count_searchable(tx, store)):
                return
            now = {one.document: one for one in documents.searchable(tx, store)}
            if file != fresh.rows.file:
                fresh.rows.relocate(file, *fresh.located({n: one.block for n, one in now.items()}))
            if version == fresh.version and len(now) == len(fresh.documents):
                return
            for gone in fresh.documents - now.keys():
                fresh.remove(gone)
            with self._files.reading(file) as read:

                def new() -> Iterator[Indexed]:
                    for numbers in in_batches(sorted(now.keys() - fresh.documents)):
                        for one in chunks.of_documents(tx, numbers):
                            block = now[one.document].block
                            kept = read(one.document, block)
                            yield one.indexed(kept.vectors, block) if kept else one.indexed(self.encoded(one), None)

                fresh.add(new())
            for one in now.values():
                fresh.retag(one.document, one.attributes)
            fresh.version = version

    def texts(self, store: int, after: int = 0, stop: threading.Event | None = None) -> Iterator[Passages]:
        """Of the documents that are there now and whose chunks have higher numbers; fewer when told to stop."""
        with self._catalog.read() as tx:
            numbers = chunks.documents_after(tx, store, after)
        for batch in in_batches(numbers):
            if stop is not None and stop.is_set():
                return
            with self._catalog.read() as tx:
                read = chunks.of_documents(tx, batch)
            yield from read

    def forget(self, store: int) -> None:
        """What is kept of a store beside the truth, once it is deleted."""
        self._snapshots.drop(store)

    def _opened(self, folder: Path) -> Lexical | None:
        try:
            return Lexical(folder)
        except ValueError as error:
            log.warning("tantivy cannot read a snapshot (%s); the words are read from the texts", error)
            return None

    def _kept(
        self, file: str, listed: Sequence[Searchable], lost: list[int]
    ) -> Iterator[Sequence[tuple[Searchable, Kept]]]:
        """The documents with their vectors, many at once. Those whose vectors are lost are told in `lost`."""
        held: list[tuple[Searchable, Kept]] = []
        with self._files.reading(file) as read:
            for one in listed:
                kept = read(one.document, one.block)
                if kept is None:
                    lost.append(one.document)
                else:
                    held.append((one, kept))
                if len(held) == BATCH:
                    yield held
                    held = []
        if held:
            yield held

    def _fitting(self, file: str, listed: Sequence[Searchable], rows: Rows) -> Dense:
        """An index of the kind that suits so many vectors, with nothing in it yet, trained on some of them."""
        dimension, count = self._embedder.dimension, self._count(listed)
        factory = self._tiers.factory(count, dimension)
        if factory is None:
            return Exact(dimension)
        return Approximate(dimension, factory, self._sample(file, listed, sample_size(factory)), rows, count)

    def _count(self, listed: Sequence[Searchable]) -> int:
        """Of their vectors."""
        return sum(one.block.count(self._embedder.dimension) for one in listed if one.block is not None)

    def _sample(self, file: str, listed: Sequence[Searchable], size: int) -> Vectors:
        """Vectors of documents drawn at random; one large document is never the most of them."""
        most, count, drawn = max(1, size // SPREAD), 0, [np.zeros((0, self._embedder.dimension), np.float32)]
        with self._files.reading(file) as read:
            for one in random.sample(listed, len(listed)):
                kept = read(one.document, one.block)
                if kept is not None:
                    chosen = random.sample(range(len(kept.vectors)), min(most, len(kept.vectors)))
                    drawn.append(kept.vectors[chosen])
                    count += len(chosen)
                if count >= size:
                    break
        return np.concatenate(drawn)

    def _mend_all(self, store: int, lost: Sequence[int]) -> None:
        if lost:
            log.warning("the vectors of %d documents are lost or damaged; they are made again", len(lost))
            self._reserve(store)
            for document in lost:
                self._mend(document)

    def _reserve(self, store: int) -> None:
        with self._catalog.writing, self._catalog.read() as tx:
            ends = [one.block.end for one in documents.searchable(tx, store) if one.block is not None]
            if ends:
                self._files.reserve(stores.vector_file(tx, store), max(ends))

    def _mend(self, document: int) -> None:
        with self._catalog.read() as tx:
            passages = chunks.of_document(tx, document)
            if passages is None:  # removed meanwhile
                return
            place = documents.place(tx, document)
            with self._files.reading(stores.vector_file(tx, place.store)) as read:
                if read(document, place.block) is not None:  # in another file meanwhile
                    return
        vectors = self.encoded(passages)
        with self._catalog.writing:
            with self._catalog.write() as tx:
                if chunks.of_document(tx, document) is None:
                    return
                place = documents.place(tx, document)
                file = stores.vector_file(tx, place.store)
                documents.keep_block(tx, document, self._files.append(file, document, passages.chunks, vectors))
            if place.block is not None:
                self._files.erase(file, place.block)

    def encoded(self, passages: Passages) -> Vectors:
        """Vectors of the texts, as they would come back from the file."""
        texts = [indexed_text(passages.filename, entry.headings, entry.text) for entry in passages.entries]
        groups = (texts[start : start + GROUP] for start in range(0, len(texts), GROUP))
        return rounded(np.concatenate([self._embedder.encode(group) for group in groups]))


def in_batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), TEXTS):
        yield numbers[start : start + TEXTS]
