"""The ledger's tables for SQLAlchemy Core. The migrations create them.

Times are whole seconds since 1970 in UTC; serial numbers and fingerprints are lower-case hex.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

authority = Table(
    "authority",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trust_domain", Text, nullable=False),
    Column("permit_dns", Text, nullable=False),
    Column("permit_ip", Text, nullable=False),
    Column("backdate_seconds", Integer, nullable=False),
    Column("list_seconds", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

issuers = Table(
    "issuers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("key_id", Text, nullable=False, unique=True),
    Column("serial", Text, nullable=False, unique=True),
    Column("certificate", LargeBinary, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

certificates = Table(
    "certificates",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("issuer_id", Integer, ForeignKey("issuers.id"), nullable=False),
    Column("serial", Text, nullable=False, unique=True),
    Column("spiffe_id", Text, nullable=False, index=True),
    Column("profile", Text, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("key_fingerprint", Text, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False, index=True),
    Column("issued_at", BigInteger, nullable=False),
    # Unique, because a certificate is renewed at most once.
    Column("renewed_from", Integer, ForeignKey("certificates.id"), unique=True),
    Column("revoked_at", BigInteger),
    Column("reason", Text),
)

names = Table(
    "names",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("spiffe_id", Text, nullable=False),
    Column("held_until", BigInteger, nullable=False),
    UniqueConstraint("kind", "value"),
)

crls = Table(
    "lists",
    metadata,
    Column("issuer_id", Integer, ForeignKey("issuers.id"), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("list", LargeBinary, nullable=False),
    Column("next_update", BigInteger, nullable=False),
)

# The roots' CRLs that are signed ahead, one for each set of a root's issuing CAs that may have to
# be distrusted without the root's key. ``members`` holds their ids, sorted, separated by commas.
distrust_crls = Table(
    "distrust_lists",
    metadata,
    Column("members", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("list", LargeBinary, nullable=False),
    Column("root_id", Integer),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("certificate_id", Integer, ForeignKey("certificates.id")),
    Column("detail", Text, nullable=False),
)

# The public keys of leaves. ``secret`` is equal for all public keys that one secret yields.
keys = Table(
    "keys",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("secret", Text, nullable=False, index=True),
    Column("spiffe_id", Text, nullable=False),
    Column("compromised_at", BigInteger),
)

# One row. ``sequence`` grows by one with each commit that changes something.
ledger_state = Table(
    "ledger_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ledger_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("accepted_at", BigInteger),
)

# The tokens of the latest commits: if the answer to a commit is lost, its token is searched here.
commits = Table(
    "commits",
    metadata,
    Column("sequence", BigInteger, primary_key=True),
    Column("token", Text, nullable=False),
)

# Revocations on published CRLs, of certificates that this ledger does not hold.
unrecorded_revocations = Table(
    "unrecorded_revocations",
    metadata,
    Column("issuer_id", Integer, ForeignKey("issuers.id"), primary_key=True),
    Column("serial", Text, primary_key=True),
    Column("revoked_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
)

# CRLs of a lost ledger may have been published with numbers up to these.
crl_floors = Table(
    "list_floors",
    metadata,
    Column("issuer_id", Integer, ForeignKey("issuers.id"), primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# Every signed trust bundle. ``last_certificate`` is the id of the last certificate issued before.
bundles = Table(
    "bundles",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("bundle", LargeBinary, nullable=False),
    Column("last_certificate", Integer, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
)

# Which bundle a workload has said that it trusts, and with which certificate.
trust_reports = Table(
    "trust_reports",
    metadata,
    Column("serial", Text, primary_key=True),
    Column("spiffe_id", Text, nullable=False),
    Column("bundle_number", BigInteger, nullable=False),
    Column("reported_at", BigInteger, nullable=False, index=True),
)

# The request that waits until it is signed where the root is; one row at most.
root_requests = Table(
    "root_requests",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("request", LargeBinary, nullable=False),
    Column("made_at", BigInteger, nullable=False),
)
