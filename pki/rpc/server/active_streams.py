"""The streams that run in a server; they are ended when their peer may not go on, idle ones too.

The rules:

1. A stream is authorized again when something has changed: trust, revocation lists, the policy, a
   clock that was set back, or the end of the time for which its last verification holds. Otherwise
   a recheck costs nothing, however many streams run.
2. A refused stream is ended first and logged afterwards. It is ended again and again until it is
   removed, with a pause between: gRPC loses the status of an asyncio call that is cancelled while
   it writes its first message, and of one that is aborted twice at the same time.
3. A stream that can't be ended does not keep others running.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access.authorizer import AuthorizationInputs, CallAuthorizer
from pki.access.call_verdict import CallVerdict
from pki.access.peer_cache import CachedPeer
from pki.access.refusal import AUTHORIZATION_ERROR, CREDENTIAL_ENDED, Refusal
from pki.authz import Policy
from pki.background import defer

log = logging.getLogger("handfast.rpc")

# Streams that ended leave entries in the queue; the queue is cleaned up above this number.
_MOST_STALE_ENTRIES = 1024
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ServerStream:
    """A running stream.

    Args:
        peer: its caller.
        method: the path of its method.
        end: ends it; called again and again until the stream is removed.
    """

    peer: CachedPeer
    method: str
    end: Callable[[Refusal], None]


@dataclass(slots=True)
class _Entry:
    """A stream, the policy that its last logged verdict rests on, and how it is being ended."""

    stream: ServerStream
    policy: Policy | None
    end_not_before: float
    refusal: Refusal | None = None


class ServerStreams:
    """The running streams of one server.

    Args:
        authorizer: authorizes their peers again.
        record: called with the verdict on each stream that is ended, and on each that a new policy
            would end if it were enforced.
        monotonic: returns seconds that only grow.
    """

    def __init__(
        self,
        authorizer: CallAuthorizer,
        record: Callable[[CallVerdict], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._authorizer = authorizer
        self._record = record
        self._entries: dict[int, _Entry] = {}
        self._numbers = itertools.count()
        # Those begun since the last recheck: something may have changed since they were authorized.
        self._begun: list[int] = []
        self._refused: dict[int, _Entry] = {}
        self._due: list[tuple[datetime, int]] = []
        self._last_inputs: AuthorizationInputs | None = None
        self._rechecking = threading.Lock()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of streams that run."""
        return len(self._entries)

    def add(self, stream: ServerStream) -> int:
        """Add a stream; return the number to remove it by."""
        number = next(self._numbers)
        policy = self._authorizer.inputs.policy
        with self._lock:
            self._entries[number] = _Entry(stream, policy, self._monotonic() + _PAUSE_SECONDS)
            self._begun.append(number)
        return number

    def remove(self, number: int) -> None:
        """Remove a stream that has ended."""
        with self._lock:
            self._entries.pop(number, None)
            self._refused.pop(number, None)

    def recheck(self) -> None:
        """Authorize each stream again for which something changed; end those that may not go on."""
        try:
            with self._rechecking:
                self._recheck()
        except BaseException:
            # It is unknown which were authorized: the next recheck authorizes all.
            self._last_inputs = None
            raise

    def _recheck(self) -> None:
        try:
            inputs = self._authorizer.inputs
        except Exception as error:
            # A clock that fails, for example. As with a call: an error is a refusal.
            defer(log.error, "streams could not be authorized: %r", error)
            self._refuse_all()
            return
        with self._lock:
            numbers = self._select(inputs)
            selected = [(item, self._entries[item]) for item in numbers if item in self._entries]
            refused = list(self._refused.values())
        for entry in refused:
            self._end(entry)
        verdicts: list[CallVerdict] = []
        due: list[tuple[datetime, int]] = []
        for number, entry in selected:
            verdict = self._authorizer.reauthorize(entry.stream.peer, entry.stream.method)
            if verdict.refusal is not None:
                entry.refusal = _as_end_of_stream(verdict.refusal)
                self._end(entry)
                with self._lock:
                    if number in self._entries:
                        self._refused[number] = entry
                verdicts.append(verdict)
                continue
            verification = entry.stream.peer.verification
            due.append((verification.valid_until if verification else inputs.at, number))
            if verdict.audited is not None and entry.policy is not inputs.policy:
                verdicts.append(verdict)
            entry.policy = inputs.policy
        if due:
            with self._lock:
                self._due = _queue_of([*self._due, *due], self._entries)
        for verdict in verdicts:
            defer(self._record, verdict)

    def _refuse_all(self) -> None:
        self._last_inputs = None
        with self._lock:
            self._refused = dict(self._entries)
        for entry in list(self._refused.values()):
            entry.refusal = entry.refusal or AUTHORIZATION_ERROR
            self._end(entry)

    def _end(self, entry: _Entry) -> None:
        now = self._monotonic()
        if entry.refusal is None or now < entry.end_not_before:
            return
        entry.end_not_before = now + _PAUSE_SECONDS
        try:
            entry.stream.end(entry.refusal)
        except Exception as error:
            defer(log.error, "a stream could not be ended: %r", error)

    def _select(self, inputs: AuthorizationInputs) -> Iterable[int]:
        """Return which streams to authorize again, and record that they are."""
        last, self._last_inputs = self._last_inputs, inputs
        begun, self._begun = self._begun, []
        if (
            last is None
            or last.trust is not inputs.trust
            or last.policy is not inputs.policy
            or inputs.at < last.at
        ):
            self._due = []
            return [number for number in self._entries if number not in self._refused]
        selected = [number for number in begun if number not in self._refused]
        while self._due and self._due[0][0] <= inputs.at:
            selected.append(heapq.heappop(self._due)[1])
        return dict.fromkeys(selected)


def _as_end_of_stream(refusal: Refusal) -> Refusal:
    return CREDENTIAL_ENDED if refusal.reason == ErrorReason.CERTIFICATE_EXPIRED else refusal


def _queue_of(
    due: list[tuple[datetime, int]], entries: dict[int, _Entry]
) -> list[tuple[datetime, int]]:
    """Return a heap of times, the next one first, without streams that ended if they are many."""
    if len(due) > 2 * len(entries) + _MOST_STALE_ENTRIES:
        due = [item for item in due if item[1] in entries]
    heapq.heapify(due)
    return due
