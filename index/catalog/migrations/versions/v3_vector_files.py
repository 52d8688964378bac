"""Vectors leave the chunks' rows for a file of each store, in the folder beside the catalog.

The files are whole and on the disk before the transaction ends that names their blocks. Who is killed before leaves
rows that have their vectors still, and files that the next attempt writes anew.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from alembic import op
from sqlalchemy import Column, Connection, text

from index.catalog.wide import Integer

revision = "3"
down_revision = "2"

HEADER = 4096


def upgrade() -> None:
    op.add_column("stores", Column("vectors", Integer, nullable=False, server_default="1"))
    op.add_column("documents", Column("block_at", Integer))
    op.add_column("documents", Column("block_bytes", Integer))
    _move(op.get_bind())
    op.drop_column("chunks", "vector")


def _move(connection: Connection) -> None:
    first = connection.execute(text("SELECT length(vector) FROM chunks LIMIT 1")).scalar()
    if first is None:
        return
    (path,) = (row.file for row in connection.execute(text("PRAGMA database_list")) if row.name == "main")
    embedder = connection.execute(text("SELECT value FROM facts WHERE key = 'embedder'")).scalar() or ""
    folder = Path(path).with_suffix(".vectors")
    folder.mkdir(exist_ok=True)
    for store in connection.execute(text("SELECT n FROM stores")).scalars().all():
        with (folder / f"{store}-1").open("wb") as file:
            file.write(_header(first // 2, embedder))
            for place in _written(connection, store, first, file):
                connection.execute(
                    text("UPDATE documents SET block_at = :at, block_bytes = :bytes WHERE n = :document"), place
                )
            file.flush()
            os.fsync(file.fileno())
    for known in (folder, folder.parent):
        handle = os.open(known, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _written(connection: Connection, store: int, length: int, file: BinaryIO) -> Iterator[dict[str, int]]:
    rows = connection.execute(
        text(
            "SELECT c.document, c.n, c.vector FROM chunks c JOIN documents d ON d.n = c.document "
            "WHERE d.store = :store ORDER BY c.document, c.n"
        ).execution_options(yield_per=4096),
        {"store": store},
    )
    for document, group in groupby(rows, key=lambda row: row.document):
        held = list(group)
        if any(len(row.vector) != length for row in held):
            continue  # damaged: the vectors are made again from the text
        block = _block(document, [row.n for row in held], b"".join(row.vector for row in held))
        yield {"document": document, "at": file.tell(), "bytes": file.write(block)}


def _header(dimension: int, embedder: str) -> bytes:
    line = json.dumps({"cogcore vectors": 1, "dimension": dimension, "dtype": "<f2", "embedder": embedder})
    filled = line.encode().ljust(HEADER - 9)
    return b"%s%08x\n" % (filled, zlib.crc32(filled))


def _block(document: int, chunks: list[int], vectors: bytes) -> bytes:
    data = struct.pack(f"<Iq{len(chunks)}q", len(chunks), document, *chunks) + vectors
    data += bytes(-(len(data) + 4) % 8)
    return struct.pack("<I", zlib.crc32(data)) + data
