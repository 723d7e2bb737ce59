"""Limits the rate of log lines for each principal, and for all principals together.

A caller with a certificate and without a grant can call as often as it likes. Each principal has a
token bucket of its own, and all share one more. Lines above the rate are suppressed and counted;
their number is logged with the next line, or in a summary within a second.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from pki.access.token_bucket import TokenBucket

BURST = 20
PER_SECOND = 1.0
BURST_OF_ALL = 200
PER_SECOND_OF_ALL = 20.0
_MOST_PRINCIPALS = 1024
_MOST_NAMED = 10
_SUMMARY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Lines that were suppressed and not reported yet.

    Args:
        count: the number of lines.
        by_principal: the number of each of the principals with the most lines, the most first.
    """

    count: int
    by_principal: tuple[tuple[str, int], ...]


class RateLimiter:
    """Decides for each line whether it is written. Safe for use by several threads.

    Args:
        clock: returns seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._all = TokenBucket(BURST_OF_ALL, PER_SECOND_OF_ALL, clock())
        self._buckets: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()
        self._suppressed: dict[str, int] = {}
        self._unnamed = 0
        self._since = 0.0

    def try_acquire(self, principal: str, kind: str) -> int | None:
        """Take a token for one line.

        Args:
            principal: the principal of the line; empty if it has none.
            kind: each kind of line has a bucket of its own.

        Returns:
            The number of lines of the principal that were suppressed before this one; None if this
            one is to be suppressed too.
        """
        with self._lock:
            now = self._clock()
            bucket = self._bucket(principal, kind, now)
            if bucket.refill(now) and self._all.refill(now):
                bucket.take()
                self._all.take()
                return self._suppressed.pop(principal, 0)
            self._count(principal, now)
            return None

    def take_summary(self, *, at_once: bool = False) -> Suppressed | None:
        """Return the lines that were suppressed, and count from zero again.

        Return None if there are none, and until a second after the first of them.

        Args:
            at_once: do not wait for that second.
        """
        with self._lock:
            lines = self._unnamed + sum(self._suppressed.values())
            if not lines or not (at_once or self._clock() >= self._since + _SUMMARY_SECONDS):
                return None
            most = sorted(self._suppressed.items(), key=lambda item: (-item[1], item[0]))
            self._suppressed, self._unnamed = {}, 0
            return Suppressed(lines, tuple(most[:_MOST_NAMED]))

    def _bucket(self, principal: str, kind: str, now: float) -> TokenBucket:
        bucket = self._buckets.get((principal, kind))
        if bucket is None:
            bucket = self._buckets[principal, kind] = TokenBucket(BURST, PER_SECOND, now)
            while len(self._buckets) > _MOST_PRINCIPALS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end((principal, kind))
        return bucket

    def _count(self, principal: str, now: float) -> None:
        if not self._suppressed and not self._unnamed:
            self._since = now
        if principal in self._suppressed or len(self._suppressed) < _MOST_PRINCIPALS:
            self._suppressed[principal] = self._suppressed.get(principal, 0) + 1
        else:
            self._unnamed += 1
