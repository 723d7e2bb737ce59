"""Compare the ledger's rows with the log's entries, both ways.

1. Each certificate since the log began has one entry that issued it, with the same facts; and each
   such entry has its certificate.
   One that ended before the log says that the ledger was pruned may lack its certificate.
2. Each revocation has an entry, with the same reason and time; and each such entry its revocation.
3. Each issuing CA has the entry that made it; it is distrusted if an entry says so, and only then.
4. What is older than the log is unchanged: its hash is that of the log's first entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography import x509
from sqlalchemy import Connection

from pki.authority.audit.findings import LogFinding
from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.authority.ledger.audit.history import History, LaterChanges, read_history
from pki.authority.ledger.audit.rows import (
    CertificateRow,
    IssuerRow,
    certificate_rows,
    issuer_rows,
    unrecorded_serials,
)
from pki.authority.ledger.records import IssuerStatus
from pki.authority.lifetimes import MAX_LEAF
from pki.keys import public_key_fingerprint
from pki.x509.decoding import public_key_of


@dataclass(slots=True)
class Decisions:
    """What the log's entries say about certificates and issuing CAs."""

    history: History | None = None
    issued: dict[str, AuditEntry] = field(default_factory=dict)
    revoked: dict[str, AuditEntry] = field(default_factory=dict)
    issuers: dict[str, AuditEntry] = field(default_factory=dict)
    distrusted: set[str] = field(default_factory=set)
    active: str | None = None
    verifier_key: str | None = None
    pruned_before: int = 0

    def is_pruned(self, serial: str | None) -> bool:
        """Return whether a certificate had ended so long ago that it may be pruned."""
        issued = self.issued.get(serial or "")
        return issued is not None and (issued.at + MAX_LEAF).timestamp() < self.pruned_before

    def add(self, index: int, entry: AuditEntry) -> Iterator[LogFinding]:
        """Take in an entry; yield what contradicts an earlier one."""
        serial = entry.serial or ""
        match entry.action:
            case AuditAction.BEGIN:
                self.history = _history_of(entry)
                if index or self.history is None:
                    yield LogFinding("begin", f"entry {index} is no beginning of a log")
            case AuditAction.ISSUE | AuditAction.RENEW:
                if serial in self.issued:
                    yield LogFinding("issued-twice", f"entry {index} issues {serial} again")
                self.issued[serial] = entry
            case AuditAction.REVOKE:
                self.revoked.setdefault(serial, entry)
            case AuditAction.INIT | AuditAction.PREPARE:
                self.issuers[serial] = entry
                self.verifier_key = self.verifier_key or _text(entry, "verifier_key")
            case AuditAction.LOG_KEY | AuditAction.RESTORE:
                self.verifier_key = _text(entry, "verifier_key")
            case AuditAction.PRUNE:
                before = entry.details.get("before")
                if isinstance(before, int):
                    self.pruned_before = max(self.pruned_before, before)
            case AuditAction.ACTIVATE:
                self.active = _text(entry, "issuing_ca")
            case AuditAction.DISTRUST:
                self.distrusted.add(_text(entry, "issuing_ca") or "")
            case _:
                pass


def check_rows(connection: Connection, decisions: Decisions) -> Iterator[LogFinding]:
    """Yield each difference between the ledger's rows and the log."""
    yield from _check_history(connection, decisions)
    yield from _check_issuers(connection, decisions)
    yield from _check_certificates(connection, decisions)


def _check_history(connection: Connection, decisions: Decisions) -> Iterator[LogFinding]:
    history = decisions.history
    if history is None:
        return
    later = LaterChanges(decisions.revoked.keys(), decisions.distrusted)
    up_to = (history.certificates, history.issuers)
    if read_history(connection, up_to=up_to, later=later) != history:
        yield LogFinding(
            "history",
            "what the ledger held before the log began was changed: its hash is not the one of "
            "entry 0",
        )


def _check_issuers(connection: Connection, decisions: Decisions) -> Iterator[LogFinding]:
    left = dict(decisions.issuers)
    begun = decisions.history.issuers if decisions.history is not None else 0
    distrusted = set()
    active = None
    for row in issuer_rows(connection):
        if row.status == IssuerStatus.DISTRUSTED:
            distrusted.add(row.key_id)
        if row.status == IssuerStatus.ACTIVE:
            active = row.key_id  # the newest; the root comes first
        if row.id > begun:
            yield from _check_issuer(row, left.pop(row.serial, None))
    for serial in left:
        yield LogFinding("issuer", f"the ledger lacks the CA certificate {serial}")
    if decisions.history is None:
        for key_id in sorted(distrusted - decisions.distrusted):
            yield LogFinding("distrust", f"issuing CA {key_id} is distrusted without an entry")
    for key_id in sorted(decisions.distrusted - distrusted):
        yield LogFinding("distrust", f"issuing CA {key_id} was distrusted, and is not any more")
    expected = decisions.active
    if expected is not None and expected not in decisions.distrusted and active != expected:
        yield LogFinding("issuer", f"issuing CA {expected} was activated, and is not active")


