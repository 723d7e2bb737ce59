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
    """The status of a root or an issuing CA."""

    PREPARED = "prepared"
    """It is published, an issuing CA with its CRL; no leaf is issued under it yet."""
    ACTIVE = "active"
    """New leaves are issued under it."""
    SUPERSEDED = "superseded"
    """No new leaves are issued under it; those that there are stay valid until they end."""
    DISTRUSTED = "distrusted"
    """The root's CRL revokes this issuing CA; all leaves that it signed are refused."""
    WITHDRAWN = "withdrawn"
    """The root is in no trust bundle any more, and nothing below it is accepted."""


class NameKind(StrEnum):
    """The types of names that only one workload may hold."""

    SPIFFE = "spiffe"
    DNS = "dns"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class NameClaim:
    """A workload's claim to a name.

    Args:
        kind: of the name.
        value: the name.
        owner: the workload's SPIFFE ID.
        until: the end of the certificate that has it.
    """

    kind: NameKind
    value: str
    owner: str
    until: datetime


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

    @property
    def serial(self) -> str:
        """The serial number, in lower-case hex."""
        return f"{self.certificate.serial_number:x}"

    @property
    def not_after(self) -> datetime:
        """The certificate's end."""
        return self.certificate.not_valid_after_utc


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
