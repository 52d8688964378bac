"""The catalog in a PostgreSQL database, in a schema of its own. The driver comes with the extra `postgres`.

Readers get one snapshot (REPEATABLE READ, READ ONLY). Writers take one row's lock first, so that there is one at a
time, and see what was committed before them. One process owns the catalog: it holds an advisory lock for as long as it
lives, and each of its writes checks that nobody took over while it was cut off. The data folder and the database know
each other, since neither is whole alone.

What is deleted can be read no more at once, and its room is free after the VACUUM that follows. PostgreSQL does not
overwrite it: free space in its files, its write-ahead log, replicas and backups hold the bytes until then.
"""

import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, make_url, select, text, update
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from index.catalog import migrations
from index.catalog.schema import facts, read_fact, schema
from index.disk import sync
from index.errors import CatalogAway, FolderFault

SCHEMA = "cogcore"
LOCK = 0x636F67636F7265
PATIENCE = 5.0  # seconds for the lock of an owner that was killed just now
FORM = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
DRIVERS = ("postgres", "postgresql", "postgresql+psycopg")
# Of the connection, unless the URL says otherwise: a server that vanished is noticed within half a minute.
CONNECTING = {
    "connect_timeout": "10",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
# Of the session; the server's keepalives free the lock of an owner that vanished.
SESSION = {
    "search_path": SCHEMA,
    "lock_timeout": "30s",
    "statement_timeout": "0",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
HOLDER = """
    SELECT a.application_name, a.client_addr FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
        AND (l.classid::bigint << 32 | l.objid::bigint) = :lock
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
log = logging.getLogger(__name__)


class Postgres:
    """Owned from creation to `close`. Raises FolderFault when it cannot be used, and CatalogAway when it can no more.

    `path` is where the catalog would be in the data folder; a mark beside it names the database's own.
    """

    def __init__(self, url: str, path: Path) -> None:
        self._engine, self._name = _engine(url)
        self._readers = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._writers = self._engine.execution_options(isolation_level="READ COMMITTED")
        self._alone = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._owner: Connection | None = None
        self._token = secrets.token_hex(16)
        self._unsure = self._away = False
        event.listen(self._engine, "connect", self._connected)
        try:
            self._prepare(self._own())
            migrations.upgrade(self._engine, self._name)
            self._introduce(path)
        except DBAPIError as error:
            self.close()
            raise _unusable(self._name, error) from error
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._answering(), self._readers.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Used by one thread at a time."""
        with self._answering():
            if self._unsure:
                self._own()
            with self._writers.connect() as connection, connection.begin():
                # Locks the row for whoever writes, in whatever process.
                wanted = select(facts.c.value).where(facts.c.key == "owner").with_for_update()
                if connection.execute(wanted).scalar_one() != self._token:
                    raise FolderFault(f"another process took over the {self._name}; start this one again")
                yield connection

    def forget(self) -> bool:
        """Free the room of dead rows. Those that an open transaction may still see stay."""
        names = [table.name for table in schema.sorted_tables if table is not facts]
        counted = text(
            "SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname = :here AND relname = ANY(:names)"
        )
        try:
            with self._answering(), self._alone.connect() as connection:
                connection.exec_driver_sql(f"VACUUM {', '.join(names)}")
                dead = connection.execute(counted, {"here": SCHEMA, "names": names}).scalar_one()
        except CatalogAway:
            return False
        if dead:
            log.warning("an open transaction keeps %d deleted rows in PostgreSQL; they go once it has ended", dead)
        return not dead

    def close(self) -> None:
        if self._owner is not None:
            self._owner.close()
        self._engine.dispose()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What is said of the database and its users goes to the log, once; whoever asked is told to ask again."""
        try:
            yield
        except DBAPIError as error:
            if not (error.connection_invalidated or isinstance(error, OperationalError)):
                raise
            if not self._away:
                self._away = True
                log.warning("the %s does not answer: %s", self._name, _reason(error))
            raise CatalogAway("the database of the catalog does not answer; ask again in a moment") from error
        else:
            if self._away:
                self._away = False
                log.info("the %s answers again", self._name)

    def _connected(self, connection: Any, _record: object) -> None:
        from psycopg.types.string import StrDumper

        class Whole(StrDumper):
            """PostgreSQL keeps no NUL in a text; offsets stay as they were."""

            def dump(self, obj: str) -> Any:
                return super().dump(obj.replace("\0", "\ufffd"))

        connection.adapters.register_dumper(str, Whole)
        self._unsure = True  # connections are new when the server is, and then the lock is gone

    def _own(self) -> Connection:
        """Hold the lock, unless it is held still."""
        self._unsure = False
        try:
            if self._owner is not None:
                self._owner.exec_driver_sql("SELECT 1")
                return self._owner
        except DBAPIError:
            self._owner = None
        try:
            owner = self._alone.connect()
            owner.detach()
            end = time.monotonic() + PATIENCE
            while not owner.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}).scalar_one():
                if time.monotonic() > end:
                    held = owner.execute(text(HOLDER), {"lock": LOCK}).first()
                    owner.close()
                    raise FolderFault(
                        f"the {self._name} is in use by {_holder(held)}; stop it, or name another database"
                    )
                time.sleep(0.05)
        except BaseException:
            self._unsure = True
            raise
        self._owner = owner
        return owner

    def _prepare(self, owner: Connection) -> None:
        """Whatever the server was told by default."""
        names = ("server_encoding", "synchronous_commit", "fsync")
        told = {name: owner.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names}
        if told["server_encoding"] != "UTF8":
            raise FolderFault(f"the {self._name} keeps {told['server_encoding']}; make one with ENCODING 'UTF8'")
        if "off" in (told["synchronous_commit"], told["fsync"]):
            log.warning(
                "the %s has fsync or synchronous_commit off: a power cut may take what was acknowledged", self._name
            )
        known = owner.execute(text("SELECT 1 FROM pg_namespace WHERE nspname = :name"), {"name": SCHEMA}).first()
        if known is None:  # making one needs a right that need not be given for good
            owner.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")

    def _introduce(self, path: Path) -> None:
        """Make the database and the data folder know each other, and this process the owner of both."""
        mark = path.with_suffix(".postgres")
        mine = mark.read_text("utf-8").strip() if mark.exists() else None
        with self._writers.connect() as connection, connection.begin():
            theirs = read_fact(connection, "folder")
            if theirs is None:
                _check_empty(path, self._name)
                theirs = mine or secrets.token_hex(8)
                mark.write_text(theirs, "utf-8")
                sync(mark)
                sync(mark.parent)
                connection.execute(insert(facts).values(key="folder", value=theirs))
                connection.execute(insert(facts).values(key="owner", value=self._token))
            elif mine != theirs:
                raise FolderFault(
                    f"the {self._name} belongs to another data folder than {path.parent}; "
                    "choose that one, or another database"
                )
            connection.execute(update(facts).where(facts.c.key == "owner").values(value=self._token))


@contextmanager
def glimpse(url: str) -> Iterator[Connection]:
    engine, name = _engine(url)
    try:
        with engine.connect().execution_options(postgresql_readonly=True) as connection:
            yield connection
    except DBAPIError as error:
        raise _unusable(name, error) from error
    finally:
        engine.dispose()


def _engine(url: str) -> tuple[Engine, str]:
    """And what it is called, without its password."""
    try:
        given = make_url(url)
    except (ArgumentError, ValueError):
        given = None
    if given is None or given.drivername not in DRIVERS or not given.database:
        raise FolderFault(f"the address of the catalog must be like {FORM}") from None  # it may hold a password
    query = {name: value for name, value in given.query.items() if name != "options"}
    options = given.query.get("options", "")
    session = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    connecting = {name: value for name, value in CONNECTING.items() if name not in query}
    try:
        engine = create_engine(
            given.set(drivername="postgresql+psycopg", query=query),
            connect_args={
                **connecting,
                "options": f"{options} {session}",
                "fallback_application_name": f"cogcore on {socket.gethostname()}, process {os.getpid()}",
            },
            pool_size=8,
            max_overflow=-1,
            pool_pre_ping=True,
            hide_parameters=True,  # they are documents
        )
    except ModuleNotFoundError as error:
        raise FolderFault(
            "a catalog in PostgreSQL needs psycopg, of the extra `postgres`: pip install -r requirements/postgres.txt"
        ) from error
    where = given.host or given.query.get("host") or "the local socket"
    return engine, f"PostgreSQL database {given.database} at {where}"


def _check_empty(path: Path, name: str) -> None:
    """Whoever opens a catalog that knows no files has the files removed that it does not know."""
    if path.exists():
        raise FolderFault(
            f"the data folder {path.parent} has its catalog in {path.name}, and the {name} is new: "
            "choose an empty data folder, or leave the catalog where it is"
        )
    if any(one.is_file() for one in (path.parent / "originals").rglob("*")):
        raise FolderFault(
            f"the data folder {path.parent} holds documents of which the {name} knows nothing: "
            "restore the database from a backup, name the right one, or choose an empty data folder"
        )


def _unusable(name: str, error: DBAPIError) -> FolderFault:
    return FolderFault(f"the {name} cannot be used: {_reason(error)}")


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())


def _holder(held: Any) -> str:
    if held is None:
        return "another process"
    return f"{held.application_name or 'another process'}{f' at {held.client_addr}' if held.client_addr else ''}"
