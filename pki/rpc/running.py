"""The streams that run: ended when their peer may not go on, idle ones too."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.rpc.judge import AuthContext, Judge, Judgement
from pki.rpc.refusal import CREDENTIAL_ENDED, Refusal

log = logging.getLogger("handfast.rpc")


@dataclass(frozen=True, slots=True)
class RunningStream:
    """A stream, who runs it, and how it is ended."""

    auth: AuthContext
    method: str
    end: Callable[[Refusal], None]


class RunningStreams:
    """The running streams of one server.

    Args:
        judge: judges their peers again.
        refused: told of each that is ended.
    """

    def __init__(self, judge: Judge, refused: Callable[[Judgement], None]) -> None:
        self._judge = judge
        self._refused = refused
        self._streams: dict[int, RunningStream] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def add(self, stream: RunningStream) -> int:
        """Keep an eye on a stream; give the number to take it off by."""
        number = next(self._numbers)
        with self._lock:
            self._streams[number] = stream
        return number

    def discard(self, number: int) -> None:
        """Take a stream off: it has ended."""
        with self._lock:
            self._streams.pop(number, None)

    def sweep(self) -> None:
        """Judge every running stream again, and end those that may not go on."""
        with self._lock:
            streams = list(self._streams.items())
        for number, stream in streams:
            judgement = self._judge.judge(stream.auth, stream.method)
            if judgement.refusal is None:
                continue
            self.discard(number)
            refusal = judgement.refusal
            if refusal.reason == ErrorReason.CERTIFICATE_EXPIRED:
                refusal = CREDENTIAL_ENDED
            self._refused(judgement)
            try:
                stream.end(refusal)
            except Exception:
                # One stream that can't be ended must not keep the others running.
                log.exception("a stream of a refused peer could not be ended")
