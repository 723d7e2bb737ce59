"""What followers of the CA learn: lists, revocations that are on none yet, bundles, the policy.

One thread reads the ledger when it has changed, whoever changed it: this process, or a command on
the CA's folder. It publishes a :class:`TrustState` that is replaced whole, and wakes the streams.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pki._proto.handfast.ca.v1 import trust_pb2
from pki.authority.context import AuthorityContext
from pki.authority.crls import current_numbers
from pki.authority.ledger import IssuerKind, IssuerStatus, Transaction
from pki.authority.ledger.beside.mark import LedgerState
from pki.authority.ledger.hierarchy import is_usable, trusted_roots
from pki.authority.ledger.revocations import LoggedRevocation
from pki.authority.pending.record import PendingEntry
from pki.authz import Policy
from pki.background import defer
from pki.daemon.waiting_streams import WaitingStreams
from pki.x509 import Crl, CrlSet, TrustBundle
from pki.x509.revocation import Announced, IssuerId

_PAGE = 10_000
_LONG_BYTES = 256 * 1024  # of lists: some thousand entries, a tenth of a second
log = logging.getLogger("handfast.ca")


@dataclass(frozen=True, slots=True)
class TrustState:
    """What is in force at the CA at one moment.

    Args:
        ledger: which ledger, and its latest commit.
        bundle: the trusted roots.
        bundles: the signed bundles in their encoding, from number 1 on.
        issuing: the key id of the issuing CA that signs leaves; empty if there is none.
        crls: the signed lists, by the key identifier of the issuing CA.
        unlisted: the revocations that are on no signed list yet, in order.
        newest: the number of the newest revocation.
        policy: the digest of the CA's policy.
        pending: the certificates that are revoked, and that the ledger does not hold as such yet.
        is_waiting: whether something waits to be recorded: perhaps a graver reason alone.
        messages: what was made of it for one follower, and is the same for others.
    """

    ledger: LedgerState
    bundle: TrustBundle
    bundles: tuple[bytes, ...]
    issuing: str
    crls: Mapping[bytes, Crl]
    unlisted: tuple[tuple[LoggedRevocation, Announced], ...]
    newest: int
    policy: str
    pending: tuple[PendingEntry, ...] = ()
    is_waiting: bool = False
    messages: dict[object, tuple[trust_pb2.TrustUpdate, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def bundle_number(self) -> int:
        """The number of the newest signed bundle; 0 before the first."""
        return len(self.bundles)

    def crl_set(self) -> CrlSet:
        """Return the lists with what is on none of them yet."""
        announced = [item for _, item in self.unlisted]
        announced += [(bytes.fromhex(item.issuer), int(item.serial, 16)) for item in self.pending]
        return CrlSet.of(self.crls.values()).announce(announced)


class TrustFeed:
    """Follows the ledger, and tells streams of changes.

    Args:
        context: the CA.
        policy: returns the CA's policy in force.
        changed: called with each new state.
    """

    def __init__(
        self,
        context: AuthorityContext,
        policy: Callable[[], Policy | None],
        changed: Callable[[TrustState], None],
    ) -> None:
        self._context = context
        self._policy = policy
        self._changed = changed
        # Streams wait in an event loop, which must not wait for the ledger.
        self._reading = threading.Lock()
        self._streams = WaitingStreams()
        # Those of what is pending, and all lists as they were decoded last.
        self._lists: Mapping[IssuerId, Crl] = {}
        self._by_issuer: dict[IssuerId, Crl] = {}
        self._are_lists_behind = False
        self._entries: tuple[PendingEntry, ...] = ()
        self.state = self._read(None, with_lists=True)

    def refresh(self) -> bool:
        """Read the ledger if it has changed; return whether there is something new to tell.

        What was revoked is told first, beside the lists that were known before. To decode a new one
        of 100,000 entries takes more than a second, and no other revocation waits for that.
        """
        is_new = self._refresh(with_lists=False)
        if self._are_lists_behind:
            with self._context.ledger.snapshot(newest=True) as transaction:
                self._context.trust(transaction, known=self._by_issuer)
            # Decoded by now, so this is quick.
            is_new = self._refresh(with_lists=True) or is_new
        return is_new

    def _refresh(self, *, with_lists: bool) -> bool:
        with self._reading:
            pending, lists, is_waiting = self._pending()
            with self._context.ledger.snapshot(newest=True) as transaction:
                ledger = transaction.state()
            before, policy = self.state, self._policy_digest()
            seen = (before.ledger, before.policy, before.pending, self._lists, before.is_waiting)
            now = (ledger, policy, pending, lists, is_waiting)
            if now == seen and not self._are_lists_behind:
                return False
            state = self._read(before, with_lists=with_lists)
            self.state = state
            is_new = replace(state, ledger=before.ledger) != before
            if is_new:
                self.wake()
                # In the lock: else another thread could tell an older state after a newer one.
                self._changed(state)
            return is_new

    async def wait(self, state: TrustState, seconds: float) -> TrustState:
        """Wait until there is another state than this one, at most so long; return the present."""
        await self._streams.wait(lambda: self.state is not state, seconds)
        return self.state

    def wake(self) -> None:
        """Let every stream look again, e.g. because the CA stops."""
        self._streams.wake()

    def _read(self, before: TrustState | None, *, with_lists: bool) -> TrustState:
        """Read the ledger; of what was read before, only what came since.

        Args:
            before: what was read before.
            with_lists: decode lists that are new, which takes time if they are long.
        """
        now = self._context.now()
        # Before the ledger: what leaves the pending ones is in the ledger by then.
        pending, self._lists, is_waiting = self._pending()
        with self._context.ledger.snapshot(newest=True) as transaction:
            is_same_ledger = (
                before is not None and before.ledger.ledger_id == transaction.state().ledger_id
            )
            lists = self._by_issuer if is_same_ledger else {}
            self._are_lists_behind = not with_lists and self._has_long_ones(transaction, lists, now)
            issuing = transaction.issuers()
            if self._are_lists_behind:
                bundle = TrustBundle.of_roots(item.certificate for item in trusted_roots(issuing))
            else:
                bundle, crl_set = self._context.trust(transaction, known=lists)
                self._by_issuer = dict(crl_set.crls)
            # One that is distrusted signs no list any more: its root's list refuses all its leaves.
            usable = {item.id for item in issuing if is_usable(item)}
            issuers = {item.id: IssuerId.of_ca(item.certificate).key_id for item in issuing}
            crls = {issuer.key_id: crl for issuer, crl in self._by_issuer.items()}
            # None of them for another ledger, whose numbers mean something else.
            same = before if is_same_ledger else None
            found = [] if same is None else [item for item, _ in same.unlisted]
            number = 0 if same is None else same.newest
            while page := transaction.revocations.since(number, ends_after=now, most=_PAGE):
                found += page
                number = page[-1].number
            unlisted = tuple(
                (item, (issuers[item.issuer_id], item.serial))
                for item in found
                if item.not_after >= now
                and item.issuer_id in usable
                and item.serial not in _revoked(crls.get(issuers[item.issuer_id]))
            )
            newest = max(number, transaction.revocations.newest())
            bundles = () if same is None else same.bundles
            later = transaction.rotation.bundles(since=len(bundles))
            bundles += tuple(item.bundle.encode() for item in later)
            return TrustState(
                transaction.state(),
                bundle,
                bundles,
                _active_issuing(transaction),
                crls,
                unlisted,
                newest,
                self._policy_digest(),
                pending,
                is_waiting,
            )

    def _has_long_ones(
        self, transaction: Transaction, lists: Mapping[IssuerId, Crl], now: datetime
    ) -> bool:
        """Return whether there are newer lists of the same issuers that take long to decode.

        The first list of an issuer is never left for later: nobody accepts a leaf before it.
        """
        current = current_numbers(transaction, now=now)
        if current.keys() != lists.keys():
            return False
        newer = [
            issuer_id
            for name, (issuer_id, number) in current.items()
            if number > lists[name].number
        ]
        return sum(map(transaction.crls.current_size, newer)) > _LONG_BYTES

    def _pending(self) -> tuple[tuple[PendingEntry, ...], Mapping[IssuerId, Crl], bool]:
        """Return what the ledger can't record now, its lists, and whether it is to be recorded."""
        known = self._context.pending.known()
        entries = dict.fromkeys(item for record in known.records for item in record.entries)
        entries |= dict.fromkeys(self._context.pending.kept(now=self._context.now()))
        if known.error is not None:
            # What is known is told all the same, and nothing is signed until all can be read.
            defer(log.error, "what is pending can't be read: %s", known.error)
            entries = dict.fromkeys(self._entries) | entries
        self._entries = tuple(entries)
        lists = self._context.pending.lists() if entries else {}
        return self._entries, lists, bool(known.records)

    def _policy_digest(self) -> str:
        policy = self._policy()
        return "" if policy is None else policy.digest


def _active_issuing(transaction: Transaction) -> str:
    for item in transaction.issuers():
        if item.kind is IssuerKind.ISSUING and item.status is IssuerStatus.ACTIVE:
            return item.key_id
    return ""


def _revoked(crl: Crl | None) -> frozenset[int]:
    return frozenset() if crl is None else crl.revoked
