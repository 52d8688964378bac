"""The catalog in a file of the data folder.

WAL mode with synchronous=FULL: an upload that was answered must survive a power cut, and the one fsync per commit (a
few ms) vanishes beside parsing and embedding. secure_delete overwrites what is removed, so that a deleted document's
words do not stay in free pages.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from index.catalog import migrations
from index.errors import FolderFault

WAITS = 30  # seconds, for a lock
PRAGMAS = (
    f"busy_timeout={WAITS * 1000}",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
)
log = logging.getLogger(__name__)


class SQLite:
    """Raises FolderFault when the file is damaged or too new."""

    def __init__(self, path: Path) -> None:
        self._engine = open_database(path)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(immediate=True) as connection, connection.begin():
            yield connection

    def forget(self) -> bool:
        """Fold the write-ahead log into the database and empty it: it still holds pages as they were."""
        raw = self._engine.raw_connection()
        try:
            busy, _, _ = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            raw.close()
        if busy:
            log.warning("a long read kept the write-ahead log alive; deleted text leaves it within a minute or two")
        return not busy

    def close(self) -> None:
        self.forget()
        self._engine.dispose()


def open_database(path: Path) -> Engine:
    """The database at `path`, made if it is not there. Raises FolderFault when it is damaged or too new."""
    engine = create_engine(f"sqlite:///{path}", pool_size=8, max_overflow=-1, hide_parameters=True)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
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
