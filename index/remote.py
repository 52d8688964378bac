"""Stores whose indexes are in Milvus: opened by comparing these with the truth, and mending what differs.

What Milvus lacks is added from the vector file and the texts, what it has too much is deleted, and what it has under
the number of another chunk (a catalog from a backup gives its numbers again) is written over. Words are written before
vectors, whose checksums are the witness: so whoever is killed amid this leaves what the next opening finds.
"""

import logging
import secrets
from collections.abc import Sequence

import numpy as np

from index.blocks import Kept
from index.catalog import Catalog, chunks, documents, stores
from index.dense import Tiers
from index.errors import MilvusAway
from index.loading import Loader, in_batches
from index.milvus import Milvus, RemoteVectors, RemoteWords, names, prefix
from index.rows import Rows
from index.snapshot import Snapshots
from index.store import Store, words
from index.types import Embedder
from index.vectors import VectorFiles

log = logging.getLogger(__name__)


class RemoteLoader(Loader):
    """Raises MilvusAway where Milvus does not do its part, also when it is made."""

    def __init__(
        self, catalog: Catalog, files: VectorFiles, snapshots: Snapshots, embedder: Embedder, milvus: Milvus
    ) -> None:
        super().__init__(catalog, files, snapshots, embedder, Tiers())
        self._milvus = milvus
        self._folder = catalog.fact("folder", secrets.token_hex(6))
        with catalog.read() as tx:
            known = stores.vector_files(tx)
        milvus.sweep(prefix(self._folder), {name for store in known for name in self._names(store)})

    def load(self, store: int) -> Store:
        with self._catalog.read() as tx:
            version = stores.version(tx, store)
            file, listed = stores.vector_file(tx, store), documents.searchable(tx, store)
        in_vectors, in_words = self._names(store)
        vectors = RemoteVectors(self._milvus, in_vectors, self._embedder.dimension)
        lexical = RemoteWords(self._milvus, in_words)
        fresh = Store(self._embedder.dimension, version, Rows(file, self._files.rows))
        fresh.swap_vectors(vectors)
        fresh.swap_words(lexical)
        vectors.compare()
        lexical.compare()
        lost = list[int]()
        for held in self._kept(file, listed, lost):
            self._add_words(lexical, [one.document for one, kept in held if not _whole(vectors, lexical, kept)])
            fresh.hold(held)
        lexical.settle(fresh.rows.chunks)
        vectors.settle(fresh.rows.chunks)
        self._mend_all(store, lost)
        return fresh

    def forget(self, store: int) -> None:
        super().forget(store)
        try:
            for name in self._names(store):
                self._milvus.drop(name)
        except MilvusAway as error:
            log.warning("%s; what it has of a deleted store goes at the next start", error)

    def _add_words(self, lexical: RemoteWords, numbers: Sequence[int]) -> None:
        for batch in in_batches(numbers):
            with self._catalog.read() as tx:
                read = chunks.of_documents(tx, batch)
            lexical.add(entry for one in read for entry in words(one))

    def _names(self, store: int) -> tuple[str, str]:
        return names(self._folder, store, self._embedder.fingerprint)


def _whole(vectors: RemoteVectors, lexical: RemoteWords, kept: Kept) -> bool:
    """Whether Milvus had all of a document."""
    return bool(np.all(lexical.has(kept.chunks)) and np.all(vectors.has(kept.chunks, kept.vectors)))
