"""The streams that run: ended when their peer may not go on, idle ones too.

The rules:

1. A stream is judged again when something has changed: trust, lists, the policy, a clock that was
   set back, or the end of the time for which its last answer counts. Otherwise a sweep costs
   nothing, however many streams run.
2. A stream that is refused is ended first; that it was ended is told afterwards. It is ended again
   and again until it is taken off, with a pause between: gRPC loses the status of an asyncio call
   that is cancelled while it writes its first message, and of one that is aborted twice at once.
3. One stream that can't be ended keeps no other running.
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

# Streams that have ended leave their times behind: so many are let be.
_MOST_LEFT_BEHIND = 1024
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ServerStream:
    """A stream, who runs it, and how it is ended: again and again, until it is taken off."""

    known: CachedPeer
    method: str
    end: Callable[[Refusal], None]


@dataclass(slots=True)
class _Kept:
    """A running stream, the policy that it was judged by when it was last told of, and its end."""

    stream: ServerStream
    policy: Policy | None
    not_before: float
    refusal: Refusal | None = None


class ServerStreams:
    """The running streams of one server.

    Args:
        judge: judges their peers again.
        note: told of each that is ended, and of each that a new policy would have ended if it were
            enforced.
        monotonic: gives seconds that only grow.
    """

    def __init__(
        self,
        judge: CallAuthorizer,
        note: Callable[[CallVerdict], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._judge = judge
        self._note = note
        self._streams: dict[int, _Kept] = {}
        self._numbers = itertools.count()
        # Those begun since the last sweep: what was in force may have changed meanwhile.
        self._begun: list[int] = []
        self._refused: dict[int, _Kept] = {}
        self._due: list[tuple[datetime, int]] = []
        self._swept: AuthorizationInputs | None = None
        self._sweeping = threading.Lock()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many run."""
        return len(self._streams)

    def add(self, stream: ServerStream) -> int:
        """Keep an eye on a stream; return the number to take it off by."""
        number = next(self._numbers)
        policy = self._judge.in_force.policy
        with self._lock:
            self._streams[number] = _Kept(stream, policy, self._monotonic() + _PAUSE_SECONDS)
            self._begun.append(number)
        return number

    def discard(self, number: int) -> None:
        """Take a stream off: it has ended."""
        with self._lock:
            self._streams.pop(number, None)
            self._refused.pop(number, None)

    def sweep(self) -> None:
        """Judge again each stream for which something has changed; end those that may not go on."""
        try:
            with self._sweeping:
                self._sweep()
        except BaseException:
            # Nobody knows which were judged: the next sweep judges all.
            self._swept = None
            raise

    def _sweep(self) -> None:
        try:
            now = self._judge.in_force
        except Exception as error:
            # A clock that fails, for one. As with a call: what can't be judged is refused.
            defer(log.error, "streams could not be judged: %r", error)
            self._refuse_all()
            return
        with self._lock:
            numbers = self._chosen(now)
            chosen = [(item, self._streams[item]) for item in numbers if item in self._streams]
            refused = list(self._refused.values())
        for kept in refused:
            self._end(kept)
        said: list[CallVerdict] = []
        due: list[tuple[datetime, int]] = []
        for number, kept in chosen:
            judgement = self._judge.judge_again(kept.stream.known, kept.stream.method)
            if judgement.refusal is not None:
                kept.refusal = _words_for(judgement.refusal)
                self._end(kept)
                with self._lock:
                    if number in self._streams:
                        self._refused[number] = kept
                said.append(judgement)
                continue
            verdict = kept.stream.known.verdict
            due.append((verdict.good_until if verdict else now.at, number))
            if judgement.audited is not None and kept.policy is not now.policy:
                said.append(judgement)
            kept.policy = now.policy
        if due:
            with self._lock:
                self._due = _kept_due([*self._due, *due], self._streams)
        for judgement in said:
            defer(self._note, judgement)

    def _refuse_all(self) -> None:
        self._swept = None
        with self._lock:
            self._refused = dict(self._streams)
        for kept in list(self._refused.values()):
            kept.refusal = kept.refusal or AUTHORIZATION_ERROR
            self._end(kept)

    def _end(self, kept: _Kept) -> None:
        now = self._monotonic()
        if kept.refusal is None or now < kept.not_before:
            return
        kept.not_before = now + _PAUSE_SECONDS
        try:
            kept.stream.end(kept.refusal)
        except Exception as error:
            defer(log.error, "a stream could not be ended: %r", error)

    def _chosen(self, now: AuthorizationInputs) -> Iterable[int]:
        """Return which streams to judge, and take down that they are."""
        swept, self._swept = self._swept, now
        begun, self._begun = self._begun, []
        if (
            swept is None
            or swept.trust is not now.trust
            or swept.policy is not now.policy
            or now.at < swept.at
        ):
            self._due = []
            return [number for number in self._streams if number not in self._refused]
        chosen = [number for number in begun if number not in self._refused]
        while self._due and self._due[0][0] <= now.at:
            chosen.append(heapq.heappop(self._due)[1])
        return dict.fromkeys(chosen)


def _words_for(refusal: Refusal) -> Refusal:
    return CREDENTIAL_ENDED if refusal.reason == ErrorReason.CERTIFICATE_EXPIRED else refusal


def _kept_due(
    due: list[tuple[datetime, int]], streams: dict[int, _Kept]
) -> list[tuple[datetime, int]]:
    """Order times, the next one first; leave out those of streams that have ended, if many."""
    if len(due) > 2 * len(streams) + _MOST_LEFT_BEHIND:
        due = [item for item in due if item[1] in streams]
    heapq.heapify(due)
    return due