def _check_issuer(row: IssuerRow, entry: AuditEntry | None) -> Iterator[LogFinding]:
    if entry is None:
        yield LogFinding("issuer", f"no entry made the CA certificate {row.serial}")
    elif entry.certificate_sha256 != sha256(row.certificate).hexdigest():
        yield LogFinding("issuer", f"the CA certificate {row.serial} is another one than was made")


def _check_certificates(connection: Connection, decisions: Decisions) -> Iterator[LogFinding]:
    begun = decisions.history.certificates if decisions.history is not None else 0
    issued = dict(decisions.issued)
    revoked = dict(decisions.revoked)
    for row in certificate_rows(connection):
        if row.id > begun:
            entry = issued.pop(row.serial, None)
            if entry is None:
                yield LogFinding(
                    "certificate", f"no entry issued certificate {row.serial} of {row.spiffe_id}"
                )
            else:
                yield from _check_certificate(row, entry, decisions)
        revocation = revoked.pop(row.serial, None)
        # One that is older than the log is part of the history's hash.
        if row.id > begun or revocation is not None:
            yield from _check_revocation(row, revocation)
    for serial, entry in issued.items():
        if decisions.is_pruned(serial):
            revoked.pop(serial, None)
            continue
        yield LogFinding("certificate", f"the ledger lacks certificate {serial} of {entry.subject}")
    unrecorded = unrecorded_serials(connection)
    for serial in revoked.keys() - unrecorded:
        yield LogFinding("revocation", f"{serial} was revoked, and is not any more")
    if decisions.history is None:
        for serial in sorted(unrecorded - decisions.revoked.keys()):
            yield LogFinding("revocation", f"no entry revoked {serial}")


def _check_certificate(
    row: CertificateRow, entry: AuditEntry, decisions: Decisions
) -> Iterator[LogFinding]:
    details = entry.details
    renewed = details.get("renewed_from")
    if isinstance(renewed, str) and row.renewed_from != renewed and decisions.is_pruned(renewed):
        # A renewal of one that was pruned hangs on the last one before it.
        renewed = row.renewed_from
    facts = {
        "certificate": (sha256(row.certificate).hexdigest(), entry.certificate_sha256),
        "workload": (row.spiffe_id, entry.subject),
        "time of issue": (row.issued_at, int(entry.at.timestamp())),
        "profile": (row.profile, details.get("profile")),
        "certificate that it renewed": (row.renewed_from, renewed),
        **_certified_facts(row),
    }
    for what, (stored, expected) in facts.items():
        if stored != expected:
            yield LogFinding(
                "certificate",
                f"the ledger has changed the {what} of certificate {row.serial}: {stored}, and it "
                f"was {expected}",
            )


def _certified_facts(row: CertificateRow) -> dict[str, tuple[object, object]]:
    try:
        certificate = x509.load_der_x509_certificate(row.certificate)
        key = public_key_fingerprint(public_key_of(certificate))
    except ValueError:
        return {}  # its hash differs, which is told
    return {
        "serial number": (row.serial, f"{certificate.serial_number:x}"),
        "begin": (row.not_before, int(certificate.not_valid_before_utc.timestamp())),
        "end": (row.not_after, int(certificate.not_valid_after_utc.timestamp())),
        "key": (row.key_fingerprint, key),
    }


def _check_revocation(row: CertificateRow, entry: AuditEntry | None) -> Iterator[LogFinding]:
    if entry is None:
        if row.revoked_at is not None:
            yield LogFinding("revocation", f"no entry revoked certificate {row.serial}")
        return
    expected = (entry.details.get("revoked_at", int(entry.at.timestamp())), entry.reason)
    if (row.revoked_at, row.reason) != expected:
        stored = "is not any more" if row.revoked_at is None else "the ledger says otherwise"
        yield LogFinding(
            "revocation",
            f"certificate {row.serial} of {row.spiffe_id} was revoked ({entry.reason}), and "
            f"{stored}",
        )


def _text(entry: AuditEntry, key: str) -> str | None:
    value = entry.details.get(key)
    return value if isinstance(value, str) else None


def _history_of(entry: AuditEntry) -> History | None:
    certificates, issuers, digest = (
        entry.details.get(key) for key in ("certificates", "issuers", "rows_sha256")
    )
    if isinstance(certificates, int) and isinstance(issuers, int) and isinstance(digest, str):
        return History(certificates, issuers, digest)
    return None
