"""The gate of one server: judge, log, and the streams that run behind it."""

from __future__ import annotations

from pki.clock import Clock
from pki.rpc.decision_log import DecisionLog
from pki.rpc.judge import AuthContext, Judge, Judgement
from pki.rpc.running import RunningStreams


class Gate:
    """What both kinds of server ask before a handler runs."""

    def __init__(self, judge: Judge, decisions: DecisionLog, clock: Clock) -> None:
        self._judge = judge
        self._decisions = decisions
        self._clock = clock
        self.streams = RunningStreams(judge, self._note)

    def ask(self, auth: AuthContext, method: str) -> Judgement:
        """Judge a call and note the answer."""
        judgement = self._judge.judge(auth, method)
        self._note(judgement)
        return judgement

    def _note(self, judgement: Judgement) -> None:
        self._decisions.write(judgement, self._clock())
