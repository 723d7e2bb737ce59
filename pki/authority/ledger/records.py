"""What the ledger gives and takes: its rows as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509

from pki.x509 import NameLimits


class IssuerKind(StrEnum):
    """Which of the two kinds of CA."""

    ROOT = "root"
    ISSUING = "issuing"


class IssuerStatus(StrEnum):
    """Where an issuing CA stands in its life."""

    PREPARED = "prepared"
    """Its list goes out; it signs no leaf yet."""
    ACTIVE = "active"
    """It signs new leaves."""
    SUPERSEDED = "superseded"
    """It signs no leaf any more; those that it signed are good until they end."""
    DISTRUSTED = "distrusted"
    """The root's list revokes it, and all that it signed with it."""


class NameKind(StrEnum):
    """The types of names that belong to one workload each."""

    SPIFFE = "spiffe"
    DNS = "dns"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """What was chosen when the CA was made."""

    limits: NameLimits
    backdate: timedelta
    crl_lifetime: timedelta
    created_at: datetime


@dataclass(frozen=True, slots=True)
class IssuerRecord:
    """One CA certificate of ours."""

    id: int
    kind: IssuerKind
    status: IssuerStatus
    key_id: str
    certificate: x509.Certificate
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """A certificate that is to be recorded."""

    issuer_id: int
    spiffe_id: str
    profile: str
    certificate: x509.Certificate
    key_fingerprint: str
    issued_at: datetime
    renewed_from: int | None = None


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate that the CA issued."""

    id: int
    issuer_id: int
    serial: str
    spiffe_id: str
    profile: str
    certificate: x509.Certificate
    key_fingerprint: str
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    renewed_from: int | None
    revoked_at: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class CrlRecord:
    """An issuer's current revocation list."""

    issuer_id: int
    number: int
    der: bytes
    next_update: datetime
