"""The gate of one server: judge, log, count, and the streams that run behind it.

Whatever goes wrong in telling of an answer (a log, a counter, a trace) neither changes nor delays
it: it is dropped, and told of where that can be done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from pki.access.authorizer import AuthContext, CallAuthorizer
from pki.access.call_verdict import CallVerdict
from pki.access.counters import Counters
from pki.access.decision_log import DecisionLog
from pki.access.refusal import Refusal
from pki.background import defer
from pki.clock import Clock
from pki.rpc.server.active_streams import ServerStream, ServerStreams

log = logging.getLogger("handfast.rpc")

LATE_SECONDS = 0.2
"""A unary call whose message comes later than this is judged again: its caller chose how long."""


class AccessControl:
    """What both kinds of server ask before a handler runs.

    Args:
        judge: judges each call.
        decisions: is told of each answer.
        clock: gives the time.
        counts: counts each answer, those to streams that are ended included.
    """

    def __init__(
        self,
        judge: CallAuthorizer,
        decisions: DecisionLog,
        clock: Clock,
        counts: Counters | None = None,
    ) -> None:
        self._judge = judge
        self._decisions = decisions
        self._clock = clock
        self.counts = counts if counts is not None else Counters()
        self.streams = ServerStreams(judge, self._note)

    def ask(self, auth: AuthContext, method: str) -> CallVerdict:
        """Judge a call and note the answer; whatever goes wrong is a refusal."""
        judgement = self._judge.judge(auth, method)
        self._note(judgement)
        return judgement

    def refusal_since(self, auth: AuthContext, method: str) -> Refusal | None:
        """Return why a call that was let in may not go on, and note it; None if it may.

        For calls whose message is waited for once they were judged: the wait is as long as the
        caller likes, and its certificate may be revoked meanwhile.
        """
        judgement = self._judge.judge(auth, method)
        if judgement.refusal is not None:
            self._note(judgement)
        return judgement.refusal

    def watch(
        self,
        auth: AuthContext,
        method: str,
        end: Callable[[Refusal], None],
    ) -> int:
        """Have a stream ended when its peer may not go on; return the number to take it off by."""
        return self.streams.add(ServerStream(self._judge.known_of(auth), method, end))

    def note_ended(self, refusal: Refusal) -> None:
        """Count a stream that was ended."""
        try:
            self.counts.stream_ended(refusal)
        except Exception as error:
            defer(log.error, "a stream that was ended could not be counted: %r", error)

    def tick(self) -> None:
        """Do what is due a few times a second: end streams, forget, tell what the log left out."""
        self.streams.sweep()
        self._judge.forget_idle()
        defer(self._decisions.summarize, self._clock())

    def close(self) -> None:
        """Log what was left out so far: there will be no more ticks."""
        defer(self._summarize_all)

    def _summarize_all(self) -> None:
        self._decisions.summarize(self._clock(), at_once=True)

    def _note(self, judgement: CallVerdict) -> None:
        try:
            self.counts.judged(judgement)
            if self._decisions.takes(judgement):
                self._decisions.write(judgement, self._clock())
        except Exception as error:
            defer(log.error, "a decision could not be told of: %r", error)
