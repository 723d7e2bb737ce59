"""Import published CRLs into the ledger, so that what this CA once revoked stays revoked.

A published CRL that the ledger does not hold comes from a ledger that was lost: this ledger is an
older copy, or was restored from a backup. The CRL is accepted if a CA of this ledger signed it, and
everything on it is revoked here too:

1. A certificate in the ledger is revoked with the entry's date and reason, and so are its renewals.
2. A serial number that is not in the ledger is kept for all later CRLs.
3. An issuing CA on the root's CRL is distrusted.
4. Later CRLs have higher numbers. The published CRL becomes the current one, unless the ledger
   revokes more: then a new one must be signed.
5. A withdrawn root's CRL is ignored: nobody relies on it, and its key may have leaked. A withdrawn
   issuing CA's CRL still revokes certificates, so that they are not renewed; it needs no new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from cryptography import x509

from pki.authority.audit.pruned import is_pruned
from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.ledger.audit import Actor, AuditAction, AuditEntry
from pki.authority.ledger.audit.entry import shorten_list
from pki.authority.ledger.hierarchy import is_usable
from pki.authority.ledger.renewals import with_renewals
from pki.errors import StateError
from pki.x509 import Crl, CrlSet
from pki.x509.revocation import IssuerId, RevokedEntry

_SOURCE = "published-crl"
_MAX_NUMBER = 1 << 62  # the ledger's columns take 63 bits


def import_crls(
    transaction: Transaction, published: CrlSet, *, now: datetime, actor: Actor
) -> tuple[tuple[IssuerRecord, ...], tuple[IssuerRecord, ...]]:
    """Import published CRLs into the ledger.

    Args:
        transaction: of the ledger.
        published: the CRLs; those that no CA of this ledger signed are ignored.
        now: the time.
        actor: who brought them.

    Returns:
        The issuers whose CRLs held something new, and those of them that need a new CRL.

    Raises:
        StateError: if the number of a CRL is so high that none can follow it.
    """
    touched: list[IssuerRecord] = []
    behind: list[IssuerRecord] = []
    for issuer in transaction.issuers():
        crl = published.crls.get(IssuerId.of_ca(issuer.certificate))
        if crl is None or not crl.is_signed_by(issuer.certificate):
            continue
        is_withdrawn = issuer.status is IssuerStatus.WITHDRAWN
        if is_withdrawn and issuer.kind is IssuerKind.ROOT:
            continue
        record = transaction.crls.current(issuer.id)
        if record is not None and record.der == crl.der:
            continue
        if crl.number >= _MAX_NUMBER and not is_usable(issuer):
            # Its key leaked, so anybody may have signed this. Nobody relies on it any more.
            continue
        if crl.number >= _MAX_NUMBER:
            raise StateError(
                f"a revocation list of CA {issuer.key_id} has the number {crl.number}, and no "
                "higher one can be signed: somebody else signs with its key",
                remedy=f"handfast ca distrust {issuer.key_id}",
            )
        on_current = _serials_on_current_crl(transaction, issuer)
        unrecorded = {item.serial for item in transaction.recovery.unrecorded_of(issuer.id)}
        new = [
            item
            for item in entries_of(crl)
            if item.serial not in on_current | unrecorded
            and not _is_recorded(transaction, issuer, item.serial)
            and not is_pruned(transaction, f"{item.serial:x}")
        ]
        number = record.number if record is not None else 0
        if not new and crl.number < number:
            # An older CRL, which receivers may still hold: nothing is wrong.
            continue
        for entry in _revoke(transaction, issuer, new, now=now, actor=actor):
            transaction.audit.append(entry)
        if crl.number > number and on_current <= crl.revoked:
            transaction.crls.put(issuer.id, crl)
        else:
            transaction.recovery.raise_crl_floor(issuer.id, max(crl.number, number))
            behind += [] if is_withdrawn else [issuer]
        touched.append(issuer)
    if transaction.waits:
        # It signs a list once it has those of all issuers.
        behind = []
    if touched:
        transaction.add_event(
            "published-crl-ahead",
            f"published CRLs of {', '.join(item.key_id for item in touched)} were newer than this "
            "ledger: what they revoke is recorded now. Either this ledger is an older copy, or "
            "another copy was used beside it",
            at=now,
        )
        key_ids = shorten_list([item.key_id for item in touched])
        transaction.audit.append(
            AuditEntry.of(AuditAction.IMPORT_CRLS, now, actor, issuers=key_ids)
        )
    return tuple(touched), tuple(behind)


def _serials_on_current_crl(transaction: Transaction, issuer: IssuerRecord) -> frozenset[int]:
    """Return the serial numbers on the issuer's current CRL in the ledger."""
    crl = transaction.crls.current_list(issuer.id)
    return frozenset() if crl is None else crl.revoked


