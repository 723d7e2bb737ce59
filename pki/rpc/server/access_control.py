"""The access control of one server: authorizes each call, logs and counts it, and ends streams.

An error while a verdict is logged or counted neither changes nor delays the verdict: it is dropped,
and logged where that is possible.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable

from pki.access.authorizer import AuthContext, CallAuthorizer
from pki.access.call_verdict import CallVerdict
from pki.access.counters import Counters
from pki.access.decision_log import DecisionLog
from pki.access.ready_calls import ReadyCalls
from pki.access.refusal import Refusal
from pki.background import defer
from pki.credentials.subscriber import Subscriber
from pki.rpc.server.active_streams import ServerStream, ServerStreams

log = logging.getLogger("handfast.rpc")

Authorize = Callable[[AuthContext], CallVerdict]

REAUTHORIZE_AFTER_SECONDS = 0.2
"""A unary call whose message comes later than this is authorized again: the caller chose when."""


class AccessControl(Subscriber):
    """What both kinds of server ask before a handler runs.

    Args:
        authorizer: authorizes each call.
        decision_log: logs each verdict.
        seconds: returns the time, as seconds since 1970.
        counters: counts each verdict, those on streams that are ended included.
        ready_calls: makes the ready answers of one method.
    """

    def __init__(
        self,
        authorizer: CallAuthorizer,
        decision_log: DecisionLog,
        seconds: Callable[[], float],
        counters: Counters,
        ready_calls: Callable[[str], ReadyCalls],
    ) -> None:
        self._authorizer = authorizer
        self._decision_log = decision_log
        self._seconds = seconds
        self.counters = counters
        self._make_ready_calls = ready_calls
        self._ready_calls: weakref.WeakSet[ReadyCalls] = weakref.WeakSet()
        self._lock = threading.Lock()
        self.streams = ServerStreams(authorizer, self._record)

    def authorize(self, auth: AuthContext, method: str) -> CallVerdict:
        """Return the verdict on a call, logged and counted; any error is a refusal."""
        verdict = self._authorizer.authorize(auth, method)
        self._record(verdict)
        return verdict

    def authorizer_of(self, method: str) -> Authorize:
        """Return a function that does the same for one method, and less for a repeated call."""
        ready = self._make_ready_calls(method)
        with self._lock:
            self._ready_calls.add(ready)

        def authorize(auth: AuthContext) -> CallVerdict:
            verdict = ready.get(auth)
            if verdict is None:
                verdict = ready.authorize(auth)
                self._record(verdict)
            elif self._decision_log.logs_allowed:
                self._log(verdict)
            return verdict

        return authorize

    def reauthorize(self, auth: AuthContext, method: str) -> Refusal | None:
        """Return why a call that was allowed may not go on, logged and counted; None if it may.

        For calls whose message arrives after the call was authorized: the caller chooses how long
        that takes, and its certificate may be revoked meanwhile.
        """
        verdict = self._authorizer.authorize(auth, method)
        if verdict.refusal is not None:
            self._record(verdict)
        return verdict.refusal

    def add_stream(self, auth: AuthContext, method: str, end: Callable[[Refusal], None]) -> int:
        """Watch a stream, and end it when its peer may not go on; return its number."""
        peer = self._authorizer.cached_peer(auth)
        return self.streams.add(ServerStream(peer, method, end))

    def count_ended(self, refusal: Refusal) -> None:
        """Count a stream that was ended."""
        try:
            self.counters.count_stream_ended(refusal)
        except Exception as error:
            defer(log.error, "a stream that was ended could not be counted: %r", error)

    def recheck(self) -> None:
        """End the streams that may not go on, and forget idle peers and what is ready."""
        self.streams.recheck()
        with self._lock:
            ready_calls = list(self._ready_calls)
        for ready in ready_calls:
            ready.forget()
        self._authorizer.evict_idle()
        self._decision_log.forget()
        defer(self._decision_log.summarize, self._seconds())

    @property
    def has_running(self) -> bool:
        """Whether streams run."""
        return len(self.streams) > 0

    def on_closed(self) -> None:
        """Log how many lines were suppressed so far, and write what waits: no recheck follows."""
        defer(self._decision_log.close, self._seconds())

    def _record(self, verdict: CallVerdict) -> None:
        try:
            self.counters.count_call(verdict)
        except Exception as error:
            defer(log.error, "a decision could not be counted: %r", error)
        if self._decision_log.is_enabled_for(verdict):
            self._log(verdict)

    def _log(self, verdict: CallVerdict) -> None:
        try:
            self._decision_log.write(verdict, self._seconds())
        except Exception as error:
            defer(log.error, "a decision could not be logged: %r", error)
