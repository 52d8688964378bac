"""Files, stores, and documents with their chunks: as catalogs were before there were revisions."""

from alembic import op
from sqlalchemy import JSON, Column, ForeignKey, LargeBinary, String, Text, UniqueConstraint

from index.catalog.wide import Integer

revision = "1"
down_revision = None


def upgrade() -> None:
    facts = op.create_table(
        "facts",
        Column("key", String, primary_key=True),
        Column("value", String, nullable=False),
    )
    op.create_table(
        "files",
        Column("n", Integer, primary_key=True),
        Column("id", String, nullable=False, unique=True),
        Column("filename", String, nullable=False),
        Column("bytes", Integer, nullable=False),
        Column("created_at", Integer, nullable=False),
        Column("expires_at", Integer),
        Column("purpose", String, nullable=False),
        Column("sha256", String, nullable=False, index=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "texts",
        Column("file", Integer, ForeignKey("files.n", ondelete="CASCADE"), primary_key=True),
        Column("text", Text, nullable=False),
    )
    op.create_table(
        "stores",
        Column("n", Integer, primary_key=True),
        Column("id", String, nullable=False, unique=True),
        Column("name", String, nullable=False, index=True),
        Column("description", String, nullable=False),
        Column("metadata", JSON, nullable=False),
        Column("created_at", Integer, nullable=False),
        Column("last_active_at", Integer, nullable=False),
        Column("expires_after_days", Integer),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "batches",
        Column("n", Integer, primary_key=True),
        Column("id", String, nullable=False, unique=True),
        Column("store", Integer, ForeignKey("stores.n", ondelete="CASCADE"), nullable=False),
        Column("created_at", Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "notes",
        Column("store", Integer, ForeignKey("stores.n", ondelete="CASCADE"), primary_key=True),
        Column("key", String, primary_key=True),
        Column("text", Text, nullable=False),
    )
    op.create_table(
        "documents",
        Column("n", Integer, primary_key=True),
        Column("store", Integer, ForeignKey("stores.n", ondelete="CASCADE"), nullable=False),
        Column("file", Integer, ForeignKey("files.n", ondelete="CASCADE"), nullable=False, index=True),
        Column("batch", Integer, ForeignKey("batches.n", ondelete="SET NULL"), index=True),
        Column("status", String, nullable=False, index=True),
        Column("error_code", String),
        Column("error_message", String),
        Column("attributes", JSON, nullable=False),
        Column("max_tokens", Integer, nullable=False),
        Column("overlap", Integer, nullable=False),
        Column("usage_bytes", Integer, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("created_at", Integer, nullable=False),
        UniqueConstraint("store", "file"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "chunks",
        Column("n", Integer, primary_key=True),
        Column("document", Integer, ForeignKey("documents.n", ondelete="CASCADE"), nullable=False, index=True),
        Column("text", Text, nullable=False),
        Column("start", Integer, nullable=False),
        Column("end", Integer, nullable=False),
        Column("page", Integer),
        Column("headings", JSON, nullable=False),
        Column("vector", LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.bulk_insert(facts, [{"key": "version", "value": "1"}])
