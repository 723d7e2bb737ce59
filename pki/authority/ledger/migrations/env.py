"""Alembic's entry point: run the migrations on the connection that the ledger passes."""

from alembic import context

from pki.authority.ledger.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
context.run_migrations()
