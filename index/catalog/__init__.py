"""The truth about the memory: files, stores, documents and chunks, in one SQLite database; vectors lie beside it.

Each module here is a set of functions over a transaction, so that its user decides what belongs together:

    with catalog.write() as tx:
        files.add(tx, file)

One writer at a time, in this process and (see memory.py) among processes; readers see a snapshot and never wait.
SQL lives in this package and nowhere else.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, create_engine, insert
from sqlalchemy.exc import DatabaseError

from index.catalog.schema import facts, open_database, read_fact
from index.errors import FolderFault

__all__ = ["Catalog", "Transaction", "glimpse"]

Transaction = Connection
log = logging.getLogger(__name__)


class Catalog:
    """An open catalog. `writing` may be held around several writes, and around what must agree with them."""

    def __init__(self, path: Path) -> None:
        self.vectors = path.with_suffix(".vectors")  # the folder of the vector files that its rows tell of
        self.words = path.with_suffix(".words")  # the folder of the lexical indexes' snapshots
        self.writing = threading.RLock()
        self.owes = False  # deleted text is still in the write-ahead log
        self._engine = open_database(path)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        with (
            self.writing,
            self._engine.connect().execution_options(immediate=True) as connection,
            connection.begin(),
        ):
            yield connection

    def fact(self, key: str, value: str) -> str:
        """The fact kept under `key`; the first to ask writes it."""
        with self.write() as tx:
            found = read_fact(tx, key)
            if found is None:
                tx.execute(insert(facts).values(key=key, value=value))
            return found or value

    def forget(self) -> None:
        """Fold the write-ahead log into the database and empty it: it still holds pages as they were."""
        with self.writing:
            raw = self._engine.raw_connection()
            try:
                busy, _, _ = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                raw.close()
        self.owes = bool(busy)
        if busy:
            log.warning("a long read kept the write-ahead log alive; deleted text leaves it within a minute or two")

    def close(self) -> None:
        self.forget()
        self._engine.dispose()


@contextmanager
def glimpse(path: Path) -> Iterator[Transaction]:
    """Read a catalog that another process may own. Changes nothing in it, not its version either."""
    address = f"file:{quote(str(path.absolute()))}"
    engine = create_engine(URL.create("sqlite", database=address, query={"mode": "ro", "uri": "true"}))
    try:
        with engine.connect() as connection:
            yield connection
    except DatabaseError as error:
        raise FolderFault(f"the catalog {path} cannot be read: {error.orig}") from error
    finally:
        engine.dispose()
