"""The ledger's rows as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509

from pki.x509 import NameLimits


class IssuerKind(StrEnum):
    """The two kinds of CA certificates."""

    ROOT = "root"
    ISSUING = "issuing"


class IssuerStatus(StrEnum):
    """The status of an issuing CA."""

    PREPARED = "prepared"
    """Its CRL is published; it signs no leaf yet."""
    ACTIVE = "active"
    """It signs new leaves."""
    SUPERSEDED = "superseded"
    """It signs no new leaves; those that it signed are valid until they end."""
    DISTRUSTED = "distrusted"
    """The root's CRL revokes it; all leaves that it signed are refused."""


class NameKind(StrEnum):
    """The types of names that only one workload may hold."""

    SPIFFE = "spiffe"
    DNS = "dns"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """The settings with which the CA was made."""

    limits: NameLimits
    backdate: timedelta
    crl_lifetime: timedelta
    created_at: datetime


@dataclass(frozen=True, slots=True)
class IssuerRecord:
    """One of the CA's own certificates."""

    id: int
    kind: IssuerKind
    status: IssuerStatus
    key_id: str
    certificate: x509.Certificate
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """A new leaf to record."""

    issuer_id: int
    spiffe_id: str
    profile: str
    certificate: x509.Certificate
    key_fingerprint: str
    issued_at: datetime
    line_id: str
    renewed_from: int | None = None


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A leaf that the CA issued."""

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
    line_id: str


@dataclass(frozen=True, slots=True)
class CrlRecord:
    """An issuer's current CRL."""

    issuer_id: int
    number: int
    der: bytes
    next_update: datetime
