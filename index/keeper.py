"""Keeps large stores quick to search and to open, in a thread of its own that nobody waits for.

First the dense index, see tiers.py; then the words. A store whose codes came from a snapshot has its vectors checked at
once. Codes are written again when a tenth is new, and at the end; that takes seconds, so it is done after removals too.

A store that was opened from its snapshot has its words on the disk, where each change costs fsyncs; they are read into
RAM soon after. A snapshot that lacks more than a tenth of the store is brought up to date, a missing one is made.
Tantivy leaves the words of removed documents in its files until it merges them, and cannot be told to: so a removal
drops the snapshot at once, and the next one is made from the texts.
"""

import logging
import threading
import time
from collections.abc import Iterator

from index import codes
from index.catalog import Catalog, chunks
from index.errors import CatalogAway
from index.lexical import Entry, Lexical
from index.loading import Loader
from index.shelf import Shelf
from index.snapshot import Snapshots
from index.store import Store, words
from index.tiers import Trainer

LEAST = 5_000  # chunks; the words of fewer are read again in less than a second
GROWTH = 1.1
REST = 60.0  # seconds between two looks; at least as long as the last one took
log = logging.getLogger(__name__)


class Keeper:
    """Close it before the catalog: a snapshot that only lacks what is new is then brought up to date."""

    def __init__(self, catalog: Catalog, shelf: Shelf, loader: Loader, snapshots: Snapshots, trainer: Trainer) -> None:
        self._catalog, self._shelf, self._loader, self._snapshots = catalog, shelf, loader, snapshots
        self._trainer = trainer
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._trainer.close()
        for store, opened in self._shelf.opened().items():
            if not opened.local:
                continue
            if self._snapshots.covers(store) is not None:
                self._save(store)
            if len(opened) >= LEAST:
                self._save_codes(store, opened, growth=1.0)

    def keep(self, stop: threading.Event | None = None) -> None:
        for store, opened in self._shelf.opened().items():
            if not opened.local:
                continue
            self._trainer.train(store, opened, stop)
            self._trainer.copy(opened, stop)
            self._trainer.sample(opened, stop)
            self._check(store, opened, stop)
            if opened.folder is not None:
                self._read_words(store, opened, stop)
            if len(opened) < LEAST:
                continue
            covers = self._snapshots.covers(store)
            if covers is None or len(opened) > covers.count * GROWTH:
                self._save(store, stop)
            self._save_codes(store, opened)

    def _run(self) -> None:
        rest = REST
        try:
            self._check_all(self._closing)
        except Exception:
            log.exception("vectors could not be checked; this is tried again")
        while not self._closing.wait(rest):
            began = time.monotonic()
            try:
                self.keep(self._closing)
            except CatalogAway:  # the catalog has told the log
                continue
            except Exception:
                log.exception("the keeper stumbled; it tries again")
            rest = max(REST, time.monotonic() - began)

    def _check_all(self, stop: threading.Event) -> None:
        """Not in `_run`, which would hold the last store for as long as it waits."""
        for store, opened in self._shelf.opened().items():
            self._check(store, opened, stop)

    def _check(self, store: int, opened: Store, stop: threading.Event | None) -> None:
        if opened.checked:
            return
        whole = self._loader.check(store, stop)
        if whole is False:
            with self._catalog.writing:
                self._shelf.moved(store)
        opened.checked = whole is not None

    def _save_codes(self, store: int, opened: Store, growth: float = GROWTH) -> None:
        """Unless there are some of the same index, and the store has not grown by so much since."""
        covers = self._snapshots.covers(store, self._loader.codes)
        few = covers is not None and covers.count <= len(opened) < covers.count * growth
        if covers is not None and opened.saved is opened.dense and (few or covers.version == opened.version):
            return
        folder = self._snapshots.aside()
        try:
            written = codes.write(folder, opened)
            if written is None:
                return
            self._snapshots.seal(folder, written, self._loader.codes)
            with self._catalog.writing, self._catalog.read() as tx:
                if self._shelf.opened().get(store) is opened and chunks.is_whole(tx, store, written):
                    self._snapshots.publish(store, folder, self._loader.codes)
                    opened.saved = opened.dense
        finally:
            self._snapshots.discard(folder)

    def _read_words(self, store: int, opened: Store, stop: threading.Event | None) -> None:
        """From the texts into RAM; searches and changes go on meanwhile."""
        lexical, known = Lexical(), set[int]()

        def read() -> Iterator[Entry]:
            for passages in self._loader.texts(store, 0, stop):
                known.add(passages.document)
                yield from words(passages)

        lexical.add(read())
        if not (stop and stop.is_set()):
            self._shelf.swap_words(store, opened, lexical, known)

    def _save(self, store: int, stop: threading.Event | None = None) -> None:
        """What the snapshot has, and what is newer; without one that is whole, everything."""
        before = self._snapshots.open(store)
        with self._catalog.read() as tx:
            covers = chunks.extent(tx, store)
            if before is not None and chunks.extent(tx, store, before[1].last) != before[1]:
                self._snapshots.discard(before[0])
                before = None
        folder, covered = (self._snapshots.aside(), 0) if before is None else (before[0], before[1].last)
        try:
            if covers.last > covered:
                texts = self._loader.texts(store, covered, stop)
                new = (one for one in texts if one.entries[-1].chunk <= covers.last)
                Lexical(folder).add(entry for one in new for entry in words(one))
                self._snapshots.seal(folder, covers)
                with self._catalog.writing:  # nothing may be removed between the look and the publishing
                    with self._catalog.read() as tx:
                        whole = chunks.extent(tx, store, covers.last) == covers
                    if whole and not (stop and stop.is_set()):
                        self._snapshots.publish(store, folder)
        finally:
            self._snapshots.discard(folder)
