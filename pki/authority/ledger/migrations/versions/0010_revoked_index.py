"""An index of what each issuer has revoked, from which its revocation lists are made."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index; most certificates are never revoked, and are not in it."""
    op.create_index(
        "certificates_revoked",
        "certificates",
        ["issuer_id", "not_after"],
        sqlite_where=sa.text("revoked_at IS NOT NULL"),
        postgresql_where=sa.text("revoked_at IS NOT NULL"),
    )
