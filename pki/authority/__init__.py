"""The CA: issues, renews, revokes, and remembers durably what it did."""

from pki.authority.authority import Authority
from pki.authority.issued import Issued
from pki.authority.ledger import CertificateRecord, IssuerRecord

__all__ = ["Authority", "CertificateRecord", "Issued", "IssuerRecord"]
