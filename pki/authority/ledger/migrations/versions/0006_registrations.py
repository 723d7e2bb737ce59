"""Registrations, tokens, recoveries, and the line that each certificate belongs to.

A certificate that was issued before starts a line of its own; its renewals belong to that line.
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and give each certificate its line."""
    lines = op.create_table(
        "lines",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("spiffe_id", sa.Text, nullable=False, index=True),
        sa.Column("proof", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("blocked_at", sa.BigInteger),
        sa.Column("blocked_reason", sa.Text),
        sa.Column("recovery_key", sa.LargeBinary),
    )
    op.create_table(
        "retired_recovery_keys",
        sa.Column("fingerprint", sa.Text, primary_key=True),
        sa.Column("line_id", sa.Text, sa.ForeignKey("lines.id"), nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("retired_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "recoveries",
        sa.Column("certificate_id", sa.Integer, sa.ForeignKey("certificates.id"), primary_key=True),
        sa.Column("line_id", sa.Text, sa.ForeignKey("lines.id"), nullable=False, index=True),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "registrations",
        sa.Column("spiffe_id", sa.Text, primary_key=True),
        sa.Column("dns_names", sa.Text, nullable=False),
        sa.Column("ip_addresses", sa.Text, nullable=False),
        sa.Column("lifetime_seconds", sa.Integer, nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("proofs", sa.Text, nullable=False),
        sa.Column("oidc_issuer", sa.Text),
        sa.Column("oidc_claims", sa.Text),
        sa.Column("recovery_times", sa.Integer, nullable=False),
        sa.Column("recovery_seconds", sa.Integer, nullable=False),
        sa.Column("max_sleep_seconds", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("by_admin", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("secret_hash", sa.Text, nullable=False),
        sa.Column("spiffe_id", sa.Text, nullable=False, index=True),
        sa.Column("by_admin", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
    )
    op.create_table(
        "used_proofs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("certificate_id", sa.Integer, sa.ForeignKey("certificates.id"), nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=False),
        sa.Column("kept_until", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "revocation_log",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "certificate_id",
            sa.Integer,
            sa.ForeignKey("certificates.id"),
            nullable=False,
            unique=True,
        ),
        sqlite_autoincrement=True,
    )
    op.execute(
        "INSERT INTO revocation_log (certificate_id) SELECT id FROM certificates"
        " WHERE revoked_at IS NOT NULL ORDER BY revoked_at, id"
    )
    op.create_table(
        "service",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("first_served_at", sa.BigInteger, nullable=False),
        sa.Column("authority_address", sa.Text),
        sa.Column("enrollment_address", sa.Text),
    )
    ca_secrets = op.create_table(
        "ca_secrets",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(ca_secrets, [{"name": "mac", "value": secrets.token_bytes(32)}])
    _give_lines(lines)


def _give_lines(lines: sa.Table) -> None:
    # SQLite adds no column that must have a value, unless the table is made anew.
    op.execute("ALTER TABLE certificates ADD COLUMN line_id TEXT REFERENCES lines (id)")
    op.create_index("ix_certificates_line_id", "certificates", ["line_id"])
    connection = op.get_bind()
    rows = connection.execute(
        sa.text("SELECT id, spiffe_id, issued_at, renewed_from FROM certificates ORDER BY id")
    ).all()
    line_of: dict[int, str] = {}
    new: list[dict[str, object]] = []
    for row in rows:
        if row.renewed_from is not None:
            line_of[row.id] = line_of[row.renewed_from]
            continue
        line_of[row.id] = secrets.token_hex(16)
        new.append(
            {
                "id": line_of[row.id],
                "spiffe_id": row.spiffe_id,
                "proof": "operator",
                "started_at": row.issued_at,
            }
        )
    if new:
        op.bulk_insert(lines, new)
        connection.execute(
            sa.text("UPDATE certificates SET line_id = :line WHERE id = :id"),
            [{"id": certificate_id, "line": line} for certificate_id, line in line_of.items()],
        )


def downgrade() -> None:
    """Refuse: the ledger would lose who may obtain what."""
    raise RuntimeError("a ledger never goes back to an older schema")
