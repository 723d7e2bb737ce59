"""The ledger's history, for alembic."""
