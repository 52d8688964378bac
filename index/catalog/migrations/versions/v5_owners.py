"""Files, stores and aliases have owners, and each owner names as it likes. What is there is the default owner's."""

from alembic import op
from sqlalchemy import Column, String

revision = "5"
down_revision = "4"


def upgrade() -> None:
    for name in ("files", "stores"):
        op.add_column(name, _owner())
        op.create_index(f"ix_{name}_owner", name, ["owner"])
    with op.batch_alter_table(
        "aliases",
        table_kwargs={"sqlite_autoincrement": True},
        naming_convention={"uq": "uq_%(table_name)s_%(column_0_name)s"},  # the constraint that goes has no name
    ) as aliases:
        aliases.add_column(_owner())
        aliases.drop_constraint("uq_aliases_name")
        aliases.create_unique_constraint("uq_aliases_owner", ["owner", "name"])


def _owner() -> Column[str]:
    return Column("owner", String, nullable=False, server_default="default")
