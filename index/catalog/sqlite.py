"""A database in a file of the data folder: the catalog, and what else of the server's is kept in one.

WAL mode with synchronous=FULL: an upload that was answered must survive a power cut, and the one fsync per commit (a
few ms) vanishes beside parsing and embedding. secure_delete overwrites what is removed, so that a deleted document's
words do not stay in free pages; what it leaves is erased after each commit (remains.py).
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from index.catalog import migrations, remains
from index.errors import FolderFault

WAITS = 30  # seconds, for a lock
PRAGMAS = (
    f"busy_timeout={WAITS * 1000}",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
)
LOOKED = 1  # the user_version of a file that was looked at as a whole: once, since all commits are
log = logging.getLogger(__name__)


class SQLite:
    """`opened` raises, and leaves nothing open, when the file is damaged or too new."""

    def __init__(self, path: Path, opened: Callable[[Path], Engine]) -> None:
        self._log = remains.Log(path)
        self._left = self._log.news()  # of one that was killed before it erased them
        self._engine = opened(path)
        # Closed last: when a process closes a file, it loses the locks that SQLite has there.
        self._file = os.open(path, os.O_RDWR)
        with self.read() as tx:
            looked = tx.exec_driver_sql("PRAGMA user_version").scalar_one() == LOOKED
        if not looked:
            self._left |= remains.in_file(self._file)
        self._look()
        if not looked and not self._left:
            with self.write() as tx:
                tx.exec_driver_sql(f"PRAGMA user_version = {LOOKED}")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(immediate=True) as connection, connection.begin():
            yield connection
        self._look()

    def forget(self) -> bool:
        """Fold the write-ahead log into the database and empty it: it still holds pages as they were."""
        busy, _, _ = self._checkpoint("TRUNCATE")
        if busy:
            log.warning("a long read kept the write-ahead log alive; deleted text leaves it within a minute or two")
        self._look()
        return not busy and not self._left

    def close(self) -> None:
        self.forget()
        self._engine.dispose()
        os.close(self._file)

    def _look(self) -> None:
        """For remains of the last commits, which are erased; what cannot be is tried again at the next look."""
        self._left |= self._log.news()
        if not self._left:
            return
        failures = DatabaseError, self._engine.dialect.loaded_dbapi.Error, OSError
        try:
            with self._engine.connect().execution_options(immediate=True) as connection, connection.begin():
                busy, logged, moved = self._checkpoint("PASSIVE")
                if not busy and logged == moved:  # nothing may be moved over it; while the lock is held, nothing comes
                    remains.erase(self._file, self._left)
                    self._left.clear()
        except failures as error:  # what was committed is committed
            log.warning("a copy of a row, which SQLite left behind, could not be erased yet: %s", error)

    def _checkpoint(self, kind: str) -> tuple[int, int, int]:
        """Whether it was kept from it; the pages in the log, and those of them that are in the database too."""
        raw = self._engine.raw_connection()
        try:
            found: tuple[int, int, int] = raw.cursor().execute(f"PRAGMA wal_checkpoint({kind})").fetchone()
            return found
        finally:
            raw.close()


def engine_at(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", pool_size=8, max_overflow=-1, hide_parameters=True)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def open_catalog(path: Path) -> Engine:
    """The catalog at `path`, made if it is not there. Raises FolderFault when it is damaged or too new."""
    engine = engine_at(path)
    try:
        migrations.upgrade(engine, str(path))
    except DatabaseError as error:
        engine.dispose()
        raise FolderFault(f"cannot open the catalog {path} ({error.orig}); restore it from a backup") from error
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def glimpse(path: Path) -> Iterator[Connection]:
    address = f"file:{quote(str(path.absolute()))}"
    engine = create_engine(URL.create("sqlite", database=address, query={"mode": "ro", "uri": "true"}))
    try:
        with engine.connect() as connection:
            yield connection
    except DatabaseError as error:
        raise FolderFault(f"the catalog {path} cannot be read: {error.orig}") from error
    finally:
        engine.dispose()


def _configure(connection: Any, _record: object) -> None:
    # The driver's own transaction handling is switched off: _begin says when a transaction starts, and of which kind.
    connection.isolation_level = None
    for pragma in PRAGMAS:
        _patiently(connection, f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: upgrading a read lock later fails with SQLITE_BUSY whatever the timeout.
    writing = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _patiently(connection: Any, statement: str) -> None:
    """While another process switches to WAL the same is refused at once: the timeout does not hold for it."""
    end = time.monotonic() + WAITS
    while True:
        try:
            connection.execute(statement)
        except connection.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return
