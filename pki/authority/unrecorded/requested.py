"""Revoke an issuing CA that a root was asked for and whose certificate never came here.

A root signs elsewhere, or in a token while no transaction is open: an answer that is lost, or a
process that dies, leaves a certificate that nobody here has seen. Its serial number is the CA's own
choice and is in the audit log since the request, so it can be put on the root's list.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509

from pki.authority.context import AuthorityContext
from pki.authority.crls import sign_root_crls
from pki.authority.ledger import IssuerKind, IssuerRecord, Transaction
from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.authority.ledger.hierarchy import trusted_roots
from pki.errors import InputError
from pki.x509.revocation import RevokedEntry


@dataclass(frozen=True, slots=True)
class RequestedIssuer:
    """An issuing CA that a root was asked for: its key id, and the root."""

    key_id: str
    root: IssuerRecord


def revoke_requested(
    context: AuthorityContext,
    transaction: Transaction,
    serial: str,
    reason: x509.ReasonFlags,
    *,
    decided_at: datetime | None = None,
) -> bool:
    """Put the serial number of an issuing CA that was only requested on its root's list.

    Without the root's key, the list is signed with the next request; an event says so.

    Args:
        context: the CA.
        transaction: of the ledger.
        serial: the serial number in lower-case hex.
        reason: why.
        decided_at: when it was decided, if it could not be recorded then.

    Returns:
        Whether an issuing CA was requested with this serial number.

    Raises:
        InputError: if it was recorded since, or its root is trusted by nobody.
    """
    requested = requested_issuer(transaction, serial)
    if requested is None:
        return False
    root, key_id = requested.root, requested.key_id
    at = decided_at or context.now()
    held = {item.serial for item in transaction.recovery.unrecorded_of(root.id)}
    is_new = int(serial, 16) not in held
    if is_new:
        transaction.recovery.add_unrecorded(root.id, [RevokedEntry(int(serial, 16), at, reason)])
        then: dict[str, Any] = {}
        if decided_at is not None:
            then = {"revoked_at": int(decided_at.timestamp()), "source": "pending"}
        transaction.audit.append(
            context.audit_entry(
                AuditAction.REVOKE, serial=serial, reason=reason.value, issuing_ca=key_id, **then
            )
        )
    opened = context.root_ca_if_there(root, transaction)
    if opened is not None:
        now, backdate = context.now(), context.settings.backdate
        sign_root_crls(opened, transaction, now=now, backdate=backdate)
    elif is_new:
        transaction.add_event(
            "root-list-due",
            f"issuing CA {key_id} (serial number {serial}), which was only requested, is revoked: "
            f"root {root.key_id} must sign its list (handfast ca root crl)",
            at=context.now(),
        )
    return True


def requested_issuer(transaction: Transaction, serial: str) -> RequestedIssuer | None:
    """Return the issuing CA that was requested with a serial number; None if none was.

    Raises:
        InputError: if it was recorded since, or its root is trusted by nobody.
    """
    asked = [AuditEntry.parse(text) for _, text in transaction.audit.entries_about(serial)]
    requests = [item for item in asked if item.action is AuditAction.ROOT_REQUEST]
    if not requests:
        return None
    key_id, root_id = (str(requests[-1].details.get(name)) for name in ("issuing_ca", "root"))
    for item in transaction.issuers():
        if f"{item.certificate.serial_number:x}" == serial and item.kind is IssuerKind.ISSUING:
            raise InputError(
                f"{serial} is the serial number of issuing CA {key_id}",
                remedy=f"Distrust it with all that it signed: handfast ca distrust {key_id}",
            )
    root = next(
        (item for item in trusted_roots(transaction.issuers()) if item.key_id == root_id), None
    )
    if root is None:
        raise InputError(
            f"issuing CA {key_id} was requested under root {root_id}, which is in no trust bundle: "
            "nobody accepts it",
        )
    return RequestedIssuer(key_id, root)
