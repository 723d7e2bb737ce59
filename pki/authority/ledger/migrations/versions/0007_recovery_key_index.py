"""An index for the question that each new key answers: whether it is a line's recovery key."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index; most lines have no recovery key, and are not in it."""
    op.create_index(
        "lines_recovery_key",
        "lines",
        ["recovery_key"],
        sqlite_where=sa.text("recovery_key IS NOT NULL"),
        postgresql_where=sa.text("recovery_key IS NOT NULL"),
    )
