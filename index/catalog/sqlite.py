"""A database in a file of the data folder: the catalog, and what else of the server's is kept in one.

WAL mode with synchronous=FULL: an upload that was answered must survive a power cut, and the one fsync per commit (a
few ms) vanishes beside parsing and embedding. secure_delete overwrites what is removed, so that a deleted document's
words do not stay in free pages; what it leaves is erased after each commit (remains.py).

SQLite has no checksums of its pages, but its tables and indexes must agree: with each opening they are held against
each other, in a thread. What does not fit is never served.
"""

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
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
    "cell_size_check=ON",
)
MOMENT = 0.25  # seconds in which a small file is looked through; a larger one is opened meanwhile
BETWEEN = 100_000  # steps of SQLite between two looks at whether it is to stop
REMEDIES = {
    "SQLITE_BUSY": "stop the process that holds it",
    "SQLITE_CANTOPEN": "see that it is there, and that this user may read and write it and its folder",
    "SQLITE_FULL": "make room on its disk",
    "SQLITE_IOERR": "look after its disk",
    "SQLITE_READONLY": "let this user read and write it and its folder",
}  # for all else: damaged
LOOKED = 1  # the user_version of a file that was looked at as a whole: once, since all commits are
log = logging.getLogger(__name__)


class SQLite:
    """`opened` raises, and leaves nothing open, when the file is damaged or too new; `name` is how a fault calls it.

    All raise FolderFault when the file cannot be used.
    """

    def __init__(self, path: Path, opened: Callable[[Path], Engine], name: str) -> None:
        self._name = f"{name} {path}"
        self._damage = ""
        self._closing = threading.Event()
        self._log = remains.Log(path)
        self._left = self._log.news()  # of one that was killed before it erased them
        with ExitStack() as held, usable(self._name):
            # Closed last: when a process closes a file, it loses the locks that SQLite has there.
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            held.callback(os.close, self._file)
            self._engine = opened(path)
            held.callback(self._engine.dispose)
            self._looking = threading.Thread(target=self._look_through, name=f"look at {path.name}", daemon=True)
            self._looking.start()
            held.callback(self._stop_looking)
            self._looking.join(MOMENT)
            with self.read() as tx:
                looked = tx.exec_driver_sql("PRAGMA user_version").scalar_one() == LOOKED
            if not looked:
                self._left |= remains.in_file(self._file)
            self._look()
            if not looked and not self._left:
                with self.write() as tx:
                    tx.exec_driver_sql(f"PRAGMA user_version = {LOOKED}")
            self._held = held.pop_all()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._sound(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        writing = {"immediate": True}
        with self._sound(), self._engine.connect().execution_options(**writing) as connection, connection.begin():
            yield connection
        self._look()

    def forget(self) -> bool:
        """Fold the write-ahead log into the database and empty it: it still holds pages as they were."""
        with self._sound():
            busy, _, _ = self._checkpoint("TRUNCATE")
        if busy:
            log.warning("a long read kept the write-ahead log alive; deleted text leaves it within a minute or two")
        self._look()
        return not busy and not self._left

    def close(self) -> None:
        with self._held:
            self._stop_looking()  # it would keep deleted text in the log
            if not self._damage:
                self.forget()

    @contextmanager
    def _sound(self) -> Iterator[None]:
        if self._damage:
            raise FolderFault(self._damage)
        with usable(self._name):
            yield

    def _look_through(self) -> None:
        connection = self._engine.raw_connection()
        try:
            driver: Any = connection.driver_connection
            driver.set_progress_handler(self._closing.is_set, BETWEEN)
            try:
                (found,) = driver.execute("PRAGMA integrity_check(1)").fetchone()
            finally:
                driver.set_progress_handler(None, 0)
        except sqlite3.OperationalError as error:
            found = "ok"
            if not self._closing.is_set():
                log.warning("the %s could not be looked through: %s", self._name, error)
        except sqlite3.DatabaseError as error:
            found = str(error)
        finally:
            connection.close()
        if found != "ok":
            self._damage = f"the {self._name} is damaged ({' '.join(found.split())}); restore it from a backup"
            log.error("%s", self._damage)

    def _stop_looking(self) -> None:
        self._closing.set()
        self._looking.join()

    def _look(self) -> None:
        """For remains of the last commits, which are erased; what cannot be is tried again at the next look."""
        self._left |= self._log.news()
        if not self._left or self._damage:
            return
        failures = DatabaseError, sqlite3.Error, OSError
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
    engine = create_engine(
        f"sqlite:///{path}", pool_size=8, max_overflow=-1, hide_parameters=True, json_deserializer=_from_json
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def open_catalog(path: Path) -> Engine:
    """The catalog at `path`, made if it is not there. Raises FolderFault when it is too new."""
    engine = engine_at(path)
    try:
        migrations.upgrade(engine, str(path))
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def usable(name: str) -> Iterator[None]:
    """What SQLite says of this file becomes a FolderFault with its remedy; what it says of a statement stays."""
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError, UnicodeDecodeError) as error:  # it also quotes what is damaged
        said = error.orig if isinstance(error, DatabaseError) else error
        if isinstance(said, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        kind = "_".join(getattr(said, "sqlite_errorname", "").split("_")[:2])
        raise FolderFault(
            f"the {name} cannot be used ({said!s:.200}); {REMEDIES.get(kind, 'restore it from a backup')}"
        ) from error


@contextmanager
def glimpse(path: Path) -> Iterator[Connection]:
    address = f"file:{quote(str(path.absolute()))}"
    engine = create_engine(URL.create("sqlite", database=address, query={"mode": "ro", "uri": "true"}))
    try:
        with usable(f"catalog {path}"), engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _configure(connection: Any, _record: object) -> None:
    # The driver's own transaction handling is switched off: _begin says when a transaction starts, and of which kind.
    connection.isolation_level = None
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")  # what is damaged fails its checksum
    for pragma in PRAGMAS:
        _patiently(connection, f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: upgrading a read lock later fails with SQLITE_BUSY whatever the timeout.
    writing = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise sqlite3.DatabaseError(f"no JSON: {error}") from error


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
