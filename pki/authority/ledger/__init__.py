"""The ledger: what the CA remembers. One durable commit holds all that an operation changes."""

from pki.authority.ledger.ledger import Ledger
from pki.authority.ledger.records import (
    AuthoritySettings,
    CertificateRecord,
    CrlRecord,
    IssuerKind,
    IssuerRecord,
    IssuerStatus,
    NameKind,
)
from pki.authority.ledger.transaction import Transaction

__all__ = [
    "AuthoritySettings",
    "CertificateRecord",
    "CrlRecord",
    "IssuerKind",
    "IssuerRecord",
    "IssuerStatus",
    "Ledger",
    "NameKind",
    "Transaction",
]
