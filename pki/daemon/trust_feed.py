"""What followers of the CA learn: lists, revocations that are on none yet, bundles, the policy.

One thread reads the ledger when it has changed, whoever changed it: this process, or a command on
the CA's folder. It publishes a :class:`TrustState` that is replaced whole, and wakes the streams.
"""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pki._proto.handfast.ca.v1 import trust_pb2
from pki.authority.context import AuthorityContext
from pki.authority.ledger import IssuerKind, IssuerStatus, Transaction
from pki.authority.ledger.mark import LedgerState
from pki.authority.ledger.revocations import LoggedRevocation
from pki.authority.pending.record import PendingEntry
from pki.authz import Policy
from pki.daemon.messages import timestamp
from pki.x509 import Crl, CrlSet, TrustBundle
from pki.x509.revocation import Announced, IssuerId

_PART_BYTES = 512 * 1024
_MOST_ENTRIES = 4096
_PAGE = 10_000


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
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._lists: Mapping[IssuerId, Crl] = {}
        self.state = self._read(None)

    def refresh(self) -> bool:
        """Read the ledger if it has changed; return whether there is something new to tell."""
        with self._lock:
            pending, lists = self._pending()
            with self._context.ledger.snapshot(newest=True) as transaction:
                ledger = transaction.state()
            before, policy = self.state, self._policy_digest()
            seen = (before.ledger, before.policy, before.pending, self._lists)
            if (ledger, policy, pending, lists) == seen:
                return False
            state = self._read(before)
            self.state = state
            is_new = replace(state, ledger=before.ledger) != before
        if is_new:
            self.wake()
            self._changed(state)
        return is_new

    async def wait(self, state: TrustState, seconds: float) -> TrustState:
        """Wait until there is another state than this one, at most so long; return the present."""
        if self.state is not state:
            return self.state
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        with self._lock:
            self._waiting.add(entry)
        try:
            if self.state is state:
                await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard(entry)
        return self.state

    def wake(self) -> None:
        """Let every stream look again, e.g. because the CA stops."""
        with self._lock:
            waiting = list(self._waiting)
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    def _read(self, before: TrustState | None) -> TrustState:
        now = self._context.now()
        # Before the ledger: what leaves the pending ones is in the ledger by then.
        pending, self._lists = self._pending()
        with self._context.ledger.snapshot(newest=True) as transaction:
            bundle, crl_set = self._context.trust(transaction)
            issuers = {
                item.id: IssuerId.of_ca(item.certificate).key_id for item in transaction.issuers()
            }
            crls = {issuer.key_id: crl for issuer, crl in crl_set.crls.items()}
            if before is not None:
                # The same object as long as a list is the same: it is compared by identity.
                crls = {key: _same(before.crls.get(key), crl) for key, crl in crls.items()}
            is_same_ledger = (
                before is not None and before.ledger.ledger_id == transaction.state().ledger_id
            )
            known = before.unlisted if before is not None and is_same_ledger else ()
            number = before.newest if before is not None and is_same_ledger else 0
            found = [item for item, _ in known]
            while page := transaction.revocations.since(number, ends_after=now, most=_PAGE):
                found += page
                number = page[-1].number
            unlisted = tuple(
                (item, (issuers[item.issuer_id], item.serial))
                for item in found
                if item.not_after >= now
                and item.serial not in _revoked(crls.get(issuers[item.issuer_id]))
            )
            newest = max(number, transaction.revocations.newest())
            bundles = before.bundles if before is not None and is_same_ledger else ()
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
            )

    def _pending(self) -> tuple[tuple[PendingEntry, ...], Mapping[IssuerId, Crl]]:
        """Return what the ledger can't record now, and the lists that were signed for it."""
        pending = self._context.pending
        if pending.is_empty():
            return (), {}
        entries = dict.fromkeys(item for record in pending.records() for item in record.entries)
        return tuple(entries), pending.lists()

    def _policy_digest(self) -> str:
        policy = self._policy()
        return "" if policy is None else policy.digest


def _active_issuing(transaction: Transaction) -> str:
    for item in transaction.issuers():
        if item.kind is IssuerKind.ISSUING and item.status is IssuerStatus.ACTIVE:
            return item.key_id
    return ""


def _same(before: Crl | None, crl: Crl) -> Crl:
    return before if before is not None and before.number == crl.number else crl


