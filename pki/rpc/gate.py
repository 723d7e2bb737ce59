"""The gate of one server: judge, log, count, and the streams that run behind it."""

from __future__ import annotations

from pki.clock import Clock
from pki.rpc.counting import Counts
from pki.rpc.decision_log import DecisionLog
from pki.rpc.judge import AuthContext, Judge
from pki.rpc.judgement import Judgement
from pki.rpc.running import RunningStreams


class Gate:
    """What both kinds of server ask before a handler runs.

    Args:
        judge: judges each call.
        decisions: is told of each answer.
        clock: gives the time.
        counts: counts each answer, those to streams that are ended included.
    """

    def __init__(
        self,
        judge: Judge,
        decisions: DecisionLog,
        clock: Clock,
        counts: Counts | None = None,
    ) -> None:
        self._judge = judge
        self._decisions = decisions
        self._clock = clock
        self.counts = counts if counts is not None else Counts()
        self.streams = RunningStreams(judge, self._note)

    def ask(self, auth: AuthContext, method: str) -> Judgement:
        """Judge a call and note the answer."""
        judgement = self._judge.judge(auth, method)
        self._note(judgement)
        return judgement

    def what_counts_of(self, auth: AuthContext) -> AuthContext:
        """Give the part that a peer is judged by, to be kept for as long as a stream runs."""
        return self._judge.what_counts_of(auth)

    def tick(self) -> None:
        """Do what is due a few times a second: end streams, forget, tell what the log left out."""
        self.streams.sweep()
        self._judge.forget_idle()
        self._decisions.summarize(self._clock())

    def close(self) -> None:
        """Tell what the log has left out: there will be no more ticks."""
        self._decisions.summarize(self._clock(), at_once=True)

    def _note(self, judgement: Judgement) -> None:
        if self._decisions.takes(judgement):
            self._decisions.write(judgement, self._clock())
        self.counts.judged(judgement)
