"""Revokes certificates: what is revoked stays revoked, and so does what was renewed from it."""

from __future__ import annotations

from string import hexdigits
from types import MappingProxyType

from cryptography import x509

from pki.authority.context import AuthorityContext, root_record
from pki.authority.ledger import (
    CertificateRecord,
    CrlRecord,
    IssuerKind,
    IssuerStatus,
    Transaction,
)
from pki.authority.lifetimes import MAX_LEAF
from pki.authority.lineage import all_that_follows
from pki.errors import InputError, StateError, quote_untrusted
from pki.x509 import Crl
from pki.x509.readers import read_crls
from pki.x509.revocation import RevokedEntry

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


_SERIAL_END = 1 << 159  # RFC 5280 §4.1.2.2: 20 octets, and positive


def parse_reason(name: str) -> x509.ReasonFlags:
    """Read a reason's name, e.g. ``key-compromise``.

    Raises:
        InputError: if it is none of RFC 5280's that fit a leaf.
    """
    if name not in REASONS:
        raise InputError(
            f"{quote_untrusted(name)} is no reason to revoke",
            remedy=f"Use one of {', '.join(REASONS)}",
        )
    return REASONS[name]


def revoke(
    context: AuthorityContext, serial: str, reason: x509.ReasonFlags
) -> tuple[CertificateRecord, ...]:
    """Revoke a certificate and all that was renewed from it; the lists are signed in one commit.

    For ``key-compromise`` that is every certificate of the key, too, and nothing is ever certified
    for that key again.

    Args:
        context: the CA.
        serial: its serial number in lower-case hex.
        reason: why.

    Returns:
        Every certificate that is revoked by this, those included that were so before. None where
        an older ledger was accepted within the last day, and the certificate is not in it: then
        its serial number stands on the lists.

    Raises:
        InputError: if the CA issued no such certificate.
    """
    with context.ledger.transaction() as transaction:
        first = transaction.certificate_by_serial(serial)
        if first is None and _may_be_lost(context, transaction, serial):
            _revoke_unrecorded(context, transaction, serial, reason)
            return ()
        if first is None:
            raise InputError(
                f"this CA issued no certificate with the serial number {quote_untrusted(serial)}",
                remedy="See them with: handfast list",
            )
        hit = all_that_follows(
            [first], transaction, same_keys=reason is x509.ReasonFlags.key_compromise
        )
        if reason is x509.ReasonFlags.key_compromise:
            transaction.mark_compromised((item.key_fingerprint for item in hit), at=context.now())
        transaction.mark_revoked((item.id for item in hit), at=context.now(), reason=reason.value)
        touched = {item.issuer_id for item in hit}
        for issuer in transaction.issuers():
            if issuer.id in touched:
                context.refresh_crl(issuer, transaction)
        return tuple(
            found
            for item in hit
            if (found := transaction.certificate_by_serial(item.serial)) is not None
        )


def _refresh_ahead_root(context: AuthorityContext, transaction: Transaction) -> int:
    """Sign the root's list anew if a clock that was ahead signed it, and the root's key is here."""
    root = root_record(transaction)
    current = transaction.crl_of(root.id)
    if current is None or not context.home.root_key.exists():
        return 0
    found = Crl.of(read_crls(current.der)[0])
    now = context.now()
    if found.this_update <= now or now < root.certificate.not_valid_before_utc:
        return 0
    context.refresh_root_crls(transaction)
    return 1


def _is_due(context: AuthorityContext, current: CrlRecord | None) -> bool:
    """Return whether a list is past half of its life, or was signed by a clock that was ahead."""
    if current is None:
        return True
    now, lifetime = context.now(), context.settings.crl_lifetime
    # A clock that was ahead gives both ends away: a list that begins later than now, or that ends
    # later than one signed now would.
    found = Crl.of(read_crls(current.der)[0])
    left = current.next_update - now
    return found.this_update > now or left < lifetime / 2 or left > lifetime


def _may_be_lost(context: AuthorityContext, transaction: Transaction, serial: str) -> bool:
    """Return whether a certificate may be good that an accepted, older ledger does not hold."""
    accepted = transaction.recovery.accepted_at()
    readable = bool(serial) and set(serial) <= set(hexdigits) and int(serial, 16) < _SERIAL_END
    # A clock that jumped back must not hide it: only the end of the time counts.
    return accepted is not None and readable and context.now() <= accepted + MAX_LEAF


def _revoke_unrecorded(
    context: AuthorityContext, transaction: Transaction, serial: str, reason: x509.ReasonFlags
) -> None:
    """Put a serial number on the list of every issuing CA that may have issued it."""
    now = context.now()
    for issuer in transaction.issuers():
        if issuer.kind is IssuerKind.ISSUING and issuer.status is not IssuerStatus.DISTRUSTED:
            entry = RevokedEntry(int(serial, 16), now, reason)
            transaction.recovery.add_unrecorded(issuer.id, [entry])
            context.refresh_crl(issuer, transaction)


def refresh_crls(context: AuthorityContext, *, force: bool) -> int:
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
            current = transaction.crl_of(issuer.id)
            if not force and not _is_due(context, current):
                continue
            try:
                context.refresh_crl(issuer, transaction)
            except StateError:
                # A distrusted CA's key may be gone for good; its list matters no more.
                if issuer.status is not IssuerStatus.DISTRUSTED:
                    raise
            else:
                signed += 1
        signed += _refresh_ahead_root(context, transaction)
    return signed
