"""Goes on with an older copy of the ledger, where the newest one is lost for good.

What was revoked stays revoked, and no list goes back:

1. Every list of ours that can be found is taken into the ledger: those in the CA's folder, and
   those that the caller brings from receivers.
2. Each commit signed at most one list for each issuing CA, so the mark says how many may be lost:
   lists to come bear numbers above all of them.
3. New lists are signed, and the ledger becomes another one, with an id of its own. The lost one is
   refused should it come back.

What can't be known again: certificates that were issued after the copy was made. They can't be
renewed, for the ledger does not hold them, and each ends by itself within the longest lifetime of a
leaf. Until then they can be revoked by their serial numbers, or all at once by distrusting their
issuing CA.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pki.authority.context import AuthorityContext, root_record
from pki.authority.directory import AuthorityHome
from pki.authority.ledger import IssuerKind, IssuerStatus, Ledger, Transaction
from pki.authority.ledger.mark import LedgerState
from pki.authority.lifetimes import MAX_LEAF
from pki.authority.published import take_in
from pki.errors import InputError, PkiError, StateError, UnreadableError, quote_untrusted
from pki.files import HANDFAST, read_bounded
from pki.x509 import CrlSet, TrustBundle
from pki.x509.readers import MAX_BUNDLE_BYTES
from pki.x509.revocation import IssuerId

# A root list that was signed ahead may bear a number that is higher by the six that it revokes.
_NUMBERS_PER_COMMIT = 8
# Where the mark is lost too, nothing says how many lists there were.
UNKNOWN_NUMBERS = 1 << 24


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found and done.

    Args:
        lost_commits: how many commits the ledger had lost; None if that can't be known.
        was_older: whether it was an older copy at all, or may have been.
        taken_from: the key ids of the CAs whose lists were ahead of the ledger.
        unknown_end_by: until when certificates may live that the ledger does not hold.
    """

    lost_commits: int | None
    was_older: bool
    taken_from: tuple[str, ...]
    unknown_end_by: datetime | None


def recover(context: AuthorityContext, published: Iterable[CrlSet]) -> Recovered:
    """Accept the ledger as it is, after the published lists have been taken into it.

    A ledger that is the newest stays the same one. Where lists are ahead of it, it is an older
    copy, whatever its mark says.

    Args:
        context: the CA.
        published: every list that could be found, besides those in the CA's folder.

    Raises:
        StateError: if the ledger is another CA's, or the key is away for a list that must be
            signed; then nothing is changed.
    """
    with context.home.publishing():
        there = context.home.published(unless=CrlSet.none())
        found = [*([there] if there is not None else []), *published]
        now = context.now()
        with context.ledger.transaction(accept_older=True) as transaction:
            _refuse_another_ca(context.home, transaction)
            state = transaction.state()
            mark = _read_mark(context.ledger)
            lost = _lost_commits(state, mark)
            taken = {}
            for crls in found:
                touched, _ = take_in(transaction, crls, now=now)
                taken.update({item.id: item.key_id for item in touched})
            if lost == 0 and taken:
                # The mark says nothing of it: the whole folder was put back, mark and all.
                lost = None
            if lost != 0:
                _raise_numbers(transaction, lost, found)
                sequence = max(state.sequence, mark.sequence if mark is not None else 0)
                transaction.recovery.accept(sequence=sequence, at=now)
                transaction.add_event(
                    "recovered",
                    f"an older ledger was accepted: it had lost "
                    f"{'an unknown number of' if lost is None else lost} commits",
                    at=now,
                )
            if lost != 0:
                _sign_crls(context, transaction)
    context.publish()
    return Recovered(lost, lost != 0, tuple(taken.values()), now + MAX_LEAF if lost != 0 else None)


def _lost_commits(state: LedgerState, mark: LedgerState | None) -> int | None:
    if mark is None:
        return 0 if state.sequence <= 1 else None
    if mark.ledger_id != state.ledger_id:
        return None
    return max(0, mark.sequence - state.sequence)


def _read_mark(ledger: Ledger) -> LedgerState | None:
    try:
        return ledger.mark.read()
    except UnreadableError:
        raise
    except StateError:
        # A mark that is damaged says as much as one that is lost.
        return LedgerState("", 0)


def _raise_numbers(transaction: Transaction, lost: int | None, found: Sequence[CrlSet]) -> None:
    more = UNKNOWN_NUMBERS if lost is None else lost * _NUMBERS_PER_COMMIT
    for issuer in transaction.issuers():
        name = IssuerId.named_by(issuer.certificate)
        if issuer.kind is IssuerKind.ROOT and any(name in crls.crls for crls in found):
            # It was taken in, and few are ever signed. A higher floor would make the root's lists
            # useless that were signed ahead, and with them a distrust without the root's key.
            continue
        current = transaction.crl_of(issuer.id)
        known = max(
            current.number if current is not None else 0,
            transaction.recovery.crl_floor(issuer.id),
        )
        if issuer.kind is IssuerKind.ROOT:
            known = max(known, transaction.highest_distrust_number())
        transaction.recovery.raise_crl_floor(issuer.id, known + more)


def _sign_crls(context: AuthorityContext, transaction: Transaction) -> None:
    now = context.now()
    for issuer in transaction.issuers():
        if issuer.kind is IssuerKind.ROOT or issuer.certificate.not_valid_after_utc < now:
            continue
        try:
            context.refresh_crl(issuer, transaction)
        except StateError:
            # A distrusted CA's key may be gone for good; its list matters no more.
            if issuer.status is not IssuerStatus.DISTRUSTED:
                raise
    if context.home.root_key.exists():
        context.refresh_root_crls(transaction)


def _refuse_another_ca(home: AuthorityHome, transaction: Transaction) -> None:
    """Hold the ledger's root against the published trust bundle, if that can be read."""
    try:
        data, _ = read_bounded(home.path / HANDFAST.bundle, max_bytes=MAX_BUNDLE_BYTES)
        roots = TrustBundle.read(data).all_roots()
    except (FileNotFoundError, PkiError, InputError):
        return
    if root_record(transaction).certificate not in roots:
        raise StateError(
            f"the ledger at {quote_untrusted(home.ledger)} is another CA's: its root is not in "
            f"{HANDFAST.bundle}",
            remedy="Bring back a copy of this CA's own ledger",
        )
