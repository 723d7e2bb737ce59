"""What one follower of the CA was sent, and the messages with what it lacks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial

from pki._proto.handfast.ca.v1 import trust_pb2
from pki.authority.pending.record import PendingEntry
from pki.daemon.messages import timestamp
from pki.daemon.trust_feed import TrustState
from pki.x509 import Crl

_PART_BYTES = 512 * 1024
_MOST_ENTRIES = 4096
_MOST_KEPT = 64


class Follower:
    """What one follower was sent, and so what it lacks.

    Args:
        request: what it had before.
        ends_at: when its stream ends at the latest.
    """

    def __init__(self, request: trust_pb2.WatchTrustRequest, ends_at: datetime) -> None:
        self._request = request
        self._ends_at = timestamp(ends_at)
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
                yield from _made_once(state, key_id, partial(self._crl, state, key_id, crl))
                self._crls[key_id] = crl.number
        if state.policy != self._policy:
            update = self._update(state)
            update.policy.digest = self._policy = state.policy
            yield update

    def heartbeat(self, state: TrustState, now: datetime, seconds: float) -> trust_pb2.TrustUpdate:
        """Return the update that says: that is all there is to know now.

        Args:
            state: what the follower was told.
            now: the time.
            seconds: until when it hears something again.
        """
        update = self._update(state)
        update.heartbeat.next_within_milliseconds = int(seconds * 1000)
        update.heartbeat.time.CopyFrom(timestamp(now))
        update.heartbeat.stream_ends_at.CopyFrom(self._ends_at)
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
        since = self._number
        if since < state.newest:
            yield from _made_once(state, since, partial(self._numbered_ones, state, since))
        self._number = max(since, state.newest)
        yield from self._pending_ones(state)

    def _numbered_ones(self, state: TrustState, since: int) -> Iterator[trust_pb2.TrustUpdate]:
        """Return the revocations after a number that are on no list."""
        numbers = [item.number for item, _ in state.unlisted]
        entries = state.unlisted[bisect_right(numbers, since) :]
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


def _made_once(
    state: TrustState, key: object, make: Callable[[], Iterable[trust_pb2.TrustUpdate]]
) -> tuple[trust_pb2.TrustUpdate, ...]:
    """Return messages that are the same for each follower who lacks the same."""
    made = state.messages.get(key)
    if made is None:
        made = tuple(make())
        # Followers choose what they lack: no more is kept than most of them share.
        if len(state.messages) < _MOST_KEPT:
            state.messages[key] = made
    return made


def _octets(serial: int) -> bytes:
    return serial.to_bytes((serial.bit_length() + 7) // 8, "big")
