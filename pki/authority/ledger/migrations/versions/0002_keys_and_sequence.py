"""Assign each key to one workload, and number the commits, so that an older copy is recognized.

The ledger may already hold certificates of two workloads for one key. Then the first workload keeps
the key, and an event reports the others. No issued certificate is changed.
"""

import hashlib
import secrets

import sqlalchemy as sa
from alembic import op
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and insert the keys of all certificates."""
    keys = op.create_table(
        "keys",
        sa.Column("fingerprint", sa.Text, primary_key=True),
        sa.Column("secret", sa.Text, nullable=False, index=True),
        sa.Column("spiffe_id", sa.Text, nullable=False),
        sa.Column("compromised_at", sa.BigInteger),
    )
    state = op.create_table(
        "ledger_state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("ledger_id", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("accepted_at", sa.BigInteger),
    )
    op.create_table(
        "commits",
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("token", sa.Text, nullable=False),
    )
    op.create_table(
        "unrecorded_revocations",
        sa.Column("issuer_id", sa.Integer, sa.ForeignKey("issuers.id"), primary_key=True),
        sa.Column("serial", sa.Text, primary_key=True),
        sa.Column("revoked_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "list_floors",
        sa.Column("issuer_id", sa.Integer, sa.ForeignKey("issuers.id"), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_index("certificates_key_fingerprint", "certificates", ["key_fingerprint"])
    op.bulk_insert(state, [{"id": 1, "ledger_id": secrets.token_hex(16), "sequence": 0}])
    _fill(keys)


def _fill(keys: sa.Table) -> None:
    connection = op.get_bind()
    events = sa.table(
        "events",
        *(sa.column(name) for name in ("at", "kind", "detail")),
    )
    rows = connection.execute(
        sa.text(
            "SELECT serial, spiffe_id, certificate, key_fingerprint, issued_at, revoked_at, reason"
            " FROM certificates ORDER BY id"
        )
    ).all()
    owners: dict[str, str] = {}
    compromised: dict[str, int] = {}
    secret_of_key: dict[str, str] = {}
    for row in rows:
        secret = _secret(row.certificate)
        secret_of_key[row.key_fingerprint] = secret
        owner = owners.setdefault(secret, row.spiffe_id)
        if row.reason == "keyCompromise":
            compromised.setdefault(secret, row.revoked_at)
        if owner != row.spiffe_id:
            detail = (
                f"certificate {row.serial} of {row.spiffe_id} has a key of {owner}: "
                f"{row.spiffe_id} gets no other certificate for this key; give it one of its own"
            )
            _warn(connection, events, row.issued_at, detail)
    for row in rows:
        secret = secret_of_key[row.key_fingerprint]
        if secret in compromised and row.revoked_at is None:
            detail = (
                f"certificate {row.serial} of {row.spiffe_id} is good, and another one of its key "
                "was revoked for key-compromise: revoke it too"
            )
            _warn(connection, events, compromised[secret], detail)
    if secret_of_key:
        op.bulk_insert(
            keys,
            [
                {
                    "fingerprint": fingerprint,
                    "secret": secret,
                    "spiffe_id": owners[secret],
                    "compromised_at": compromised.get(secret),
                }
                for fingerprint, secret in secret_of_key.items()
            ],
        )


def _warn(connection: sa.Connection, events: sa.TableClause, at: int, detail: str) -> None:
    connection.execute(events.insert().values(at=at, kind="shared-key", detail=detail))


def _secret(der: bytes) -> str:
    key = x509.load_der_x509_certificate(der).public_key()
    if isinstance(key, rsa.RSAPublicKey):
        text = f"rsa:{key.public_numbers().n:x}"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        text = f"{key.curve.name}:{key.public_numbers().x:x}"
    else:
        raise TypeError(f"a leaf with a key of kind {type(key).__name__}")
    return hashlib.sha256(text.encode()).hexdigest()


def downgrade() -> None:
    """Refuse: the ledger would lose the owners of keys."""
    raise RuntimeError("a ledger never goes back to an older schema")
