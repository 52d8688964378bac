"""One SQLite file of the server's own beside the memory, made with its first use, and for this user's eyes alone.

What is deleted is erased on the disk too (but for copies that SQLite may leave in its pages: index/catalog/remains.py,
which only the catalog has so far), and there is no write-ahead log to hold it longer. Columns that later
programs declare are added to a file of an earlier one. Synchronous and thread-safe; of two processes the second waits.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, create_engine, event, inspect
from sqlalchemy.exc import DatabaseError
from sqlalchemy.schema import CreateColumn

from index.errors import FolderFault


class SqlFile:
    """`name` is how a fault calls it."""

    def __init__(self, path: Path, schema: MetaData, name: str) -> None:
        self.path = path
        self._schema, self._name = schema, name
        self._engine = create_engine(f"sqlite:///{path}")
        self._lock = threading.Lock()
        self._made = False
        event.listen(self._engine, "connect", _configure)

    def close(self) -> None:
        self._engine.dispose()

    def exists(self) -> bool:
        """Whether anything was ever kept."""
        return self.path.exists()

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """A transaction, on disk when it ends. Raises FolderFault when the file cannot be read or written."""
        try:
            with self._lock:
                if not self._made:
                    self._make()
                    self._made = True
                with self._engine.begin() as tx:
                    yield tx
        except (OSError, DatabaseError) as error:
            said = error.orig if isinstance(error, DatabaseError) else error.strerror
            raise FolderFault(f"the {self._name} {self.path} cannot be used: {said}") from error

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        self._schema.create_all(self._engine)
        with self._engine.begin() as tx:
            for table in self._schema.sorted_tables:
                known = {column["name"] for column in inspect(tx).get_columns(table.name)}
                for new in [column for column in table.columns if column.name not in known]:
                    added = CreateColumn(new).compile(self._engine)
                    tx.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {added}")
                for index in table.indexes:
                    index.create(tx, checkfirst=True)


def _configure(connection: Any, _record: object) -> None:
    for pragma in ("busy_timeout=10000", "secure_delete=ON", "foreign_keys=ON", "synchronous=EXTRA"):
        connection.execute(f"PRAGMA {pragma}")
