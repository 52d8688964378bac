"""From the truth to an open store: the catalog's rows and the vector file become its indexes.

Nobody waits for it but who asked: it reads a snapshot of the catalog, and what changes meanwhile is caught up with at
the end, under the catalog's writing lock. Vectors that are lost or damaged are made again from the texts first.
"""

import logging
from collections.abc import Iterator

import numpy as np

from index.catalog import Catalog, Transaction, chunks, documents, stores
from index.catalog.chunks import Indexed, Passages
from index.store import Store, indexed_text
from index.types import Embedder, Vectors
from index.vectors import VectorFiles, rounded

GROUP = 64  # chunks embedded at once
log = logging.getLogger(__name__)


class Loader:
    """Stateless beside what it was given."""

    def __init__(self, catalog: Catalog, files: VectorFiles, embedder: Embedder) -> None:
        self._catalog, self._files, self._embedder = catalog, files, embedder

    def load(self, store: int) -> Store:
        """The store as it was when this began. Raises StoreNotFound."""
        lost: list[int] = []
        with self._catalog.read() as tx:
            fresh = Store(self._embedder.dimension, stores.version(tx, store))
            fresh.add(self._indexed(tx, store, lost))
        if lost:
            self._reserve(store)
            log.warning("the vectors of %d documents are lost or damaged; they are made again", len(lost))
            for document in lost:
                self._mend(document)
        return fresh

    def catch_up(self, store: int, fresh: Store) -> None:
        """What changed since, and what was mended. Who calls holds the writing lock and alone knows the store."""
        with self._catalog.read() as tx:
            version = stores.version(tx, store)
            now = {one.document: one for one in documents.searchable(tx, store)}
            if version == fresh.version and len(now) == len(fresh.documents):
                return
            for gone in fresh.documents - now.keys():
                fresh.remove(gone)
            new = [chunks.of_document(tx, document) for document in now.keys() - fresh.documents]
            with self._files.reading(stores.vector_file(tx, store)) as read:
                kept = [(one, read(one.document, now[one.document].block)) for one in new if one is not None]
            fresh.add(one.indexed(held.vectors if held else self._encoded(one)) for one, held in kept)
            for one in now.values():
                fresh.retag(one.document, one.attributes)
            fresh.version = version

    def _indexed(self, tx: Transaction, store: int, lost: list[int]) -> Iterator[Indexed]:
        """All documents but those whose vectors are lost; these are listed."""
        blocks = {one.document: one.block for one in documents.searchable(tx, store)}
        with self._files.reading(stores.vector_file(tx, store)) as read:
            for passages in chunks.of_store(tx, store):
                kept = read(passages.document, blocks[passages.document])
                if kept is None:
                    lost.append(passages.document)
                else:
                    yield passages.indexed(kept.vectors)

    def _reserve(self, store: int) -> None:
        with self._catalog.writing, self._catalog.read() as tx:
            ends = [one.block.end for one in documents.searchable(tx, store) if one.block is not None]
            if ends:
                self._files.reserve(stores.vector_file(tx, store), max(ends))

    def _mend(self, document: int) -> None:
        with self._catalog.read() as tx:
            passages = chunks.of_document(tx, document)
            if passages is None or self._is_kept(tx, document):  # removed, or moved to another file, meanwhile
                return
        vectors = self._encoded(passages)
        with self._catalog.writing:
            with self._catalog.write() as tx:
                if chunks.of_document(tx, document) is None:
                    return
                place = documents.place(tx, document)
                file = stores.vector_file(tx, place.store)
                documents.keep_block(tx, document, self._files.append(file, document, passages.chunks, vectors))
            if place.block is not None:
                self._files.erase(file, place.block)

    def _is_kept(self, tx: Transaction, document: int) -> bool:
        place = documents.place(tx, document)
        with self._files.reading(stores.vector_file(tx, place.store)) as read:
            return read(document, place.block) is not None

    def _encoded(self, passages: Passages) -> Vectors:
        texts = [indexed_text(passages.filename, entry.headings, entry.text) for entry in passages.entries]
        groups = (texts[start : start + GROUP] for start in range(0, len(texts), GROUP))
        return rounded(np.concatenate([self._embedder.encode(group) for group in groups]))
