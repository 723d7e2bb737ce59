"""The streams that run: ended when their peer may not go on, idle ones too."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.authz import Policy
from pki.rpc.judge import AuthContext, Judge
from pki.rpc.judgement import Judgement
from pki.rpc.refusal import CREDENTIAL_ENDED, Refusal

log = logging.getLogger("handfast.rpc")


@dataclass(frozen=True, slots=True)
class RunningStream:
    """A stream, who runs it, and how it is ended."""

    auth: AuthContext
    method: str
    end: Callable[[Refusal], None]


@dataclass(slots=True)
class _Kept:
    """A running stream, and the policy that it was judged by when it was last told of."""

    stream: RunningStream
    policy: Policy | None


class RunningStreams:
    """The running streams of one server.

    Args:
        judge: judges their peers again.
        note: told of each that is ended, and of each that a new policy would have ended if it were
            enforced.
    """

    def __init__(self, judge: Judge, note: Callable[[Judgement], None]) -> None:
        self._judge = judge
        self._note = note
        self._streams: dict[int, _Kept] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Give how many run."""
        return len(self._streams)

    def add(self, stream: RunningStream) -> int:
        """Keep an eye on a stream; give the number to take it off by."""
        number = next(self._numbers)
        with self._lock:
            self._streams[number] = _Kept(stream, self._judge.policy)
        return number

    def discard(self, number: int) -> None:
        """Take a stream off: it has ended."""
        with self._lock:
            self._streams.pop(number, None)

    def sweep(self) -> None:
        """Judge every running stream again, and end those that may not go on."""
        with self._lock:
            streams = list(self._streams.items())
        for number, kept in streams:
            stream, policy = kept.stream, self._judge.policy
            judgement = self._judge.judge(stream.auth, stream.method)
            if judgement.refusal is None:
                if judgement.audited is not None and kept.policy is not policy:
                    self._note(judgement)
                kept.policy = policy
                continue
            self.discard(number)
            refusal = judgement.refusal
            if refusal.reason == ErrorReason.CERTIFICATE_EXPIRED:
                refusal = CREDENTIAL_ENDED
            self._note(judgement)
            try:
                stream.end(refusal)
            except Exception:
                # One stream that can't be ended must not keep the others running.
                log.exception("a stream of a refused peer could not be ended")
