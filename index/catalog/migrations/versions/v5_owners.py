"""Files, stores and aliases have owners, and each owner names as it likes. What is there is the default owner's."""

from alembic import op
from sqlalchemy import Column, String

revision = "5"
down_revision = "4"


def upgrade() -> None:
    for name in ("files", "stores"):
        op.add_column(name, _owner())
        op.create_index(f"ix_{name}_owner", name, ["owner"])
    # Revision 2 left the constraint that goes to be named by the database.
    unnamed = "aliases_name_key" if op.get_bind().dialect.name == "postgresql" else "uq_aliases_name"
    with op.batch_alter_table(
        "aliases",
        table_kwargs={"sqlite_autoincrement": True},
        naming_convention={"uq": "uq_%(table_name)s_%(column_0_name)s"},
    ) as aliases:
        aliases.add_column(_owner())
        aliases.drop_constraint(unnamed)
        aliases.create_unique_constraint("uq_aliases_owner", ["owner", "name"])


def _owner() -> Column[str]:
    return Column("owner", String, nullable=False, server_default="default")
