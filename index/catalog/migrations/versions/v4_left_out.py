"""What was left out of a document as garbage, counted by reason. In those that are there nobody has looked."""

from alembic import op
from sqlalchemy import JSON, Column

revision = "4"
down_revision = "3"


def upgrade() -> None:
    op.add_column("documents", Column("left_out", JSON))
