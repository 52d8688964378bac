"""Which file an upload with an Idempotency-Key made, so that a client's retry, also after a crash, makes no second one.

Each API key has its own. Kept for a day, and of each API key the last KEPT. Synchronous and thread-safe.
"""

import time
from pathlib import Path

from sqlalchemy import Column, Integer, MetaData, String, Table, UniqueConstraint, delete, insert, select

from app.sqlfile import SqlFile

KEPT = 1000
KEPT_SECONDS = 86_400

schema = MetaData()
uploads = Table(
    "uploads",
    schema,
    Column("n", Integer, primary_key=True),
    Column("caller", String, nullable=False),
    Column("key", String, nullable=False),
    Column("file_id", String, nullable=False),
    Column("created_at", Integer, nullable=False),
    UniqueConstraint("caller", "key"),
    sqlite_autoincrement=True,
)


class Uploads:
    """Every method but `close` raises FolderFault when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._file = SqlFile(path, schema, "record of uploads")

    def close(self) -> None:
        self._file.close()

    def find(self, caller: str, key: str) -> str | None:
        """The id of the file that was to be made."""
        if not self._file.exists():
            return None
        asked = select(uploads.c.file_id).where(
            uploads.c.caller == caller, uploads.c.key == key, uploads.c.created_at >= time.time() - KEPT_SECONDS
        )
        with self._file.open() as tx:
            return tx.execute(asked).scalar_one_or_none()

    def note(self, caller: str, key: str, file_id: str) -> None:
        """On disk when this returns. Takes the place of an earlier one."""
        ours = uploads.c.caller == caller
        with self._file.open() as tx:
            tx.execute(delete(uploads).where(ours, uploads.c.key == key))
            tx.execute(insert(uploads).values(caller=caller, key=key, file_id=file_id, created_at=int(time.time())))
            oldest = select(uploads.c.n).where(ours).order_by(uploads.c.n.desc()).offset(KEPT).limit(1)
            tx.execute(delete(uploads).where(ours, uploads.c.n <= oldest.scalar_subquery()))

    def expire(self) -> None:
        if not self._file.exists():
            return
        with self._file.open() as tx:
            tx.execute(delete(uploads).where(uploads.c.created_at < time.time() - KEPT_SECONDS))
