"""What a restore from a backup leaves open, and how far expired certificates were pruned."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; no ledger was restored or pruned before."""
    for name in ("restored_at", "waits_since", "pruned_before"):
        op.add_column("ledger_state", sa.Column(name, sa.BigInteger))
    op.add_column("registrations", sa.Column("unconfirmed_since", sa.BigInteger))
