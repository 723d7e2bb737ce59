"""Revoke certificates with all their renewals, for good, and sign CRLs anew."""

from __future__ import annotations

from collections.abc import Sequence
from string import hexdigits
from types import MappingProxyType

from cryptography import x509

from pki.authority.audit import recorded_refusals
from pki.authority.context import AuthorityContext, root_record
from pki.authority.ledger import (
    CertificateRecord,
    CrlRecord,
    IssuerKind,
    IssuerStatus,
    SigningIntent,
    Transaction,
)
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.audit.entry import shorten_list
from pki.authority.lifetimes import MAX_LEAF
from pki.authority.renewals import with_renewals
from pki.errors import InputError, StateError, quote_untrusted
from pki.identity import SpiffeId
from pki.x509 import Crl
from pki.x509.readers import read_crls
from pki.x509.revocation import RevokedEntry

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


_SERIAL_END = 1 << 159  # RFC 5280 §4.1.2.2: 20 octets, and positive


def parse_reason(name: str) -> x509.ReasonFlags:
    """Parse a reason's name, e.g. ``key-compromise``.

    Raises:
        InputError: if RFC 5280 has no such reason, or it does not fit a leaf.
    """
    if name not in REASONS:
        raise InputError(
            f"{quote_untrusted(name)} is no reason to revoke",
            remedy=f"Use one of {', '.join(REASONS)}",
        )
    return REASONS[name]


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
        the results: one that an external signer was asked to sign, or one that an older ledger,
        accepted within the last day, does not hold.

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
                _revoke_intents(context, transaction, [intent], reason)
            elif _may_be_unrecorded(context, transaction, serial):
                _revoke_unrecorded(context, transaction, serial, reason)
            else:
                raise InputError(
                    "this CA issued no certificate with the serial number "
                    f"{quote_untrusted(serial)}",
                    remedy="See them with: handfast list",
                )
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
        _revoke_intents(context, transaction, intents, reason)
        if not live and not intents:
            raise InputError(
                f"{spiffe_id} has no certificate that is still valid",
                remedy="See them with: handfast list --all",
            )
        return revoke_records(context, transaction, live, reason, whole_line=False)


def revoke_records(
    context: AuthorityContext,
    transaction: Transaction,
    certificates: Sequence[CertificateRecord],
    reason: x509.ReasonFlags,
    *,
    whole_line: bool = False,
) -> tuple[CertificateRecord, ...]:
    """Revoke certificates of the ledger with all their renewals; end the recovery of their lines.

    The reason ``key-compromise`` blocks the lines: nothing of them is renewed any more.

    Returns:
        All certificates that are revoked now, oldest first.
    """
    now = context.now()
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
                context.audit_entry(
                    AuditAction.REVOKE,
                    certificate=item.certificate,
                    at=now,
                    subject=item.spiffe_id,
                    reason=reason.value,
                )
            )
    lines = {item.line_id for item in revoked}
    if is_compromise:
        transaction.lines.block(lines, reason="a key of it was compromised", at=now)
    else:
        transaction.lines.end_recovery(lines)
    touched = set() if context.signs_lists_later else {item.issuer_id for item in revoked}
    for issuer in transaction.issuers():
        if issuer.id in touched:
            context.refresh_crl(issuer, transaction)
    return tuple(
        record
        for item in sorted(revoked, key=lambda item: item.id)
        if (record := transaction.certificate_by_serial(item.serial)) is not None
    )


def _revoke_intents(
    context: AuthorityContext,
    transaction: Transaction,
    intents: Sequence[SigningIntent],
    reason: x509.ReasonFlags,
) -> None:
    """Put the serial numbers of certificates on the CRLs that were perhaps signed, not recorded.

    Raises:
        StateError: if it is the root that was asked to sign, and its key is not there.
    """
    now = context.now()
    open_ones = [item for item in intents if item.revoked_at is None]
    transaction.intents.mark_revoked([item.serial for item in open_ones], at=now)
    for item in open_ones:
        transaction.audit.append(
            context.audit_entry(
                AuditAction.REVOKE,
                subject=item.subject,
                serial=item.serial,
                reason=reason.value,
            )
        )
    if reason is x509.ReasonFlags.key_compromise:
        transaction.keys.mark_compromised((item.key_fingerprint for item in open_ones), at=now)
    for issuer in transaction.issuers():
        entries = [
            RevokedEntry(int(item.serial, 16), now, reason)
            for item in open_ones
            if item.issuer_id == issuer.id
        ]
        if not entries:
            continue
        transaction.recovery.add_unrecorded(issuer.id, entries)
        if issuer.kind is IssuerKind.ROOT:
            context.refresh_root_crls(transaction)
        else:
            context.refresh_crl(issuer, transaction)


def _refresh_future_root_crl(context: AuthorityContext, transaction: Transaction) -> int:
    """Sign the root's CRL anew if its begin is in the future and the root's key is there."""
    root = root_record(transaction)
    current = transaction.crls.current(root.id)
    if current is None or not context.directory.holds_key(context.directory.root_key):
        return 0
    crl = Crl.of(read_crls(current.der)[0])
    now = context.now()
    if crl.this_update <= now or now < root.certificate.not_valid_before_utc:
        return 0
    if context.root_ca_if_there(transaction) is None:
        return 0
    context.refresh_root_crls(transaction)
    return 1


def _is_due(context: AuthorityContext, current: CrlRecord | None) -> bool:
    """Return whether a CRL is past half of its lifetime, or a clock that was ahead signed it."""
    if current is None:
        return True
    now, lifetime = context.now(), context.settings.crl_lifetime
    # A clock that was ahead shows in a begin in the future, or an end later than that of a CRL
    # signed now.
    crl = Crl.of(read_crls(current.der)[0])
    remaining = current.next_update - now
    return crl.this_update > now or remaining < lifetime / 2 or remaining > lifetime


def _may_be_unrecorded(context: AuthorityContext, transaction: Transaction, serial: str) -> bool:
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
    for issuer in transaction.issuers():
        if issuer.kind is IssuerKind.ISSUING and issuer.status is not IssuerStatus.DISTRUSTED:
            entry = RevokedEntry(int(serial, 16), now, reason)
            transaction.recovery.add_unrecorded(issuer.id, [entry])
            context.refresh_crl(issuer, transaction)


def refresh_crls(context: AuthorityContext, *, force: bool) -> int:
    """Sign a new CRL for each issuer whose CRL is due.

    An issuing CA's CRL is due past half of its lifetime, or if it was signed by a clock that was
    ahead; the root's CRL is due only in the second case.

    Args:
        context: the CA.
        force: sign all of them.

    Returns:
        How many were signed.

    Raises:
        StateError: if the key for one of them is not there.
    """
    now = context.now()
    signed = 0
    with context.ledger.transaction() as transaction:
        for issuer in transaction.issuers():
            ended = issuer.certificate.not_valid_after_utc < now
            if issuer.kind is not IssuerKind.ISSUING or ended:
                continue
            current = transaction.crls.current(issuer.id)
            if not force and not _is_due(context, current):
                continue
            try:
                context.refresh_crl(issuer, transaction)
            except StateError:
                # The key of a distrusted CA may be destroyed; nobody needs its CRL any more.
                if issuer.status is not IssuerStatus.DISTRUSTED:
                    raise
            else:
                signed += 1
        signed += _refresh_future_root_crl(context, transaction)
    return signed
