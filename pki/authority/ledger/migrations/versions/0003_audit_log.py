"""Add the audit log, empty: its first entry says what the ledger held before (``begin``)."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_APPEND_ONLY = "SELECT RAISE(ABORT, 'the audit log is append-only')"


def upgrade() -> None:
    """Create the tables, and the triggers by which SQLite refuses to change an entry.

    The triggers are a second fence against mistakes. Whoever can write to the file can drop them,
    so nothing relies on them.
    """
    op.create_table(
        "audit_entries",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("serial", sa.Text, index=True),
    )
    op.create_table(
        "audit_tiles",
        sa.Column("level", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    log = op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("edge", sa.LargeBinary, nullable=False),
        sa.Column("minimum_index", sa.BigInteger, nullable=False),
        sa.Column("verifier_key", sa.Text),
    )
    op.bulk_insert(log, [{"id": 1, "size": 0, "edge": b"", "minimum_index": 0}])
    if op.get_bind().dialect.name != "sqlite":
        return
    for table in ("audit_entries", "audit_tiles"):
        op.execute(
            f"CREATE TRIGGER {table}_update BEFORE UPDATE ON {table} BEGIN {_APPEND_ONLY}; END"
        )
    op.execute(
        "CREATE TRIGGER audit_entries_delete BEFORE DELETE ON audit_entries "  # noqa: S608 - no input
        f"WHEN OLD.position >= (SELECT minimum_index FROM audit_log) BEGIN {_APPEND_ONLY}; END"
    )
    op.execute(
        "CREATE TRIGGER audit_log_size BEFORE UPDATE ON audit_log"
        f" WHEN NEW.size < OLD.size BEGIN {_APPEND_ONLY}; END"
    )


def downgrade() -> None:
    """Refuse: the ledger would lose the log of what the CA decided."""
    raise RuntimeError("a ledger never goes back to an older schema")
