"""Sign lists with what is pending, and publish them: the ledger records neither yet."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

from pki.authority.context import AuthorityContext
from pki.authority.crl_import import entries_of
from pki.authority.ledger import IssuerKind, IssuerRecord, Transaction
from pki.authority.ledger.hierarchy import is_usable
from pki.authority.pending.record import PendingRevocation
from pki.errors import PkiError, StateError
from pki.x509 import Crl, CrlSet, TrustBundle
from pki.x509.revocation import IssuerId, RevokedEntry

_WAIT_SECONDS = 2.0
# Whoever is stuck with the ledger may have signed lists with the next numbers: fewer than this.
SKIPPED_NUMBERS = 1 << 16


def publish_pending(context: AuthorityContext) -> None:
    """Sign a list for each issuing CA with what is pending, and write them to the CA's folder.

    A list that holds all of it already is not signed anew.

    Raises:
        PkiError: if a list can't be signed or written; those that could be signed are in force. Or
            if nothing is known to be pending, and what is can't be read.
    """
    known = context.pending.known()
    records = known.records
    if not records:
        known.whole()
        return
    try:
        with context.directory.publishing(wait_seconds=_WAIT_SECONDS):
            bundle, crls, failed = _sign_all(context, records)
            context.directory.publish(bundle, crls)
    except StateError:
        # The folder can't be written, or whoever publishes is stuck with the ledger. The lists are
        # for followers and credential directories too.
        _sign_all(context, records)
        raise
    if failed is not None:
        raise failed


def _sign_all(
    context: AuthorityContext, records: tuple[PendingRevocation, ...]
) -> tuple[TrustBundle, CrlSet, PkiError | None]:
    failed: PkiError | None = None
    published = context.directory.read_published(unless=CrlSet.none())
    with context.ledger.snapshot(newest=True) as transaction:
        for issuer in transaction.issuers():
            if issuer.kind is not IssuerKind.ISSUING or not is_usable(issuer):
                continue
            try:
                _sign(context, transaction, issuer, records, published)
            except PkiError as error:
                # One key that is away does not stop the others.
                failed = error
        bundle, crls = context.trust(transaction)
    return bundle, context.pending.carried(crls, published, now=context.now()), failed


def _sign(
    context: AuthorityContext,
    transaction: Transaction,
    issuer: IssuerRecord,
    records: tuple[PendingRevocation, ...],
    published: CrlSet | None,
) -> None:
    name = IssuerId.of_ca(issuer.certificate)
    entries = {
        entry.serial: entry for record in records for entry in record.entries_of(name.key_id)
    }
    if not entries:
        return
    transaction.refuse_to_sign_unknowing()
    current = transaction.crls.current_list(issuer.id)
    held = [] if current is None else [current]
    seen = [
        context.pending.lists().get(name),
        None if published is None else published.crls.get(name),
    ]
    held += [item for item in seen if item is not None and item.is_signed_by(issuer.certificate)]
    newest = max(held, key=lambda item: item.number, default=None)
    now, lifetime = context.now(), context.settings.crl_lifetime
    if newest is not None and entries.keys() <= newest.revoked:
        context.pending.use_list(newest)
        return
    floor = transaction.recovery.crl_floor(issuer.id)
    base = max(0 if current is None else current.number, floor) + SKIPPED_NUMBERS
    before = 0 if newest is None else newest.number
    # By chance, so that two processes that sign at once do not use one number for two lists.
    chance = secrets.randbelow(SKIPPED_NUMBERS // 2 if before < base else 8)
    context.pending.use_list(
        Crl.build(
            _all_entries(transaction, issuer, held, entries, ends_after=now - lifetime),
            issuer=issuer.certificate,
            issuer_key=context.issuing_ca(issuer).key,
            number=max(base, before) + 1 + chance,
            this_update=now - context.settings.backdate,
            next_update=now + lifetime,
        )
    )


def _all_entries(
    transaction: Transaction,
    issuer: IssuerRecord,
    held: Sequence[Crl],
    pending: Mapping[int, RevokedEntry],
    *,
    ends_after: datetime,
) -> list[RevokedEntry]:
    """Return what the list must hold: nothing falls out of it that was on one before."""
    entries = dict(pending)
    for crl in sorted(held, key=lambda item: item.number):
        entries |= {item.serial: item for item in entries_of(crl)}
    entries |= {item.serial: item for item in transaction.recovery.unrecorded_of(issuer.id)}
    revoked = transaction.revoked_of(issuer.id, ends_after=ends_after)
    entries |= {item.serial: item for item in revoked}
    return list(entries.values())
