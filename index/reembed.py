"""Another embedder for a memory: its vectors are made beside the old ones, then all stores are swapped in one commit.

    reembed(Path("data"), load_embedder("BAAI/bge-small-en-v1.5"))

A server that owns the folder goes on searching, ingesting and deleting with the old vectors meanwhile: this needs no
more of the folder than the catalog and the next file of each store (vectors.py). Only a catalog in PostgreSQL has one
user at a time: then the server must be stopped first. Who is killed goes on where he was.
The swap is for who owns the folder: this call where nobody does, else the server, when it is next started with the new
embedder. What was ingested in between is then embedded first. Old vectors leave the disk with the swap. Passages stay
as they were split; one that is longer than the new embedder's window is cut for its vector only.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np

from index.blocks import Block
from index.catalog import Catalog, chunks, documents, renewal, stores
from index.catalog.chunks import Passages
from index.checks import check_embedder
from index.errors import FolderFault
from index.folderlock import FolderLock
from index.store import indexed_text
from index.types import Embedder, Vectors
from index.vectors import VectorFiles, next_name

GROUP = 64  # chunks embedded at once
READ = 64  # documents read at once
Told = Callable[[int, int], None]  # documents that have new vectors, and all
log = logging.getLogger(__name__)


def reembed(data_dir: Path, embedder: Embedder, told: Told = lambda done, total: None, catalog_url: str = "") -> bool:
    """Whether the new vectors are swapped in; if not, a server owns the folder and will do it. Raises FolderFault."""
    path = data_dir / "catalog.sqlite"
    if not (path.exists() or path.with_suffix(".postgres").exists()):
        raise FolderFault(f"there is no memory in {data_dir}; name the folder that the server keeps it in")
    with ExitStack() as held:
        held.enter_context(_alone(data_dir))
        if catalog_url:
            held.callback(_owned(data_dir).release)
        catalog = held.enter_context(closing(Catalog(path, catalog_url)))
        with catalog.write() as tx:
            if renewal.embedder(tx) in (None, embedder.fingerprint):
                return True
            renewal.begin(tx, embedder.fingerprint)
        renewed = _Renewal(catalog, embedder)
        renewed.fill(told)
        if not catalog_url:
            try:
                held.callback(FolderLock(data_dir / "lock").release)
            except FolderFault:
                return False
        renewed.swap()
    return True


def settle(catalog: Catalog, embedder: Embedder, data_dir: Path) -> None:
    """Let a catalog have this embedder; who calls owns its folder. Raises EmbedderMismatch where it cannot."""
    made_with = catalog.fact(renewal.EMBEDDER, embedder.fingerprint)
    with catalog.read() as tx:
        ready = renewal.is_ready(tx, embedder.fingerprint)
    if made_with == embedder.fingerprint or not ready:
        check_embedder(made_with, embedder.fingerprint, data_dir)
    else:
        with _alone(data_dir):
            _Renewal(catalog, embedder).swap()
        log.info("the vectors in %s were made by %s and are now those of %s", data_dir, made_with, embedder.fingerprint)


def _owned(data_dir: Path) -> FolderLock:
    try:
        return FolderLock(data_dir / "lock")
    except FolderFault as error:
        raise FolderFault(
            f"a server owns {data_dir}, and only one process at a time may use a catalog in PostgreSQL: stop the "
            "server, run `cogcore reembed`, then start it with the new embedder"
        ) from error


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    try:
        lock = FolderLock(data_dir / "reembed.lock")
    except FolderFault as error:
        raise FolderFault(f"another `cogcore reembed` is at work in {data_dir}; wait until it has ended") from error
    try:
        yield
    finally:
        lock.release()


class _Renewal:
    def __init__(self, catalog: Catalog, embedder: Embedder) -> None:
        self._catalog, self._embedder = catalog, embedder
        self._files = VectorFiles(catalog.vectors, embedder.dimension, embedder.fingerprint)
        with catalog.read() as tx:
            named = stores.vector_files(tx)
        self._names = {store: next_name(name) for store, name in named.items()}
        self._made = {store: self._files.written(name) for store, name in self._names.items()}

    def fill(self, told: Told) -> None:
        """Until nothing is missing, and then say so in the catalog."""
        while True:
            with self._catalog.write() as tx:
                expected = documents.blocks(tx)
                missing = self._missing(expected)
                if not missing:
                    renewal.make_ready(tx, self._embedder.fingerprint)
                    return
            total = sum(map(len, expected.values()))
            done = total - sum(map(len, missing.values()))
            told(done, total)
            for store, numbers in missing.items():
                for made in self._embedded(store, numbers):
                    done += made
                    told(done, total)

    def swap(self) -> None:
        """Who calls owns the folder. A crash leaves all as it was, or all as it shall be."""
        self.fill(lambda done, total: None)
        with self._catalog.writing:
            with self._catalog.write() as tx:
                blocks = {
                    store: {document: self._made[store][document] for document, _ in held}
                    for store, held in documents.blocks(tx).items()
                }
                for store, target in renewal.swap(tx, self._embedder.fingerprint, blocks).items():
                    if store in blocks:
                        self._files.promote(self._names[store], target)
            # The old files, the other name of the new ones, and what no row names in these.
            with self._catalog.read() as tx:
                named = stores.vector_files(tx)
            self._files.sweep({name: blocks.get(store, {}) for store, name in named.items()})

    def _missing(self, expected: Mapping[int, Sequence[tuple[int, Block]]]) -> dict[int, list[int]]:
        """Of each store: the documents whose vectors are to be made, in the order of the old ones."""
        found = {}
        for store, held in expected.items():
            made = self._made.setdefault(store, {})
            lacking = [document for document, _ in held if document not in made]
            if lacking:
                found[store] = lacking
        return found

    def _embedded(self, store: int, numbers: Sequence[int]) -> Iterator[int]:
        """Makes their vectors; how many are ended each time."""
        for start in range(0, len(numbers), READ):
            with self._catalog.read() as tx:
                read = chunks.of_documents(tx, numbers[start : start + READ])
            for group in _groups(read):
                for passages, vectors in zip(group, self._encoded(group), strict=True):
                    self._keep(store, passages, vectors)
                yield len(group)

    def _keep(self, store: int, passages: Passages, vectors: Vectors) -> None:
        """Unless it was removed meanwhile. The lock is held against a server, which erases after it has committed."""
        with self._catalog.write() as tx:
            if renewal.is_there(tx, passages.document):
                name = self._names.setdefault(store, next_name(stores.vector_file(tx, store)))
                block = self._files.append(name, passages.document, passages.chunks, vectors)
                self._made.setdefault(store, {})[passages.document] = block

    def _encoded(self, group: Sequence[Passages]) -> list[Vectors]:
        """Of each document, in calls of a bounded size."""
        texts = [indexed_text(one.filename, e.headings, e.text) for one in group for e in one.entries]
        parts = [self._embedder.encode(texts[at : at + GROUP]) for at in range(0, len(texts), GROUP)]
        ends = np.cumsum([len(one.entries) for one in group])
        return np.split(np.concatenate(parts), ends[:-1])


def _groups(read: Sequence[Passages]) -> Iterator[list[Passages]]:
    """Documents together that fill a call of the embedder."""
    held, size = list[Passages](), 0
    for one in read:
        held.append(one)
        size += len(one.entries)
        if size >= GROUP:
            yield held
            held, size = [], 0
    if held:
        yield held
