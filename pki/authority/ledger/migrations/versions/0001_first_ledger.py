"""The first ledger.

A migration never changes, so it defines its tables itself and imports none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "authority",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("trust_domain", sa.Text, nullable=False),
        sa.Column("permit_dns", sa.Text, nullable=False),
        sa.Column("permit_ip", sa.Text, nullable=False),
        sa.Column("backdate_seconds", sa.Integer, nullable=False),
        sa.Column("list_seconds", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "issuers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False, unique=True),
        sa.Column("serial", sa.Text, nullable=False, unique=True),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "certificates",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("issuer_id", sa.Integer, sa.ForeignKey("issuers.id"), nullable=False),
        sa.Column("serial", sa.Text, nullable=False, unique=True),
        sa.Column("spiffe_id", sa.Text, nullable=False, index=True),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("key_fingerprint", sa.Text, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False, index=True),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("renewed_from", sa.Integer, sa.ForeignKey("certificates.id"), unique=True),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("reason", sa.Text),
    )
    op.create_table(
        "names",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("spiffe_id", sa.Text, nullable=False),
        sa.Column("held_until", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("kind", "value"),
    )
    op.create_table(
        "lists",
        sa.Column("issuer_id", sa.Integer, sa.ForeignKey("issuers.id"), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("list", sa.LargeBinary, nullable=False),
        sa.Column("next_update", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "distrust_lists",
        sa.Column("members", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("list", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("certificate_id", sa.Integer, sa.ForeignKey("certificates.id")),
        sa.Column("detail", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Refuse: the ledger never loses what it recorded."""
    raise RuntimeError("the first ledger has nothing before it")
