"""What replicas of a CA share: the files of their keys, and in PostgreSQL the turns to write.

PostgreSQL's ids get 64 bits, and its audit log the fences that SQLite's has.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Ids, and what refers to them, which grow with each certificate or entry.
_LONG = {
    "certificates": ("id", "renewed_from"),
    "names": ("id",),
    "events": ("id", "certificate_id"),
    "revocation_log": ("id", "certificate_id"),
    "recoveries": ("certificate_id",),
    "used_proofs": ("certificate_id",),
    "bundles": ("last_certificate",),
    "audit_entries": ("position",),
    "audit_tiles": ("position",),
}
_NUMBERED = ("certificates", "names", "events", "revocation_log")


def upgrade() -> None:
    """Create the tables; SQLite's integers are long already, and its turns are the file's lock."""
    op.create_table(
        "key_files",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("contents", sa.LargeBinary, nullable=False),
    )
    if op.get_bind().dialect.name != "postgresql":
        return
    # It never has a row: whoever has locked it has the turn.
    op.create_table("turns", sa.Column("id", sa.Integer, primary_key=True))
    for table, columns in _LONG.items():
        changes = ", ".join(f"ALTER COLUMN {column} TYPE bigint" for column in columns)
        op.execute(f"ALTER TABLE {table} {changes}")
    for table in _NUMBERED:
        op.execute(f"ALTER SEQUENCE {table}_id_seq AS bigint")
    _add_fences()


def _add_fences() -> None:
    """Refuse to change an entry of the audit log: a fence against mistakes, as in SQLite."""
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
    )
    for table in ("audit_entries", "audit_tiles"):
        op.execute(
            f"CREATE TRIGGER {table}_update BEFORE UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
    op.execute(
        "CREATE FUNCTION refuse_early_pruning() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF OLD.position >= (SELECT minimum_index FROM audit_log) THEN "
        "RAISE EXCEPTION 'the audit log is append-only'; END IF; RETURN OLD; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_entries_delete BEFORE DELETE ON audit_entries "
        "FOR EACH ROW EXECUTE FUNCTION refuse_early_pruning()"
    )
    op.execute(
        "CREATE TRIGGER audit_log_size BEFORE UPDATE ON audit_log "
        "FOR EACH ROW WHEN (NEW.size < OLD.size) EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    """Refuse: replicas would lose the keys that they share."""
    raise RuntimeError("a ledger never goes back to an older schema")
