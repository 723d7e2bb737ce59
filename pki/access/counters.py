"""What a workload counts while it runs: plain numbers, read when somebody asks for metrics.

Counting is always on, and stands on the path of each call: it costs one lock and one step in a
dictionary. Whoever calls chooses neither how many numbers there are nor what they are called: a
method counts under its name only if this process has a handler for it, and there is a most.
"""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime
from enum import StrEnum

from pki.access.call_verdict import CallVerdict
from pki.access.refusal import Refusal
from pki.authz.patterns import parse_method_path

ALLOWED = "ALLOWED"
OTHER = "other"
_MOST_METHODS = 1024
_MOST_PEERS = 1024


class Counters:
    """What one workload has counted since it began. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._methods: frozenset[str] = frozenset()
        self._allowed: dict[tuple[str, str | None], int] = {}
        self._refused: Counter[tuple[str, str]] = Counter()
        self._audited: Counter[tuple[str, str]] = Counter()
        self._streams: Counter[str] = Counter()
        self._rotations: Counter[str] = Counter()
        self._looks: Counter[tuple[str, str]] = Counter()
        self._turned_away: Counter[tuple[str, str]] = Counter()

    def knows(self, method: str) -> None:
        """Count this method under its own name from now on: there is a handler for it."""
        if method in self._methods or parse_method_path(method) is None:
            return
        with self._lock:
            if len(self._methods) < _MOST_METHODS:
                self._methods |= {method}

    def judged(self, judgement: CallVerdict) -> None:
        """Count one answer of a server."""
        decision = judgement.decision
        if judgement.refusal is None and judgement.audited is None and decision is not None:
            key = (judgement.method, decision.role)
            with self._lock:
                before = self._allowed.get(key)
                if before is not None:
                    self._allowed[key] = before + 1
                    return
        self._judged_seldom(judgement)

    def _judged_seldom(self, judgement: CallVerdict) -> None:
        """Count a refusal, an audited call, or the first call of its kind that is allowed."""
        decision = judgement.decision
        role = decision.role if decision is not None else None
        with self._lock:
            method = judgement.method if judgement.method in self._methods else OTHER
            if judgement.audited is not None:
                self._audited[method, judgement.audited.name] += 1
            elif judgement.refusal is not None:
                self._refused[method, judgement.refusal.name] += 1
            else:
                self._allowed[method, role] = self._allowed.get((method, role), 0) + 1

    def stream_ended(self, refusal: Refusal) -> None:
        """Count a running stream that a server ended."""
        with self._lock:
            self._streams[refusal.name] += 1

    def rotated(self, peer: str) -> None:
        """Count a channel whose new calls went over to another connection.

        Args:
            peer: the SPIFFE ID that the channel is pinned to.
        """
        with self._lock:
            known = peer in self._rotations or len(self._rotations) < _MOST_PEERS
            self._rotations[peer if known else OTHER] += 1

    def looked(self, peer: str, result: str) -> None:
        """Count a look of a channel at its server.

        Args:
            peer: the SPIFFE ID that the channel is pinned to.
            result: the result name of gRFC A118.
        """
        with self._lock:
            known = (peer, result) in self._looks or len(self._looks) < _MOST_PEERS
            self._looks[peer if known else OTHER, result] += 1

    def turned_away(self, peer: str, refusal: Refusal) -> None:
        """Count a call that a channel refused before anything was sent.

        Args:
            peer: the SPIFFE ID that the channel is pinned to.
            refusal: why.
        """
        with self._lock:
            key = (peer, refusal.name)
            known = key in self._turned_away or len(self._turned_away) < _MOST_PEERS
            self._turned_away[peer if known else OTHER, refusal.name] += 1

    def decided(self) -> dict[tuple[str, str, str], int]:
        """Return how many answers there were by method, role that decided, and verdict."""
        with self._lock:
            allowed, refused = dict(self._allowed), dict(self._refused)
        return {
            **{(method, role or "", ALLOWED): count for (method, role), count in allowed.items()},
            **{(method, "", reason): count for (method, reason), count in refused.items()},
        }

    def audited(self) -> dict[tuple[str, str], int]:
        """Return how many calls went through that no grant allows, by method and reason."""
        with self._lock:
            return dict(self._audited)

    def streams_ended(self) -> dict[str, int]:
        """Return how many streams were ended, by reason."""
        with self._lock:
            return dict(self._streams)

    def rotations(self) -> dict[str, int]:
        """Return how often channels went over to another connection, by peer."""
        with self._lock:
            return dict(self._rotations)

    def looks(self) -> dict[tuple[str, str], int]:
        """Return how often channels looked at their servers, by peer and result."""
        with self._lock:
            return dict(self._looks)

    def calls_turned_away(self) -> dict[tuple[str, str], int]:
        """Return how many calls channels refused before anything was sent, by peer and reason."""
        with self._lock:
            return dict(self._turned_away)


class ReloadResult(StrEnum):
    """What came of reading a credential or a policy again."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"

    @classmethod
    def of(cls, problem: str, *, is_new: bool) -> ReloadResult:
        """Return it by what was wrong, if anything, and whether something new came of it."""
        if problem:
            return cls.REFUSED
        return cls.CHANGED if is_new else cls.UNCHANGED


class ReloadStats:
    """How reading one thing again went: when it was last in order, when last not, how often.

    Written by one thread at a time.

    Args:
        began: when it was read first, which went well.
    """

    def __init__(self, began: datetime) -> None:
        self.last_success = began
        self.last_failure: datetime | None = None
        self._outcomes: Counter[ReloadResult] = Counter()

    def note(self, outcome: ReloadResult, now: datetime) -> None:
        """Take down one more."""
        self._outcomes[outcome] += 1
        if outcome is ReloadResult.REFUSED:
            self.last_failure = now
        else:
            self.last_success = now

    def outcomes(self) -> dict[ReloadResult, int]:
        """Return how often each came about, those that never did included."""
        return {outcome: self._outcomes[outcome] for outcome in ReloadResult}
