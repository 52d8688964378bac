"""Versions of stores, aliases that point to stores, and ids of chunks that nobody can guess.

The store named `default` becomes what the alias `default` points to, under another name: an alias and a store never
share one. Chunks that are there keep the ids that citations and reviews hold.
"""

from itertools import count

from alembic import op
from sqlalchemy import Column, Connection, ForeignKey, String, Text, column, insert, select, table, update

from index.catalog.wide import Integer

revision = "2"
down_revision = "1"


def upgrade() -> None:
    # The first programs kept no notes, and told the same version.
    op.create_table(
        "notes",
        Column("store", Integer, ForeignKey("stores.n", ondelete="CASCADE"), primary_key=True),
        Column("key", String, primary_key=True),
        Column("text", Text, nullable=False),
        if_not_exists=True,
    )
    op.add_column("stores", Column("version", Integer, nullable=False, server_default="1"))
    op.create_table(
        "aliases",
        Column("n", Integer, primary_key=True),
        Column("name", String, nullable=False, unique=True),
        Column("store", Integer, ForeignKey("stores.n"), nullable=False, index=True),
        Column("moved_at", Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "targets_before",
        Column("n", Integer, primary_key=True),
        Column("alias", Integer, ForeignKey("aliases.n", ondelete="CASCADE"), nullable=False, index=True),
        Column("store", Integer, ForeignKey("stores.n", ondelete="CASCADE"), nullable=False, index=True),
        sqlite_autoincrement=True,
    )
    _alias_default(op.get_bind())
    # Nullable, since SQLite adds no other column to rows that are there.
    op.add_column("chunks", Column("id", String))
    op.execute("UPDATE chunks SET id = 'chunk_' || n")
    op.create_index("ix_chunks_id", "chunks", ["id"], unique=True)
    # Programs from before there were revisions look here, and refuse what they do not know.
    op.execute("UPDATE facts SET value = '2' WHERE key = 'version'")


def _alias_default(connection: Connection) -> None:
    stores = table("stores", column("n"), column("name"), column("created_at"))
    aliases = table("aliases", column("name"), column("store"), column("moved_at"))
    default = connection.execute(select(stores).where(stores.c.name == "default")).one_or_none()
    if default is None:
        return
    taken = set(connection.execute(select(stores.c.name)).scalars())
    free = next(name for n in count(1) if (name := f"documents {n}" if n > 1 else "documents") not in taken)
    connection.execute(update(stores).where(stores.c.n == default.n).values(name=free))
    connection.execute(insert(aliases).values(name="default", store=default.n, moved_at=default.created_at))
