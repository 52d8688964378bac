"""One SQLite file of the server's own beside the memory, made with its first use.

What is deleted is erased on the disk too, and there is no write-ahead log to hold it longer. Synchronous and
thread-safe. Whoever opens it owns the data folder.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, create_engine, event
from sqlalchemy.exc import DatabaseError

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

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """A transaction, on disk when it ends. Raises FolderFault when the file cannot be read or written."""
        try:
            with self._lock:
                if not self._made:
                    self._schema.create_all(self._engine)
                    self._made = True
                with self._engine.begin() as tx:
                    yield tx
        except DatabaseError as error:
            raise FolderFault(f"the {self._name} {self.path} cannot be used: {error.orig}") from error


def _configure(connection: Any, _record: object) -> None:
    for pragma in ("secure_delete=ON", "foreign_keys=ON", "synchronous=EXTRA"):
        connection.execute(f"PRAGMA {pragma}")
