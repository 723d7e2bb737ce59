"""How many lines of a log one principal may bring about, and all of them together.

Whoever holds a certificate and no grant can call as often as it likes. Each principal may fill a
bucket of its own, and all of them one that they share; what is over is left out, counted, and told
with the next line or in a summary within a second.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

BURST = 20
PER_SECOND = 1.0
BURST_OF_ALL = 200
PER_SECOND_OF_ALL = 20.0
_MOST_PRINCIPALS = 1024
_MOST_NAMED = 10
_SUMMARY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Lines that were left out since they were told of last.

    Args:
        lines: how many.
        of: those of the principals that had the most, the most first.
    """

    lines: int
    of: tuple[tuple[str, int], ...]


class _Bucket:
    """Holds tokens, one for each line, and fills up with time."""

    __slots__ = ("_at", "_burst", "_per_second", "_tokens")

    def __init__(self, burst: int, per_second: float, now: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._tokens = float(burst)
        self._at = now

    def has_one(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        return self._tokens >= 1

    def take(self) -> None:
        self._tokens -= 1


class RateLimiter:
    """Says of each line whether it is written. Safe for use by several threads.

    Args:
        clock: gives seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._all = _Bucket(BURST_OF_ALL, PER_SECOND_OF_ALL, clock())
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._left_out: dict[str, int] = {}
        self._unnamed = 0
        self._since = 0.0

    def take(self, principal: str, kind: str) -> int | None:
        """Ask for a line.

        Args:
            principal: whose line it is; empty for nobody's.
            kind: each kind of line has a budget of its own.

        Returns:
            How many lines of the principal were left out before it; None: leave this one out too.
        """
        with self._lock:
            now = self._clock()
            bucket = self._bucket(principal, kind, now)
            if bucket.has_one(now) and self._all.has_one(now):
                bucket.take()
                self._all.take()
                return self._left_out.pop(principal, 0)
            self._count(principal, now)
            return None

    def summary(self, *, at_once: bool = False) -> Suppressed | None:
        """Return what was left out a second ago or more and was not told of since, once.

        Args:
            at_once: however short ago it was.
        """
        with self._lock:
            lines = self._unnamed + sum(self._left_out.values())
            if not lines or not (at_once or self._clock() >= self._since + _SUMMARY_SECONDS):
                return None
            most = sorted(self._left_out.items(), key=lambda item: (-item[1], item[0]))
            self._left_out, self._unnamed = {}, 0
            return Suppressed(lines, tuple(most[:_MOST_NAMED]))

    def _bucket(self, principal: str, kind: str, now: float) -> _Bucket:
        bucket = self._buckets.get((principal, kind))
        if bucket is None:
            bucket = self._buckets[principal, kind] = _Bucket(BURST, PER_SECOND, now)
            while len(self._buckets) > _MOST_PRINCIPALS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end((principal, kind))
        return bucket

    def _count(self, principal: str, now: float) -> None:
        if not self._left_out and not self._unnamed:
            self._since = now
        if principal in self._left_out or len(self._left_out) < _MOST_PRINCIPALS:
            self._left_out[principal] = self._left_out.get(principal, 0) + 1
        else:
            self._unnamed += 1
