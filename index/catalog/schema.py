"""The catalog's tables as they are now, in SQLite and PostgreSQL alike. A change here needs a revision in migrations/.

Ids handed out (`id`) are random; `n` is the order of creation, never reused.
"""

from sqlalchemy import JSON, Column, Connection, ForeignKey, MetaData, String, Table, Text, UniqueConstraint, select

from index.catalog.wide import Integer
from index.types import OWNER

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
    "texts",  # what the parser read last, so that a citation can be shown in its place
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
own_texts = Table(
    "own_texts",  # what a document was cut from, where its file has been read otherwise since
    schema,
    Column("document", ForeignKey("documents.n", ondelete="CASCADE"), primary_key=True),
    Column("text", Text, nullable=False),
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


def read_fact(connection: Connection, key: str) -> str | None:
    return connection.execute(select(facts.c.value).where(facts.c.key == key)).scalar_one_or_none()
