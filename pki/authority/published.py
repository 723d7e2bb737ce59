"""Takes published lists back into the ledger: what a list of our own once revoked stays revoked.

A list that is published and not in the ledger comes from a ledger that was lost: this one is an
older copy, or was brought up from a backup. Its list is believed if it bears the signature of a CA
of ours, and everything on it is revoked here too:

1. A certificate that the ledger holds is revoked with its date and reason, and all that was renewed
   from it.
2. A serial number that it does not hold is kept for the lists to come.
3. An issuing CA on the root's list is distrusted.
4. Lists to come bear higher numbers. The published list is the current one, unless the ledger
   revokes more: then a new one must be signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.lineage import all_that_follows
from pki.errors import StateError
from pki.x509 import Crl, CrlSet
from pki.x509.readers import read_crls
from pki.x509.revocation import IssuerId, RevokedEntry

_MAX_NUMBER = 1 << 62  # the ledger's columns take 63 bits


def take_in(
    transaction: Transaction, published: CrlSet, *, now: datetime
) -> tuple[tuple[IssuerRecord, ...], tuple[IssuerRecord, ...]]:
    """Take published lists into the ledger.

    Args:
        transaction: of the ledger.
        published: lists; those that bear no signature of ours are passed over.
        now: the time.

    Returns:
        The issuers of whose lists something was new, and those of them that need a new list.

    Raises:
        StateError: if a list bears a number that leaves no room for another.
    """
    touched: list[IssuerRecord] = []
    behind: list[IssuerRecord] = []
    for issuer in transaction.issuers():
        found = published.crls.get(IssuerId.named_by(issuer.certificate))
        if found is None or not found.is_signed_by(issuer.certificate):
            continue
        record = transaction.crl_of(issuer.id)
        if record is not None and record.der == found.der:
            continue
        if found.number >= _MAX_NUMBER and issuer.status is IssuerStatus.DISTRUSTED:
            # Whoever has its key signs what they like. It matters no more, and holds up nothing.
            continue
        if found.number >= _MAX_NUMBER:
            raise StateError(
                f"a revocation list of CA {issuer.key_id} bears the number {found.number}, and no "
                "higher one can be signed: somebody else signs with its key",
                remedy=f"handfast ca distrust {issuer.key_id}",
            )
        held = _held(transaction, issuer)
        held_elsewhere = {item.serial for item in transaction.recovery.unrecorded_of(issuer.id)}
        new = [
            item
            for item in _entries(found)
            if item.serial not in held | held_elsewhere
            and not _knows(transaction, issuer, item.serial)
        ]
        number = record.number if record is not None else 0
        if not new and found.number < number:
            # An older list that is out somewhere, as it should be.
            continue
        _revoke(transaction, issuer, new)
        if found.number > number and held <= found.revoked:
            transaction.put_crl(issuer.id, found)
        else:
            transaction.recovery.raise_crl_floor(issuer.id, max(found.number, number))
            behind.append(issuer)
        touched.append(issuer)
    if touched:
        transaction.add_event(
            "published-list-ahead",
            "revocation lists were published that the ledger did not know, of "
            f"{', '.join(item.key_id for item in touched)}: what they revoke was recorded. The "
            "ledger is an older copy, or one was used beside it",
            at=now,
        )
    return tuple(touched), tuple(behind)


def _held(transaction: Transaction, issuer: IssuerRecord) -> frozenset[int]:
    """Return the serial numbers on the issuer's list that the ledger has."""
    record = transaction.crl_of(issuer.id)
    if record is None:
        return frozenset()
    return Crl.of(read_crls(record.der)[0]).revoked


def _knows(transaction: Transaction, issuer: IssuerRecord, serial: int) -> bool:
    """Return whether the ledger has a revocation that need not stand on the list any more."""
    if issuer.kind is IssuerKind.ROOT:
        return any(
            item.certificate.serial_number == serial and item.status is IssuerStatus.DISTRUSTED
            for item in transaction.issuers()
        )
    record = transaction.certificate_by_serial(f"{serial:x}")
    return record is not None and record.issuer_id == issuer.id and record.revoked_at is not None


def _revoke(
    transaction: Transaction, issuer: IssuerRecord, entries: Sequence[RevokedEntry]
) -> None:
    unknown: list[RevokedEntry] = []
    for entry in entries:
        if issuer.kind is IssuerKind.ROOT:
            below = [
                item
                for item in transaction.issuers()
                if item.certificate.serial_number == entry.serial
            ]
            for item in below:
                transaction.set_status(item.id, IssuerStatus.DISTRUSTED)
            unknown += [] if below else [entry]
            continue
        record = transaction.certificate_by_serial(f"{entry.serial:x}")
        if record is None or record.issuer_id != issuer.id:
            unknown.append(entry)
            continue
        hit = all_that_follows(
            [record], transaction, same_keys=entry.reason is x509.ReasonFlags.key_compromise
        )
        if entry.reason is x509.ReasonFlags.key_compromise:
            transaction.mark_compromised(
                (item.key_fingerprint for item in hit), at=entry.revoked_at
            )
        transaction.mark_revoked(
            (item.id for item in hit), at=entry.revoked_at, reason=entry.reason.value
        )
    transaction.recovery.add_unrecorded(issuer.id, unknown)


def _entries(found: Crl) -> list[RevokedEntry]:
    entries = []
    for item in found.crl:
        try:
            reason = item.extensions.get_extension_for_class(x509.CRLReason).value.reason
        except x509.ExtensionNotFound:
            reason = x509.ReasonFlags.unspecified
        entries.append(RevokedEntry(item.serial_number, item.revocation_date_utc, reason))
    return entries