def _is_recorded(transaction: Transaction, issuer: IssuerRecord, serial: int) -> bool:
    """Return whether the ledger records a revocation, on the current CRL or not any more."""
    if issuer.kind is IssuerKind.ROOT:
        return any(
            item.certificate.serial_number == serial and item.status is IssuerStatus.DISTRUSTED
            for item in transaction.issuers()
        )
    record = transaction.certificate_by_serial(f"{serial:x}")
    return record is not None and record.issuer_id == issuer.id and record.revoked_at is not None


def _revoke(
    transaction: Transaction,
    issuer: IssuerRecord,
    entries: Sequence[RevokedEntry],
    *,
    now: datetime,
    actor: Actor,
) -> Iterator[AuditEntry]:
    """Revoke what a CRL revokes; yield the entries for the audit log."""
    unrecorded: list[RevokedEntry] = []
    for entry in entries:
        if issuer.kind is IssuerKind.ROOT:
            distrusted = [
                item
                for item in transaction.issuers()
                if item.certificate.serial_number == entry.serial
            ]
            for item in distrusted:
                transaction.set_status(item.id, IssuerStatus.DISTRUSTED)
                yield AuditEntry.of(
                    AuditAction.DISTRUST,
                    now,
                    actor,
                    certificate=item.certificate,
                    reason=_SOURCE,
                    issuing_ca=item.key_id,
                )
            unrecorded += [] if distrusted else [entry]
            continue
        record = transaction.certificate_by_serial(f"{entry.serial:x}")
        if record is None or record.issuer_id != issuer.id:
            unrecorded.append(entry)
            continue
        revoked = with_renewals(
            [record], transaction, same_keys=entry.reason is x509.ReasonFlags.key_compromise
        )
        if entry.reason is x509.ReasonFlags.key_compromise:
            transaction.keys.mark_compromised(
                (item.key_fingerprint for item in revoked), at=entry.revoked_at
            )
        transaction.mark_revoked(
            (item.id for item in revoked), at=entry.revoked_at, reason=entry.reason.value
        )
        for leaf in revoked:
            if leaf.revoked_at is None:
                yield AuditEntry.of(
                    AuditAction.REVOKE,
                    now,
                    actor,
                    certificate=leaf.certificate,
                    subject=leaf.spiffe_id,
                    reason=entry.reason.value,
                    revoked_at=int(entry.revoked_at.timestamp()),
                    source=_SOURCE,
                )
    transaction.recovery.add_unrecorded(issuer.id, unrecorded)
    for entry in unrecorded:
        yield AuditEntry.of(
            AuditAction.REVOKE,
            now,
            actor,
            serial=f"{entry.serial:x}",
            reason=entry.reason.value,
            revoked_at=int(entry.revoked_at.timestamp()),
            source=_SOURCE,
        )


def entries_of(crl: Crl) -> list[RevokedEntry]:
    """Return what a CRL revokes, with dates and reasons."""
    entries = []
    for item in crl.crl:
        try:
            reason = item.extensions.get_extension_for_class(x509.CRLReason).value.reason
        except x509.ExtensionNotFound:
            reason = x509.ReasonFlags.unspecified
        entries.append(RevokedEntry(item.serial_number, item.revocation_date_utc, reason))
    return entries
