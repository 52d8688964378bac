"""The truth about the memory: files, stores, documents and chunks, in one database; vectors lie beside it.

Each module here is a set of functions over a transaction, so that its user decides what belongs together:

    with catalog.write() as tx:
        files.add(tx, file)

One writer at a time, in this process and (see memory.py) among processes; readers see a snapshot and never wait.
SQL lives in this package and nowhere else. The database is SQLite, or PostgreSQL where its address is given.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, insert

from index.catalog import postgres, sqlite
from index.catalog.schema import facts, read_fact
from index.errors import CatalogAway, FolderFault

__all__ = ["Catalog", "Transaction", "glimpse"]

Transaction = Connection


class Database(Protocol):
    """Open from creation to `close`."""

    def read(self) -> AbstractContextManager[Transaction]: ...

    def write(self) -> AbstractContextManager[Transaction]: ...

    def forget(self) -> bool:
        """Let go of what was deleted, as far as the database can; False where it must be said again later."""

    def close(self) -> None: ...


class Catalog:
    """An open catalog. `writing` may be held around several writes, and around what must agree with them.

    `url` is PostgreSQL's address; empty for SQLite, at `path`. When the connection is lost while a transaction ends,
    nobody knows which end it took: then `in_doubt` is called, under the lock, and `doubted` stays until one looked.
    """

    def __init__(self, path: Path, url: str = "") -> None:
        self.vectors = path.with_suffix(".vectors")  # the folder of the vector files that its rows tell of
        self.words = path.with_suffix(".words")  # the folder of the lexical indexes' snapshots
        self.writing = threading.RLock()
        self.owes = False  # deleted text is still there
        self.doubted = False
        self.in_doubt: Callable[[], None] = lambda: None
        self._database: Database = postgres.Postgres(url, path) if url else _sqlite(path)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        with self._database.read() as tx:
            yield tx

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        ending = False
        with self.writing:
            try:
                with self._database.write() as tx:
                    yield tx
                    ending = True
            except CatalogAway:
                if ending:
                    self.doubted = True
                    self.in_doubt()
                raise

    def fact(self, key: str, value: str) -> str:
        """The fact kept under `key`; the first to ask writes it."""
        with self.write() as tx:
            found = read_fact(tx, key)
            if found is None:
                tx.execute(insert(facts).values(key=key, value=value))
            return found or value

    def forget(self) -> None:
        """Let deleted text go for good. What could not go yet is owed."""
        with self.writing:
            self.owes = not self._database.forget()

    def close(self) -> None:
        self._database.close()


@contextmanager
def glimpse(path: Path, url: str = "") -> Iterator[Transaction]:
    """Read a catalog that another process may own. Changes nothing in it, not its version either."""
    with postgres.glimpse(url) if url else sqlite.glimpse(path) as tx:
        yield tx


def _sqlite(path: Path) -> Database:
    if path.with_suffix(".postgres").exists():
        raise FolderFault(
            f"the data folder {path.parent} has its catalog in PostgreSQL; give its address (COGCORE_CATALOG_URL)"
        )
    return sqlite.SQLite(path, sqlite.open_catalog, "catalog")
