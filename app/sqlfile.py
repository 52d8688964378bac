"""One SQLite file of the server's own beside the memory, made with its first use, and for this user's eyes alone.

What is deleted is erased on the disk too when its transaction has ended: the write-ahead log is emptied, and what
SQLite left in the pages of this transaction is blanked (index/catalog/remains.py), so a large file takes no longer than
a small one. After a kill the next use does it. Columns that later programs declare are added to a file of an earlier
one. Synchronous and thread-safe; of two processes the second waits.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, event, inspect
from sqlalchemy.schema import CreateColumn

from index.catalog import sqlite
from index.errors import FolderFault


class SqlFile:
    """`name` is how a fault calls it."""

    def __init__(self, path: Path, schema: MetaData, name: str) -> None:
        self.path = path
        self._schema, self._name = schema, name
        self._lock = threading.Lock()
        self._database: sqlite.SQLite | None = None
        self._owes = True  # what was deleted may be in the log: of one that was killed, too

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    def exists(self) -> bool:
        """Whether anything was ever kept."""
        return self.path.exists()

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """A transaction, on disk when it ends. Raises FolderFault when the file cannot be read or written."""
        try:
            with self._lock:
                if self._database is None:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    self.path.touch(mode=0o600)
                    self._database = sqlite.SQLite(self.path, self._made, self._name)
                with self._database.write() as tx:
                    yield tx
                if self._owes:
                    self._owes = not self._database.forget()
        except OSError as error:
            raise FolderFault(f"the {self._name} {self.path} cannot be used: {error.strerror}") from error

    def _made(self, path: Path) -> Engine:
        engine = sqlite.engine_at(path)
        try:
            self._schema.create_all(engine)
            with engine.connect().execution_options(immediate=True) as connection, connection.begin():
                self._extend(connection)
        except BaseException:
            engine.dispose()
            raise
        event.listen(engine, "after_cursor_execute", self._note)
        return engine

    def _note(self, _tx: object, cursor: Any, _said: object, _with: object, context: Any, _many: object) -> None:
        if (context.isdelete or context.isupdate) and cursor.rowcount:
            self._owes = True

    def _extend(self, tx: Connection) -> None:
        for table in self._schema.sorted_tables:
            known = {column["name"] for column in inspect(tx).get_columns(table.name)}
            for new in [column for column in table.columns if column.name not in known]:
                added = CreateColumn(new).compile(tx.engine)
                tx.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {added}")
            for index in table.indexes:
                index.create(tx, checkfirst=True)
