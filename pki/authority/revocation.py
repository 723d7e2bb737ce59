"""Revoke certificates with all their renewals, for good."""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence
from dataclasses import replace
from datetime import datetime
from string import hexdigits
from types import MappingProxyType

from cryptography import x509

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext
from pki.authority.ledger import (
    CertificateRecord,
    IssuerKind,
    SigningIntent,
    Transaction,
)
from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.authority.ledger.audit.entry import Detail, shorten_list
from pki.authority.ledger.hierarchy import is_usable
from pki.authority.ledger.renewals import with_renewals
from pki.authority.lifetimes import MAX_LEAF
from pki.authority.unrecorded.requested import revoke_requested
from pki.background import defer
from pki.errors import InputError, LedgerError, PkiError, quote_untrusted
from pki.identity import SpiffeId
from pki.x509.revocation import RevokedEntry

_log = logging.getLogger(__name__)

# RFC 5280 §5.3.1, without the hold, because a revocation is final here, and the reasons for CAs.
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
_SPELLINGS = {**REASONS, **{flag.value: flag for flag in REASONS.values()}}
_SERIAL_END = 1 << 159  # RFC 5280 §4.1.2.2: 20 octets, and positive


def parse_reason(name: str) -> x509.ReasonFlags:
    """Parse a reason's name, ``key-compromise``, or as RFC 5280 writes it: ``keyCompromise``.

    Raises:
        InputError: if RFC 5280 has no such reason, or it does not fit a leaf.
    """
    if name not in _SPELLINGS:
        raise InputError(
            f"{quote_untrusted(name)} is no reason to revoke",
            remedy=f"Use one of {', '.join(REASONS)}",
        )
    return _SPELLINGS[name]


def parse_serial(text: str) -> str:
    """Normalize a serial number in hex: lower case, without colons, ``0x`` and leading zeros."""
    return text.lower().replace(":", "").removeprefix("0x").lstrip("0")


def parse_serial_prefix(text: str) -> tuple[str, bool]:
    """Normalize the beginning of a serial number, as a user copies it from a program's output.

    Returns:
        Its digits as :func:`parse_serial` returns them, and whether the text says that the number
        goes on, as in ``17392cb5..``: then the digits are surely not the whole number.
    """
    # openssl x509 -serial prints serial=..., and others print a space between two octets.
    digits = "".join(text.split()).lower().removeprefix("serial=")
    beginning = digits.rstrip(".\N{HORIZONTAL ELLIPSIS}")
    return parse_serial(beginning), beginning != digits


def revoke(
    context: AuthorityContext,
    serials: Sequence[str],
    reason: x509.ReasonFlags,
    *,
    whole_line: bool = False,
) -> tuple[CertificateRecord, ...]:
    """Revoke certificates with all their renewals, and sign the CRLs in the same commit.

    The reason ``key-compromise`` revokes every other certificate of their keys too, and the keys
    are never certified again.

    Args:
        context: the CA.
        serials: the serial numbers in lower-case hex.
        reason: one of RFC 5280's reasons.
        whole_line: revoke also the certificates from which these were renewed.

    Returns:
        All certificates that are revoked now, oldest first, those included that were revoked
        before. A serial number without a certificate is put on the CRLs alone, and is not among
        the results: one that an external signer or a root was asked to sign, or one that an older
        ledger, accepted within the last day, does not hold.

    Raises:
        InputError: if the CA did not issue one of them; then none is revoked.
    """
    refusal = context.audit_entry(
        AuditAction.REFUSE,
        asked=AuditAction.REVOKE.value,
        serials=shorten_list(serials),
    )
    with (
        recorded_refusals(context.ledger, refusal),
        context.ledger.transaction() as transaction,
    ):
        known: list[CertificateRecord] = []
        for serial in serials:
            record = transaction.certificate_by_serial(serial)
            if record is not None:
                known.append(record)
            elif (intent := transaction.intents.of_serial(serial)) is not None:
                revoke_intents(context, transaction, [intent], reason)
            elif revoke_requested(context, transaction, serial, reason):
                continue
            elif may_be_unrecorded(context, transaction, serial):
                _revoke_unrecorded(context, transaction, serial, reason)
            else:
                raise unknown_serial_error(serial)
        return revoke_records(context, transaction, known, reason, whole_line=whole_line)


