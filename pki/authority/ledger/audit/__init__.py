"""The audit log in the ledger: an append-only Merkle log of all that the CA decided."""

from pki.authority.ledger.audit.entry import Actor, AuditAction, AuditEntry
from pki.authority.ledger.audit.log import AuditHead, AuditLog

__all__ = ["Actor", "AuditAction", "AuditEntry", "AuditHead", "AuditLog"]
