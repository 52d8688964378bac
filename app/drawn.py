"""Records whose rows may hold words of documents, and so must forget them once a document is deleted for good."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, ForeignKey, MetaData, Row, String, Table, func, select

from app.sqlfile import SqlFile

KEPT_SECONDS = 30 * 86_400


def shown_to(rows: Table, *more: Column[Any]) -> Table:
    """The table that tells for each of `rows` of which documents it may hold words."""
    parent: Column[int] = Column(
        rows.name.removesuffix("s"), ForeignKey(f"{rows.name}.n", ondelete="CASCADE"), primary_key=True
    )
    return Table("shown", rows.metadata, parent, Column("file_id", String, primary_key=True, index=True), *more)


class Drawn(ABC):
    """`name` is how a fault calls it. Every method but `close` raises FolderFault when its file cannot be used."""

    def __init__(self, path: Path, schema: MetaData, name: str) -> None:
        self._file = SqlFile(path, schema, f"record of {name}")
        self._rows, self._shown = schema.tables[name], schema.tables["shown"]

    def close(self) -> None:
        self._file.close()

    def count(self) -> int:
        if not self._file.exists():
            return 0
        with self._file.open() as tx:
            return tx.execute(select(func.count()).select_from(self._rows)).scalar_one()

    def files(self) -> Sequence[str]:
        """The documents whose words may stand in it."""
        if not self._file.exists():
            return []
        with self._file.open() as tx:
            return tx.execute(select(self._shown.c.file_id).distinct()).scalars().all()

    def forget(self, file_id: str) -> None:
        """Erase all that may hold this document's words, on the disk as well."""
        if not self._file.exists():
            return
        with self._file.open() as tx:
            self._erase(tx, tx.execute(select(self._shown).where(self._shown.c.file_id == file_id)).all())

    @abstractmethod
    def _erase(self, tx: Connection, drew: Sequence[Row[Any]]) -> None:
        """What these rows of `shown` tell of."""