def revoke_workload(
    context: AuthorityContext, spiffe_id: SpiffeId, reason: x509.ReasonFlags
) -> tuple[CertificateRecord, ...]:
    """Revoke every certificate of a workload that has not ended; as :func:`revoke`.

    Raises:
        InputError: if it has none.
    """
    refusal = context.audit_entry(
        AuditAction.REFUSE, subject=str(spiffe_id), asked=AuditAction.REVOKE.value
    )
    with (
        recorded_refusals(context.ledger, refusal),
        context.ledger.transaction() as transaction,
    ):
        now = context.now()
        live = transaction.certificates_of_workload(str(spiffe_id), ends_after=now)
        intents = transaction.intents.of_subject(str(spiffe_id), ends_after=now)
        revoke_intents(context, transaction, intents, reason)
        if not live and not intents:
            raise no_certificate_error(spiffe_id)
        return revoke_records(context, transaction, live, reason, whole_line=False)


def revoke_records(
    context: AuthorityContext,
    transaction: Transaction,
    certificates: Sequence[CertificateRecord],
    reason: x509.ReasonFlags,
    *,
    whole_line: bool = False,
    decided_at: datetime | None = None,
) -> tuple[CertificateRecord, ...]:
    """Revoke certificates of the ledger with all their renewals; end the recovery of their lines.

    The reason ``key-compromise`` blocks the lines: nothing of them is renewed any more.

    Args:
        context: the CA.
        transaction: of the ledger.
        certificates: the certificates to begin with.
        reason: one of RFC 5280's reasons.
        whole_line: revoke also the certificates from which these were renewed.
        decided_at: when it was decided, if it could not be recorded then.

    Returns:
        All certificates that are revoked now, oldest first.
    """
    now = decided_at or context.now()
    is_compromise = reason is x509.ReasonFlags.key_compromise
    revoked = with_renewals(
        certificates, transaction, same_keys=is_compromise, whole_line=whole_line
    )
    if is_compromise:
        transaction.keys.mark_compromised((item.key_fingerprint for item in revoked), at=now)
    transaction.mark_revoked((item.id for item in revoked), at=now, reason=reason.value)
    for item in sorted(revoked, key=lambda item: item.id):
        if item.revoked_at is None:
            transaction.audit.append(
                decided_then(
                    context.audit_entry(
                        AuditAction.REVOKE,
                        certificate=item.certificate,
                        at=now if decided_at is None else context.now(),
                        subject=item.spiffe_id,
                        reason=reason.value,
                    ),
                    decided_at,
                )
            )
    lines = {item.line_id for item in revoked}
    if is_compromise:
        transaction.lines.block(lines, reason="a key of it was compromised", at=now)
    else:
        transaction.lines.end_recovery(lines)
    if not context.signs_lists_later:
        touched = {item.issuer_id for item in revoked}
        sign_lists(context, transaction, touched, needs_one=True)
    return tuple(
        record
        for item in sorted(revoked, key=lambda item: item.id)
        if (record := transaction.certificate_by_serial(item.serial)) is not None
    )


def revoke_intents(
    context: AuthorityContext,
    transaction: Transaction,
    intents: Sequence[SigningIntent],
    reason: x509.ReasonFlags,
    *,
    decided_at: datetime | None = None,
) -> None:
    """Put the serial numbers of leaves on the CRLs that were perhaps signed, not recorded."""
    now = decided_at or context.now()
    open_ones = [item for item in intents if item.revoked_at is None]
    transaction.intents.mark_revoked([item.serial for item in open_ones], at=now)
    for item in open_ones:
        transaction.audit.append(
            decided_then(
                context.audit_entry(
                    AuditAction.REVOKE,
                    subject=item.subject,
                    serial=item.serial,
                    reason=reason.value,
                ),
                decided_at,
            )
        )
    if reason is x509.ReasonFlags.key_compromise:
        transaction.keys.mark_compromised((item.key_fingerprint for item in open_ones), at=now)
    for item in open_ones:
        entry = RevokedEntry(int(item.serial, 16), now, reason)
        transaction.recovery.add_unrecorded(item.issuer_id, [entry])
    if not context.signs_lists_later:
        sign_lists(context, transaction, {item.issuer_id for item in open_ones})


