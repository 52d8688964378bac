"""The catalog's tables as they are now, and how its database is opened. A change here needs a revision in migrations/.

SQLite in WAL mode with synchronous=FULL: an upload that was answered must survive a power cut, and the one fsync per
commit (a few ms) vanishes beside parsing and embedding. secure_delete overwrites what is removed, so that a deleted
document's words do not stay in free pages. Ids handed out (`id`) are random; `n` is the order of
creation, never reused.
"""

import time
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    select,
)
from sqlalchemy.exc import DatabaseError

from index.catalog import migrations
from index.errors import FolderFault
from index.types import OWNER

WAITS = 30  # seconds, for a lock
PRAGMAS = (
    f"busy_timeout={WAITS * 1000}",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
)

schema = MetaData()

facts = Table(
    "facts",
    schema,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)
files = Table(
    "files",
    schema,
    Column("n", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("filename", String, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer),
    Column("purpose", String, nullable=False),
    Column("sha256", String, nullable=False, index=True),
    Column("owner", String, nullable=False, server_default=OWNER, index=True),
    sqlite_autoincrement=True,
)
texts = Table(
    "texts",  # what the parser read, so that a citation can be shown in its place
    schema,
    Column("file", ForeignKey("files.n", ondelete="CASCADE"), primary_key=True),
    Column("text", Text, nullable=False),
)
stores = Table(
    "stores",
    schema,
    Column("n", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("name", String, nullable=False, index=True),
    Column("description", String, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("last_active_at", Integer, nullable=False),
    Column("expires_after_days", Integer),
    Column("version", Integer, nullable=False, server_default="1"),  # raised by whatever changes what can be found
    Column("vectors", Integer, nullable=False, server_default="1"),  # which of its vector files counts
    Column("owner", String, nullable=False, server_default=OWNER, index=True),
    sqlite_autoincrement=True,
)
aliases = Table(
    "aliases",
    schema,
    Column("n", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("store", ForeignKey("stores.n"), nullable=False, index=True),
    Column("moved_at", Integer, nullable=False),
    Column("owner", String, nullable=False, server_default=OWNER),  # the store's
    UniqueConstraint("owner", "name", name="uq_aliases_owner"),
    sqlite_autoincrement=True,
)
targets_before = Table(
    "targets_before",  # where an alias pointed, the last one last
    schema,
    Column("n", Integer, primary_key=True),
    Column("alias", ForeignKey("aliases.n", ondelete="CASCADE"), nullable=False, index=True),
    Column("store", ForeignKey("stores.n", ondelete="CASCADE"), nullable=False, index=True),
    sqlite_autoincrement=True,
)
batches = Table(
    "batches",
    schema,
    Column("n", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("store", ForeignKey("stores.n", ondelete="CASCADE"), nullable=False),
    Column("created_at", Integer, nullable=False),
    sqlite_autoincrement=True,
)
notes = Table(
    "notes",  # what the application keeps with a store, for as long as that is there
    schema,
    Column("store", ForeignKey("stores.n", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("text", Text, nullable=False),
)
documents = Table(
    "documents",  # a file in a store; a row in progress is a job in the queue
    schema,
    Column("n", Integer, primary_key=True),
    Column("store", ForeignKey("stores.n", ondelete="CASCADE"), nullable=False),
    Column("file", ForeignKey("files.n", ondelete="CASCADE"), nullable=False, index=True),
    Column("batch", ForeignKey("batches.n", ondelete="SET NULL"), index=True),
    Column("status", String, nullable=False, index=True),
    Column("error_code", String),
    Column("error_message", String),
    Column("attributes", JSON, nullable=False),
    Column("max_tokens", Integer, nullable=False),
    Column("overlap", Integer, nullable=False),
    Column("usage_bytes", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("block_at", Integer),  # where its vectors are in the store's vector file; nowhere until it is completed
    Column("block_bytes", Integer),
    Column("left_out", JSON(none_as_null=True)),  # what is not worth finding, counted by reason; none: not looked for
    UniqueConstraint("store", "file"),
    sqlite_autoincrement=True,
)
chunks = Table(
    "chunks",  # written in one transaction with the document's `completed`
    schema,
    Column("n", Integer, primary_key=True),
    Column("document", ForeignKey("documents.n", ondelete="CASCADE"), nullable=False, index=True),
    Column("text", Text, nullable=False),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("page", Integer),
    Column("headings", JSON, nullable=False),
    Column("id", String, unique=True, index=True),
    sqlite_autoincrement=True,
)


def open_database(path: Path) -> Engine:
    """The database at `path`, made if it is not there. Raises FolderFault when it is damaged or too new."""
    engine = create_engine(f"sqlite:///{path}", pool_size=8, max_overflow=-1)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    try:
        migrations.upgrade(engine, path)
    except DatabaseError as error:
        engine.dispose()
        raise FolderFault(f"cannot open the catalog {path} ({error.orig}); restore it from a backup") from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def read_fact(connection: Connection, key: str) -> str | None:
    return connection.execute(select(facts.c.value).where(facts.c.key == key)).scalar_one_or_none()


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
