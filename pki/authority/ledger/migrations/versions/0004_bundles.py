"""Keep every signed trust bundle, what workloads reported of them, and several roots.

The root's CRLs that are signed ahead belong to one root each from now on; those that are there
belong to the only root.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and name the root of each CRL that is signed ahead."""
    op.create_table(
        "bundles",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("bundle", sa.LargeBinary, nullable=False),
        sa.Column("last_certificate", sa.Integer, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "trust_reports",
        sa.Column("serial", sa.Text, primary_key=True),
        sa.Column("spiffe_id", sa.Text, nullable=False),
        sa.Column("bundle_number", sa.BigInteger, nullable=False),
        sa.Column("reported_at", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "root_requests",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
    )
    op.add_column("distrust_lists", sa.Column("root_id", sa.Integer))
    op.execute("UPDATE distrust_lists SET root_id = (SELECT id FROM issuers WHERE kind = 'root')")


def downgrade() -> None:
    """Refuse: the ledger would lose the bundles that followers need."""
    raise RuntimeError("a ledger never goes back to an older schema")
