"""The ledger's tables for SQLAlchemy Core. The migrations create them.

Times are whole seconds since 1970 in UTC; serial numbers and fingerprints are lower-case hex.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    # Every certificate has one; SQLite adds no column that must have a value.
    Column("line_id", Text, ForeignKey("lines.id"), index=True),
)

# A line of certificates: one that was issued with a proof of its own, and all its renewals and
# recoveries. ``recovery_key`` is a public key, DER.
lines = Table(
    "lines",
    metadata,
    Column("id", Text, primary_key=True),
    Column("spiffe_id", Text, nullable=False, index=True),
    Column("proof", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("blocked_at", BigInteger),
    Column("blocked_reason", Text),
    Column("recovery_key", LargeBinary),
)

# Recovery keys that were replaced: one that is used again shows that somebody has a copy.
retired_recovery_keys = Table(
    "retired_recovery_keys",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("line_id", Text, ForeignKey("lines.id"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("retired_at", BigInteger, nullable=False),
)

recoveries = Table(
    "recoveries",
    metadata,
    Column("certificate_id", Integer, ForeignKey("certificates.id"), primary_key=True),
    Column("line_id", Text, ForeignKey("lines.id"), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
)

# Who may obtain which names, and by which proof. Lists and tables are JSON.
registrations = Table(
    "registrations",
    metadata,
    Column("spiffe_id", Text, primary_key=True),
    Column("dns_names", Text, nullable=False),
    Column("ip_addresses", Text, nullable=False),
    Column("lifetime_seconds", Integer, nullable=False),
    Column("profile", Text, nullable=False),
    Column("proofs", Text, nullable=False),
    Column("oidc_issuer", Text),
    Column("oidc_claims", Text),
    Column("recovery_times", Integer, nullable=False),
    Column("recovery_seconds", Integer, nullable=False),
    Column("max_sleep_seconds", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("by_admin", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    # From a backup that was restored: nothing is issued for it before an admin confirms it.
    Column("unconfirmed_since", BigInteger),
)

# Enrollment tokens. Of the secret only a hash is kept.
tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret_hash", Text, nullable=False),
    Column("spiffe_id", Text, nullable=False, index=True),
    Column("by_admin", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
)

# Proofs that were used, each once, and the certificate that was handed out for each.
used_proofs = Table(
    "used_proofs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("certificate_id", Integer, ForeignKey("certificates.id"), nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Column("kept_until", BigInteger, nullable=False, index=True),
)

# Every revocation, in the order in which they were recorded. Receivers ask for those since an id.
revocation_log = Table(
    "revocation_log",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("certificate_id", Integer, ForeignKey("certificates.id"), nullable=False, unique=True),
    sqlite_autoincrement=True,
)

# One row, from when the CA is first served on. The addresses are where workloads reach it.
service = Table(
    "service",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("first_served_at", BigInteger, nullable=False),
    Column("authority_address", Text),
    Column("enrollment_address", Text),
)

# The CA's own secrets that sign nothing, such as its key for MACs.
ca_secrets = Table(
    "ca_secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

# The files of the keys that replicas on other machines need too, as they lie in the CA's folder.
# The keys in them are encrypted.
key_files = Table(
    "key_files",
    metadata,
    Column("name", Text, primary_key=True),
    Column("contents", LargeBinary, nullable=False),
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

# One row. ``sequence`` grows by one with each commit that changes something. After a restore from a
# backup, nothing is signed while ``waits_since`` is set. Certificates that ended before
# ``pruned_before`` may have been pruned.
ledger_state = Table(
    "ledger_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ledger_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("accepted_at", BigInteger),
    Column("restored_at", BigInteger),
    Column("waits_since", BigInteger),
    Column("pruned_before", BigInteger),
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

# The audit log: one entry for each decision, as canonical JSON. Positions begin at 0. ``serial``
# repeats what the entry says, for the search.
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("entry", Text, nullable=False),
    Column("serial", Text, index=True),
)

# The root hash of each full tile of the log; ``level`` is that of the tile which holds the hash.
audit_tiles = Table(
    "audit_tiles",
    metadata,
    Column("level", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
)

# One row: the right edge of the log's tree, from which it grows, and the log's public key. What is
# before the minimum index may be missing (C2SP tlog-tiles); no entry is pruned yet.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("edge", LargeBinary, nullable=False),
    Column("minimum_index", BigInteger, nullable=False),
    Column("verifier_key", Text),
)

# What an external signer was, or was about to be, asked to sign, and has no certificate here.
signing_intents = Table(
    "signing_intents",
    metadata,
    Column("serial", Text, primary_key=True),
    Column("issuer_id", Integer, ForeignKey("issuers.id"), nullable=False),
    Column("subject", Text, nullable=False),
    Column("names", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("key_fingerprint", Text, nullable=False),
    Column("tbs_sha256", Text, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("planned_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
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

# The newest request that waits, or waited, until it is signed where the root is; one row at most.
root_requests = Table(
    "root_requests",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("request", LargeBinary, nullable=False),
    Column("made_at", BigInteger, nullable=False),
)
