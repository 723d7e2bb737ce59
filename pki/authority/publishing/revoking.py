"""Revoke, whether or not the ledger can record it now: the one way for all who revoke."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from cryptography import x509

from pki.authority import revocation
from pki.authority.context import AuthorityContext
from pki.authority.ledger import CertificateRecord, IssuerKind, Transaction
from pki.authority.ledger.hierarchy import is_usable
from pki.authority.ledger.renewals import with_renewals
from pki.authority.lifetimes import MAX_LEAF
from pki.authority.pending.record import PendingEntry, PendingRevocation
from pki.authority.publishing.room import with_room
from pki.authority.unrecorded.requested import requested_issuer
from pki.background import defer
from pki.errors import LedgerError, OlderLedgerError, StateError, join_first
from pki.identity import SpiffeId
from pki.x509.revocation import IssuerId

_log = logging.getLogger(__name__)

_MOST_SHOWN = 3
_Revoked = tuple[CertificateRecord, ...]
_Named = Callable[[Transaction], Iterable[str]]


def revoke(
    context: AuthorityContext,
    serials: Iterable[str],
    reason: x509.ReasonFlags,
    *,
    whole_line: bool = False,
) -> _Revoked:
    """Revoke by serial numbers, as :func:`pki.authority.revocation.revoke`; else let it be pending.

    Raises:
        InputError: if the CA did not issue one of them; then none is revoked.
        OlderLedgerError: if the ledger is an older copy.
        LedgerError: if it can't even be read.
    """
    named = tuple(serials)
    return revoke_or_pend(
        context,
        lambda on: revocation.revoke(on, named, reason, whole_line=whole_line),
        lambda _: named,
        reason,
        whole_line=whole_line,
    )


def revoke_workload(
    context: AuthorityContext, spiffe_id: SpiffeId, reason: x509.ReasonFlags
) -> _Revoked:
    """Revoke a workload, as :func:`pki.authority.revocation.revoke_workload`; else as above.

    Raises:
        InputError: if it has no certificate.
        OlderLedgerError: if the ledger is an older copy.
        LedgerError: if it can't even be read.
    """

    def named(transaction: Transaction) -> Iterable[str]:
        now = context.now()
        live = transaction.certificates_of_workload(str(spiffe_id), ends_after=now)
        intents = transaction.intents.of_subject(str(spiffe_id), ends_after=now)
        serials = [*(item.serial for item in live), *(item.serial for item in intents)]
        if not serials:
            raise revocation.no_certificate_error(spiffe_id)
        return serials

    return revoke_or_pend(
        context, lambda on: revocation.revoke_workload(on, spiffe_id, reason), named, reason
    )


def revoke_or_pend(
    context: AuthorityContext,
    record: Callable[[AuthorityContext], _Revoked],
    named: _Named,
    reason: x509.ReasonFlags,
    *,
    whole_line: bool = False,
) -> _Revoked:
    """Record a revocation; if the ledger can't record it now, let it be pending.

    Args:
        context: the CA.
        record: records it.
        named: returns the serial numbers that are meant, by the ledger as it was committed last.
        reason: one of RFC 5280's reasons.
        whole_line: whether also that from which these were renewed.

    Returns:
        All certificates that are revoked now, oldest first.
    """
    bounded = replace(context, ledger=context.ledger.waiting(context.revocation_wait))
    try:
        return with_room(bounded, lambda: record(bounded))
    except OlderLedgerError:
        raise
    except LedgerError as failure:
        return _pend(context, named, reason, failure, whole_line=whole_line)


def _pend(
    context: AuthorityContext,
    named: _Named,
    reason: x509.ReasonFlags,
    failure: LedgerError,
    *,
    whole_line: bool,
) -> _Revoked:
    now = context.now()
    try:
        with context.ledger.snapshot(newest=True) as transaction:
            serials = tuple(named(transaction))
            revoked, entries = _decide(context, transaction, serials, reason, whole_line=whole_line)
    except OlderLedgerError:
        raise
    except StateError as unreadable:
        # Nobody can say what is meant, or whose it is.
        raise failure from unreadable
    record = PendingRevocation.make(
        serials, reason, entries, at=now, actor=context.actor.name, whole_line=whole_line
    )
    unwritten = context.pending.add(record)
    defer(
        _log.error,
        "the revocation of %s is in force, and not recorded yet: %s%s",
        join_first([item.serial for item in record.entries] or serials, _MOST_SHOWN),
        failure.message,
        "" if unwritten is None else f"; it is in memory alone: {unwritten.message}",
    )
    return tuple(
        item if item.revoked_at is not None else replace(item, revoked_at=now, reason=reason.value)
        for item in revoked
    )


def _decide(
    context: AuthorityContext,
    transaction: Transaction,
    serials: tuple[str, ...],
    reason: x509.ReasonFlags,
    *,
    whole_line: bool,
) -> tuple[_Revoked, tuple[PendingEntry, ...]]:
    """Return the certificates that are revoked, and what goes on the lists."""
    issuers, at = transaction.issuers(), int(context.now().timestamp())
    key_ids = {item.id: IssuerId.of_ca(item.certificate).key_id.hex() for item in issuers}
    known: list[CertificateRecord] = []
    entries: list[PendingEntry] = []
    for serial in serials:
        record = transaction.certificate_by_serial(serial)
        if record is not None:
            known.append(record)
        elif (intent := transaction.intents.of_serial(serial)) is not None:
            end = int(intent.not_after.timestamp())
            entries.append(PendingEntry(key_ids[intent.issuer_id], intent.serial, end, at))
        elif (requested := requested_issuer(transaction, serial)) is not None:
            # Its root's list waits for the root; what is announced is refused all the same.
            end = int(requested.root.certificate.not_valid_after_utc.timestamp())
            entries.append(PendingEntry(key_ids[requested.root.id], serial, end, at))
        elif revocation.may_be_unrecorded(context, transaction, serial):
            end = int((context.now() + MAX_LEAF).timestamp())
            entries += [
                PendingEntry(key_ids[item.id], f"{int(serial, 16):x}", end, at)
                for item in issuers
                if item.kind is IssuerKind.ISSUING and is_usable(item)
            ]
        else:
            raise revocation.unknown_serial_error(serial)
    is_compromise = reason is x509.ReasonFlags.key_compromise
    revoked = with_renewals(known, transaction, same_keys=is_compromise, whole_line=whole_line)
    revoked.sort(key=lambda item: item.id)
    entries += [
        PendingEntry(key_ids[item.issuer_id], item.serial, int(item.not_after.timestamp()), at)
        for item in revoked
        if item.revoked_at is None
    ]
    return tuple(revoked), tuple(entries)
