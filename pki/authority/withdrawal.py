"""Revokes certificates: what is revoked stays revoked, and so does what was renewed from it."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from cryptography import x509

from pki.authority.context import AuthorityContext
from pki.authority.ledger import CertificateRecord, IssuerKind, IssuerStatus, Transaction
from pki.errors import InputError, StateError, shown

# RFC 5280 §5.3.1. A hold could be lifted, and what is revoked stays revoked; the CA reasons are for
# CAs.
REASONS = MappingProxyType(
    {
        "unspecified": x509.ReasonFlags.unspecified,
        "key-compromise": x509.ReasonFlags.key_compromise,
        "affiliation-changed": x509.ReasonFlags.affiliation_changed,
        "superseded": x509.ReasonFlags.superseded,
        "cessation-of-operation": x509.ReasonFlags.cessation_of_operation,
        "privilege-withdrawn": x509.ReasonFlags.privilege_withdrawn,
    }
)


def parse_reason(name: str) -> x509.ReasonFlags:
    """Read a reason's name, e.g. ``key-compromise``.

    Raises:
        InputError: if it is none of RFC 5280's that fit a leaf.
    """
    if name not in REASONS:
        raise InputError(
            f"{shown(name)} is no reason to revoke", remedy=f"Use one of {', '.join(REASONS)}"
        )
    return REASONS[name]


def revoke(
    context: AuthorityContext, serial: str, reason: x509.ReasonFlags
) -> tuple[CertificateRecord, ...]:
    """Revoke a certificate and all that was renewed from it; the lists are signed in one commit.

    For ``key-compromise`` that is every certificate of the key, too, and the key is refused for good.

    Args:
        context: the CA.
        serial: its serial number in lower-case hex.
        reason: why.

    Returns:
        Every certificate that is revoked by this, those included that were so before.

    Raises:
        InputError: if the CA issued no such certificate.
    """
    with context.ledger.transaction() as transaction:
        first = transaction.certificate_by_serial(serial)
        if first is None:
            raise InputError(
                f"this CA issued no certificate with the serial number {shown(serial)}",
                remedy="See them with: handfast list",
            )
        hit = _with_all_that_follows(
            [first], transaction, same_keys=reason is x509.ReasonFlags.key_compromise
        )
        if reason is x509.ReasonFlags.key_compromise:
            transaction.mark_compromised(
                (item.key_fingerprint for item in hit), at=context.now()
            )
        transaction.mark_revoked((item.id for item in hit), at=context.now(), reason=reason.value)
        touched = {item.issuer_id for item in hit}
        for issuer in transaction.issuers():
            if issuer.id in touched:
                context.refresh_list(issuer, transaction)
        return tuple(
            found
            for item in hit
            if (found := transaction.certificate_by_serial(item.serial)) is not None
        )


def _with_all_that_follows(
    first: Sequence[CertificateRecord], transaction: Transaction, *, same_keys: bool
) -> list[CertificateRecord]:
    """Return certificates with what was renewed from them and, if asked for, all of their keys."""
    hit: dict[int, CertificateRecord] = {}
    waiting = list(first)
    while waiting:
        item = waiting.pop(0)
        if item.id in hit:
            continue
        hit[item.id] = item
        follower = transaction.renewal_of(item.id)
        waiting += [follower] if follower is not None else []
        if same_keys:
            waiting += transaction.certificates_of_keys([item.key_fingerprint])
    return list(hit.values())


def refresh_lists(context: AuthorityContext, *, force: bool) -> int:
    """Sign every issuing CA's list anew that is past half of its life.

    Args:
        context: the CA.
        force: sign all of them now.

    Returns:
        How many were signed.

    Raises:
        StateError: if a key is missing for one that is due.
    """
    now = context.now()
    signed = 0
    with context.ledger.transaction() as transaction:
        for issuer in transaction.issuers():
            ended = issuer.certificate.not_valid_after_utc < now
            if issuer.kind is not IssuerKind.ISSUING or ended:
                continue
            current = transaction.list_of(issuer.id)
            due = current is None or current.next_update - now < context.settings.list_lifetime / 2
            if not due and not force:
                continue
            try:
                context.refresh_list(issuer, transaction)
            except StateError:
                # A distrusted CA's key may be gone for good; its list matters no more.
                if issuer.status is not IssuerStatus.DISTRUSTED:
                    raise
            else:
                signed += 1
    return signed
