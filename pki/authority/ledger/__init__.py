"""The CA's ledger. Each operation makes all its changes in one durable commit."""

from pki.authority.ledger.intents import SigningIntent
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
    "SigningIntent",
    "Transaction",
]
