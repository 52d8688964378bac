"""A text of its own for a document whose file was read otherwise since. Of those that are there nobody knows it."""

from alembic import op
from sqlalchemy import Column, ForeignKey, Text

from index.catalog.wide import Integer

revision = "6"
down_revision = "5"


def upgrade() -> None:
    op.create_table(
        "own_texts",
        Column("document", Integer, ForeignKey("documents.n", ondelete="CASCADE"), primary_key=True),
        Column("text", Text, nullable=False),
    )
