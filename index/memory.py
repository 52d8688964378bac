"""The one door to the memory: files, stores, documents in them, and search.

    memory = Memory(Path("data"), load_embedder(), load_reader())
    file = memory.add_file("river.md", b"# Rivers ...")
    memory.attach("default", file.id)
    memory.wait("default", file.id)
    hits = memory.search("default", "Which river is the longest?")

Synchronous and thread-safe. One process at a time owns a data folder. What a method returned is on disk. Stores go by
id, by name, or by an alias (`memory.aliases`). A search that starts after a document became `completed` sees it; one
that starts after a removal does not. What a `sight` does not hold is not found, as if it were not there. Deleted text
leaves the disk at once, originals as soon as no other file has the same bytes. (The single words of a large store that
was opened in the last minutes may stay minutes longer: keeper.py. In PostgreSQL its bytes may stay: postgres.py.)
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal

from index.aliases import Aliases
from index.catalog import Catalog, Transaction, aliases, chunks, documents, files, stores
from index.catalog.paging import Cut
from index.checks import (
    DEFAULT_STORE,
    FIRST_STORE,
    check_attachment,
    check_attributes,
    check_days,
    check_filename,
    check_metadata,
    check_store_name,
)
from index.dense import Tiers
from index.errors import CatalogAway, InvalidRequest, MilvusAway
from index.exchange import Exchange
from index.folderlock import FolderLock
from index.ingest import Ingest
from index.keeper import Keeper
from index.lexical import KIND
from index.loading import Loader
from index.milvus import Milvus
from index.originals import Originals
from index.parse import Limits, parse
from index.rank import DENSE_WEIGHT
from index.reembed import settle
from index.remote import RemoteLoader
from index.removal import Removal
from index.search import Searcher
from index.shelf import Shelf
from index.snapshot import Snapshots
from index.tiers import Trainer
from index.types import (
    Attachment,
    Batch,
    Chunk,
    Chunking,
    Copied,
    Embedder,
    File,
    FileStatus,
    Hits,
    Page,
    PassageReader,
    Recall,
    Scalar,
    Sight,
    Stats,
    StoreFile,
    StoreInfo,
)
from index.vectors import VectorFiles

__all__ = ["DEFAULT_STORE", "Memory"]

LARGEST_BATCH = 2000
Order = Literal["asc", "desc"]


class Memory:
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
            self.exchange = Exchange(data_dir, self._catalog, self._originals, self._shelf, loader, embedder, _new_id)
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

    # Files

    def add_file(self, filename: str, data: bytes, purpose: str = "assistants", expires_at: int | None = None) -> File:
        check_filename(filename)
        sha256 = self._originals.put(data)  # the slow part, outside the lock
        file = File(_new_id("file-"), filename, len(data), _now(), purpose, sha256, expires_at)
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

    def text(self, file_id: str) -> str:
        """What the parser reads in a file; chunk offsets count in it. Raises ParseError."""
        with self._catalog.read() as tx:
            kept = files.text(tx, file_id)
        if kept is not None:
            return kept
        file = self.file(file_id)
        data = self.content(file_id)
        text = parse(file.filename, data, self._limits).text
        with self._catalog.write() as tx:
            files.keep_text(tx, files.number(tx, file_id), text)
        return text

    # Stores

    def create_store(
        self,
        name: str = "",
        metadata: Mapping[str, str] | None = None,
        description: str = "",
        expires_after_days: int | None = None,
    ) -> StoreInfo:
        check_store_name(name)
        info = _new_store(name, check_metadata(metadata or {}), description, check_days(expires_after_days))
        with self._catalog.write() as tx:
            _check_unaliased(tx, name)
            stores.add(tx, info)
            return stores.get(tx, info.id)

    def store(self, id_or_name: str, sight: Sight | None = None) -> StoreInfo:
        with self._catalog.read() as tx:
            return stores.get(tx, id_or_name, sight)

    def stores(
        self,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
        order: Order = "desc",
        sight: Sight | None = None,
    ) -> Page[StoreInfo]:
        with self._catalog.read() as tx:
            return stores.page(tx, Cut(limit, after, before, order), sight)

    def update_store(
        self,
        store: str,
        *,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        description: str | None = None,
        expires_after_days: int | None = None,
        never_expires: bool = False,
    ) -> StoreInfo:
        """Changes what is given. `never_expires` takes an expiry away."""
        values: dict[str, object] = {}
        if metadata is not None:
            values["metadata"] = check_metadata(metadata)
        if description is not None:
            values["description"] = description
        if expires_after_days is not None or never_expires:
            values["expires_after_days"] = None if never_expires else check_days(expires_after_days)
        with self._catalog.write() as tx:
            info = stores.get(tx, store)
            if name is not None and name != info.name:
                _check_unaliased(tx, name)
                values["name"] = check_store_name(name)
            stores.change(tx, stores.number(tx, info.id), values)
            return stores.get(tx, info.id)

    def delete_store(self, store: str) -> None:
        """The store and its documents; the files stay. Not while an alias points to it."""
        self._removal.store(store)

    def note(self, store: str, key: str) -> str | None:
        """What an application keeps with a store under this key. It goes when the store goes."""
        with self._catalog.read() as tx:
            return stores.note(tx, stores.number(tx, store), key)

    def keep_note(self, store: str, key: str, text: str | None) -> None:
        """In the place of what was kept; None keeps nothing."""
        with self._catalog.write() as tx:
            stores.keep_note(tx, stores.number(tx, store), key, text)

    # Documents

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
        batch_id = _new_id("vsfb_")
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

    # Search

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
    ) -> Hits:
        """The k best chunks, best first, scores in [0, 1]. With a reader (and `rerank`) the best carry marks.

        Unless `only_distinct` is false, one that says the same as a better one is left out. With `neighbours` a hit
        carries up to so many tokens of what stands around it in its section. After `timeout` seconds the reader reads
        no more.
        """
        with self._catalog.read() as tx:
            number, store_id = stores.usable(tx, store, _now())
        self._used[number] = _now()
        began = time.perf_counter()
        try:
            hits, version, complete = self._searcher.search(
                number, queries, k, filters, rerank, threshold, dense_weight, only_distinct, neighbours, timeout
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
        if self._removal.expired(_now()):
            for told in self._mourners:
                told()
        self._removal.compact()

    def _recover(self) -> int:
        """End what a crash interrupted between two steps. The number of the default store, made if need be."""
        with self._catalog.write() as tx:
            if not aliases.is_one(tx, DEFAULT_STORE):
                first = _new_store(FIRST_STORE)
                stores.add(tx, first)
                aliases.point(tx, DEFAULT_STORE, stores.number(tx, first.id), first.created_at)
            default = stores.number(tx, DEFAULT_STORE)
        self._removal.sweep()
        self._catalog.forget()
        return default

    def _document(self, store: int, file_id: str) -> StoreFile:
        with self._catalog.read() as tx:
            return self._ingest.told(store, documents.get(tx, store, file_id))

    def _attach(self, store: str, attachments: Sequence[Attachment], batch_id: str | None) -> int:
        """The number of the store."""
        checked = [check_attachment(attachment) for attachment in attachments]
        with self._catalog.writing:
            with self._catalog.write() as tx:
                number, _ = stores.usable(tx, store, _now())
                batch = stores.add_batch(tx, number, batch_id, _now()) if batch_id else None
                changes = [documents.attach(tx, number, one, batch, _now()) for one in checked]
            for change in filter(None, changes):
                if change.attributes is None:
                    self._shelf.remove(change.place)
                else:
                    self._shelf.retag(number, change.place.document, change.attributes)
        self._ingest.wake()
        return number


def _check_unaliased(tx: Transaction, name: str) -> None:
    if aliases.is_one(tx, name):
        raise InvalidRequest("name", f"{name!r} is an alias; choose another name for the store")


def _now() -> int:
    return int(time.time())


def _new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(12)


def _new_store(
    name: str, metadata: Mapping[str, str] | None = None, description: str = "", days: int | None = None
) -> StoreInfo:
    return StoreInfo(_new_id("vs_"), name, _now(), _now(), metadata or {}, {}, 0, description, days)