def _octets(serial: int) -> bytes:
    return serial.to_bytes((serial.bit_length() + 7) // 8, "big")


def _revoked(crl: Crl | None) -> frozenset[int]:
    return frozenset() if crl is None else crl.revoked


class Follower:
    """What one follower was sent, and so what it lacks.

    Args:
        request: what it had before.
        heartbeat: how often it hears something at least.
        ends_at: when its stream ends at the latest.
    """

    def __init__(
        self, request: trust_pb2.WatchTrustRequest, heartbeat: timedelta, ends_at: datetime
    ) -> None:
        self._request = request
        self._heartbeat = heartbeat
        self._ends_at = ends_at
        self._crls = {item.issuer_key_id: item.number for item in request.crls}
        self._number = -1
        self._bundle = request.bundle_number
        self._is_first = True
        self._pending: frozenset[PendingEntry] = frozenset()
        self._policy: str | None = None

    def updates(self, state: TrustState) -> Iterator[trust_pb2.TrustUpdate]:
        """Return the updates that the follower lacks, the most urgent first."""
        if self._number < 0:
            is_known = self._request.epoch == state.ledger.ledger_id
            self._number = min(self._request.since, state.newest) if is_known else 0
        yield from self._revocations(state)
        # Before the lists, which may be those of a new root.
        yield from self._bundles(state)
        for key_id, crl in state.crls.items():
            if self._crls.get(key_id) != crl.number:
                yield from self._crl(state, key_id, crl)
                self._crls[key_id] = crl.number
        if state.policy != self._policy:
            update = self._update(state)
            update.policy.digest = self._policy = state.policy
            yield update

    def heartbeat(self, state: TrustState, now: datetime) -> trust_pb2.TrustUpdate:
        """Return the update that says: that is all there is to know now."""
        update = self._update(state)
        update.heartbeat.next_within_milliseconds = int(self._heartbeat.total_seconds() * 1000)
        update.heartbeat.time.CopyFrom(timestamp(now))
        update.heartbeat.stream_ends_at.CopyFrom(timestamp(self._ends_at))
        return update

    def _bundles(self, state: TrustState) -> Iterator[trust_pb2.TrustUpdate]:
        """Return the bundles that the follower lacks.

        The first time with one that it has, so that it notices if we have another of that number.
        """
        begin = self._bundle
        if self._is_first:
            begin = max(0, min(begin, state.bundle_number) - 1)
            self._is_first = False
        for bundle in state.bundles[begin:]:
            update = self._update(state)
            update.bundles.bundles.append(bundle)
            yield update
        self._bundle = state.bundle_number

    def _revocations(self, state: TrustState) -> Iterator[trust_pb2.TrustUpdate]:
        numbers = [item.number for item, _ in state.unlisted]
        entries = state.unlisted[bisect_right(numbers, self._number) :]
        for begin in range(0, len(entries), _MOST_ENTRIES):
            part = entries[begin : begin + _MOST_ENTRIES]
            update = self._update(state)
            update.sequence = part[-1][0].number
            for item, (key_id, serial) in part:
                entry = update.revocations.entries.add(
                    issuer_key_id=key_id,
                    serial=_octets(serial),
                )
                entry.revoked_at.CopyFrom(timestamp(item.revoked_at))
                entry.not_after.CopyFrom(timestamp(item.not_after))
            yield update
        self._number = max(self._number, state.newest)
        yield from self._pending_ones(state)

    def _pending_ones(self, state: TrustState) -> Iterator[trust_pb2.TrustUpdate]:
        """Return what has no number yet; with its number, it is sent once more."""
        entries = [item for item in state.pending if item not in self._pending]
        for begin in range(0, len(entries), _MOST_ENTRIES):
            update = self._update(state)
            for item in entries[begin : begin + _MOST_ENTRIES]:
                entry = update.revocations.entries.add(
                    issuer_key_id=bytes.fromhex(item.issuer), serial=_octets(int(item.serial, 16))
                )
                entry.revoked_at.FromSeconds(item.revoked_at)
                entry.not_after.FromSeconds(item.not_after)
            yield update
        self._pending = frozenset(state.pending)

    def _crl(self, state: TrustState, key_id: bytes, crl: Crl) -> Iterator[trust_pb2.TrustUpdate]:
        der = crl.der
        for begin in range(0, len(der), _PART_BYTES):
            update = self._update(state)
            update.crl.issuer_key_id = key_id
            update.crl.number = crl.number
            update.crl.data = der[begin : begin + _PART_BYTES]
            update.crl.more = begin + _PART_BYTES < len(der)
            yield update

    def _update(self, state: TrustState) -> trust_pb2.TrustUpdate:
        return trust_pb2.TrustUpdate(sequence=state.newest, epoch=state.ledger.ledger_id)
