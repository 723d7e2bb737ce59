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
    """A stream, who runs it, and how it is ended: again and again, until it is taken off."""

    auth: AuthContext
    method: str
    end: Callable[[Refusal], None]


@dataclass(slots=True)
class _Kept:
    """A running stream, the policy that it was judged by when it was last told of, and its end."""

    stream: RunningStream
    policy: Policy | None
    refusal: Refusal | None = None


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
            streams = list(self._streams.values())
        for kept in streams:
            try:
                if kept.refusal is None:
                    kept.refusal = self._refusal(kept)
                if kept.refusal is not None:
                    kept.stream.end(kept.refusal)
            except Exception:
                # One stream that can't be judged or ended must not keep the others running.
                log.exception("a stream could not be judged again or ended")

    def _refusal(self, kept: _Kept) -> Refusal | None:
        """Judge a stream again; tell of it if it may not go on."""
        stream, policy = kept.stream, self._judge.policy
        judgement = self._judge.judge(stream.auth, stream.method)
        if judgement.refusal is None:
            if judgement.audited is not None and kept.policy is not policy:
                self._note(judgement)
            kept.policy = policy
            return None
        self._note(judgement)
        if judgement.refusal.reason == ErrorReason.CERTIFICATE_EXPIRED:
            return CREDENTIAL_ENDED
        return judgement.refusal
