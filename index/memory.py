"""The one door to the memory: files, stores, documents in them, and search.

    memory = Memory(Path("data"), load_embedder(), load_reader())
    file = memory.add_file("river.md", b"# Rivers ...")
    memory.attach("default", file.id)
    memory.wait("default", file.id)
    hits = memory.search("default", "Which river is the longest?")

Synchronous and thread-safe. One process at a time owns a data folder. What a method returned is on disk. Stores go by
id, by name, or by an alias (`memory.aliases`). A search that starts after a document became `completed` sees it; one
that starts after a removal does not. Deleted text leaves the disk at once, originals as soon as no other file has the
same bytes. (The single words of a large store that was opened in the last minutes may stay minutes longer: keeper.py.
In PostgreSQL its bytes may stay: postgres.py.)

Each file, store and alias has an owner, an opaque text that only the application understands. What a `sight` does not
hold is not found, as if it were not there. Without one ids are anybody's, and names the default owner's.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from index.aliases import Aliases
from index.catalog import Catalog, chunks, documents, stores
from index.checks import DEFAULT_STORE
from index.dense import Tiers
from index.errors import CatalogAway, MilvusAway
from index.exporting import Exporter
from index.facets import new_id, now
from index.facets.documents import Documents
from index.facets.files import Files
from index.facets.stores import Stores
from index.folderlock import FolderLock
from index.importing import Importer
from index.ingest import Ingest
from index.keeper import Keeper
from index.lexical import KIND
from index.loading import Loader
from index.milvus import Milvus
from index.originals import Originals
from index.parse import Limits
from index.rank import DENSE_WEIGHT
from index.reembed import settle
from index.remote import RemoteLoader
from index.removal import Removal
from index.search import Searcher
from index.shelf import Shelf
from index.snapshot import Snapshots
from index.tiers import Trainer
from index.types import OWNER, Chunk, Copied, Embedder, Hits, PassageReader, Recall, Sight, Stats
from index.vectors import VectorFiles

__all__ = ["DEFAULT_STORE", "Memory"]


class Memory(Files, Stores, Documents):
    """An open data folder. Close it: what is being ingested then waits for the next opening.

    `embedder` and `reader` are those it was given: whoever wants vectors or judgements of other texts may use them too.
    `catalog_url`: PostgreSQL's address, where the catalog is to be there; empty for SQLite in the folder.
    `filtered`: what is ingested from now on is found without the garbage in it (garbage.py). `only_distinct` and
    `search_timeout` hold for searches that say nothing else. `milvus`: where the indexes are, instead of in RAM.
    """

    def __init__(
        self,
        data_dir: Path,
        embedder: Embedder,
        reader: PassageReader | None = None,
        *,
        workers: int = 2,
        limits: Limits | None = None,
        tiers: Tiers | None = None,
        filtered: bool = True,
        only_distinct: bool = True,
        search_timeout: float | None = None,
        catalog_url: str = "",
        milvus: Milvus | None = None,
    ) -> None:
        tiers = tiers or Tiers()
        tiers.check(embedder.dimension)
        data_dir.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            opened.callback(FolderLock(data_dir / "lock").release)
            self._folder, self._settled = data_dir, set()
            self._catalog = Catalog(data_dir / "catalog.sqlite", catalog_url)
            opened.callback(self._catalog.close)
            settle(self._catalog, embedder, data_dir)
            self._originals = Originals(data_dir / "originals")
            self.embedder, self.reader, self._limits = embedder, reader, limits or Limits()
            vectors = VectorFiles(self._catalog.vectors, embedder.dimension, embedder.fingerprint)
            snapshots = Snapshots(self._catalog.words, KIND)
            loader = Loader(self._catalog, vectors, snapshots, embedder, tiers)
            if milvus is not None:
                opened.callback(milvus.close)
                loader = RemoteLoader(self._catalog, vectors, snapshots, embedder, milvus)
            self._shelf = Shelf(self._catalog, vectors, snapshots, loader)
            self._catalog.in_doubt = self._shelf.close_all  # they may disagree with the catalog now
            self._removal = Removal(self._catalog, self._originals, self._shelf)
            self._shelf.get(self._recover())
            self._searcher = Searcher(self._catalog, self._shelf, embedder, reader, only_distinct, search_timeout)
            self.aliases = Aliases(self._catalog, self._shelf)
            self.exporter = Exporter(self._catalog, self._originals, self._shelf, loader, embedder)
            self.importer = Importer(self._catalog, self._originals, self._shelf, loader, embedder, new_id, self.spool)
            self._trainer = Trainer(self._shelf, loader, tiers)
            self._keeper = Keeper(self._catalog, self._shelf, loader, snapshots, self._trainer)
            self._used: dict[int, int] = {}
            self._mourners: list[Callable[[], None]] = []
            self._watchers: list[Callable[[float], None]] = []
            self._opened, self._closed = opened.pop_all(), False
        self._ingest = Ingest(
            self._catalog, self._originals, self._shelf, embedder, self._limits, filtered, workers, self.tidy
        )

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._ingest.close()
        for ending in (self.tidy, self._keeper.close):
            with suppress(CatalogAway):  # the next start does it
                ending()
        self._shelf.close_all()
        self._opened.close()

    def search(
        self,
        store: str,
        queries: str | Sequence[str],
        k: int = 10,
        filters: Mapping[str, object] | None = None,
        rerank: bool = True,
        threshold: float = 0.0,
        dense_weight: float = DENSE_WEIGHT,
        only_distinct: bool | None = None,
        neighbours: int = 0,
        timeout: float | None = None,
        until_sure: bool = False,
    ) -> Hits:
        """The k best chunks, best first, scores in [0, 1]. With a reader (and `rerank`) the best carry marks.

        Unless `only_distinct` is false, one that says the same as a better one is left out. With `neighbours` a hit
        carries up to so many tokens of what stands around it in its section. After `timeout` seconds the reader reads
        no more; with `until_sure` also once a hit is so probable that no other is likely to beat it.
        """
        with self._catalog.read() as tx:
            number, store_id = stores.usable(tx, store, now())
        self._used[number] = now()
        began = time.perf_counter()
        try:
            hits, version, complete = self._searcher.search(
                number,
                queries,
                k,
                filters,
                rerank,
                threshold,
                dense_weight,
                only_distinct,
                neighbours,
                timeout,
                until_sure,
            )
        except MilvusAway:
            self._shelf.close(number)  # whatever it comes back with is compared with the truth
            raise
        for told in self._watchers:
            told(time.perf_counter() - began)
        return Hits(hits, store_id, version, complete)

    def watch(self, told: Callable[[float], None]) -> None:
        """From now on `told` hears after each search, in its thread, how many seconds it took."""
        self._watchers.append(told)

    def on_expiry(self, told: Callable[[], None]) -> None:
        """From now on `told` is called whenever documents have expired."""
        self._mourners.append(told)

    def chunk(self, chunk_id: str, sight: Sight | None = None) -> Chunk:
        with self._catalog.read() as tx:
            return chunks.by_id(tx, chunk_id, sight)

    def stats(self) -> Stats:
        with self._catalog.read() as tx:
            return documents.count(tx)

    def spool(self) -> IO[bytes]:
        """An empty file beside the documents, without a name: whatever ends the process removes it."""
        return tempfile.TemporaryFile(dir=self._folder)

    def recall(self) -> Recall:
        return self._trainer.recall

    def copied(self) -> Copied:
        return self._trainer.copied

    def tidy(self) -> None:
        """Write down which stores were used; forget what has expired. Runs every minute or so."""
        used, self._used = self._used, {}
        with self._catalog.write() as tx:
            for store, moment in used.items():
                stores.change(tx, store, {"last_active_at": moment})
        if self._removal.expired(now()):
            for told in self._mourners:
                told()
        self._removal.compact()

    def _recover(self) -> int:
        """End what a crash interrupted between two steps. The number of the default store, made if need be."""
        self.settle(OWNER)
        with self._catalog.read() as tx:
            default = stores.number(tx, DEFAULT_STORE)
        self._removal.sweep()
        self._catalog.forget()
        return default
