"""The gate of one server: judge, log, count, and the streams that run behind it."""

from __future__ import annotations

from collections.abc import Callable

from pki.clock import Clock
from pki.rpc.decision_log import DecisionLog
from pki.rpc.judge import AuthContext, Judge, Judgement
from pki.rpc.running import RunningStreams


class Gate:
    """What both kinds of server ask before a handler runs.

    Args:
        judge: judges each call.
        decisions: is told of each answer.
        clock: gives the time.
        observe: is told of each answer too, those of streams that are ended included; it runs on
            the calls' path, and may be called by several threads at once.
    """

    def __init__(
        self,
        judge: Judge,
        decisions: DecisionLog,
        clock: Clock,
        observe: Callable[[Judgement], None] | None = None,
    ) -> None:
        self._judge = judge
        self._decisions = decisions
        self._clock = clock
        self._observe = observe
        self.streams = RunningStreams(judge, self._note)

    def ask(self, auth: AuthContext, method: str) -> Judgement:
        """Judge a call and note the answer."""
        judgement = self._judge.judge(auth, method)
        self._note(judgement)
        return judgement

    def tick(self) -> None:
        """Do what is due a few times a second: end streams, and tell what the log left out."""
        self.streams.sweep()
        self._decisions.summarize(self._clock())

    def close(self) -> None:
        """Tell what the log has left out: there will be no more ticks."""
        self._decisions.summarize(self._clock(), at_once=True)

    def _note(self, judgement: Judgement) -> None:
        if self._decisions.takes(judgement):
            self._decisions.write(judgement, self._clock())
        if self._observe is not None:
            self._observe(judgement)
