"""The CA's ledger. Each operation makes all its changes in one durable commit."""

from pki.authority.ledger.databases.access import LedgerAccess
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
from pki.authority.ledger.rotation import BundleRecord, TrustReport
from pki.authority.ledger.transaction import Transaction

__all__ = [
    "AuthoritySettings",
    "BundleRecord",
    "CertificateRecord",
    "CrlRecord",
    "IssuerKind",
    "IssuerRecord",
    "IssuerStatus",
    "Ledger",
    "LedgerAccess",
    "NameKind",
    "SigningIntent",
    "Transaction",
    "TrustReport",
]