def decided_then(entry: AuditEntry, decided_at: datetime | None) -> AuditEntry:
    """Return the entry of a revocation that could not be recorded when it was decided."""
    if decided_at is None:
        return entry
    details: dict[str, Detail] = {"revoked_at": int(decided_at.timestamp()), "source": "pending"}
    return replace(entry, details={**entry.details, **details})


def unknown_serial_error(serial: str) -> InputError:
    """Return the error for a serial number that this CA can't have used."""
    return InputError(
        f"this CA issued no certificate with the serial number {quote_untrusted(serial)}",
        remedy="See them with: handfast list",
    )


def no_certificate_error(spiffe_id: SpiffeId) -> InputError:
    """Return the error for a workload that has nothing to revoke."""
    return InputError(
        f"{spiffe_id} has no certificate that is still valid",
        remedy="See them with: handfast list --all",
    )


def may_be_unrecorded(context: AuthorityContext, transaction: Transaction, serial: str) -> bool:
    """Return whether this serial number may be of a valid certificate that an older ledger lost."""
    accepted = transaction.recovery.accepted_at()
    is_serial = bool(serial) and set(serial) <= set(hexdigits) and int(serial, 16) < _SERIAL_END
    # No lower bound, because the clock may have jumped back.
    return accepted is not None and is_serial and context.now() <= accepted + MAX_LEAF


def _revoke_unrecorded(
    context: AuthorityContext, transaction: Transaction, serial: str, reason: x509.ReasonFlags
) -> None:
    """Put a serial number on the CRL of every issuing CA that may have used it."""
    now = context.now()
    transaction.audit.append(
        context.audit_entry(AuditAction.REVOKE, serial=f"{int(serial, 16):x}", reason=reason.value)
    )
    issuing = [
        item.id
        for item in transaction.issuers()
        if item.kind is IssuerKind.ISSUING and is_usable(item)
    ]
    for issuer_id in issuing:
        entry = RevokedEntry(int(serial, 16), now, reason)
        transaction.recovery.add_unrecorded(issuer_id, [entry])
    # At once: what the ledger does not hold is announced by its list alone.
    failed = sign_lists(context, transaction, issuing)
    if failed is not None:
        raise failed


def sign_lists(
    context: AuthorityContext,
    transaction: Transaction,
    issuer_ids: Container[int],
    *,
    needs_one: bool = False,
) -> PkiError | None:
    """Sign a new CRL for each of these issuing CAs, if receivers may still accept what it signed.

    The key of one that is distrusted or withdrawn may be destroyed, and nobody needs its CRL. A CRL
    that can't be signed now undoes nothing else: it is signed once it can be.

    Args:
        context: the CA.
        transaction: of the ledger.
        issuer_ids: the issuing CAs.
        needs_one: raise the error if none can be signed: then nothing else is undone, and whoever
            gave a wrong passphrase tries again.

    Returns:
        Why one could not be signed; None if all were.
    """
    if transaction.waits:
        return None  # a restored ledger signs all lists once it knows what was revoked meanwhile
    failed: PkiError | None = None
    signed = 0
    for issuer in transaction.issuers():
        is_wanted = issuer.id in issuer_ids and issuer.kind is IssuerKind.ISSUING
        if not is_wanted or not is_usable(issuer):
            continue
        try:
            context.refresh_crl(issuer, transaction)
        except LedgerError:
            raise
        except PkiError as error:
            defer(
                _log.error, "the list of issuing CA %s lacks a revocation: %s", issuer.key_id, error
            )
            failed = error
        else:
            signed += 1
    if failed is not None and needs_one and not signed:
        raise failed
    return failed
