"""Alembic runs this to run the revisions: in the transaction that it is handed, and with no logging of its own."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
