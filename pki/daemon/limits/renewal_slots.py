"""When each certificate should be renewed: spread, so that workloads do not come all at once.

A certificate may be renewed between 40 and 60 % of its life. That time is divided into slots, and
each certificate is given the slot in which the fewest are expected.
"""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

from cryptography import x509

_FIRST, _LAST = 0.4, 0.6
_SLOTS = 12
_SLOT_SECONDS = 5


class RenewalSlots:
    """Gives each certificate the slot with the fewest renewals. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Expected renewals in each five seconds since 1970.
        self._expected: Counter[int] = Counter()

    def window(self, issued_at: datetime, lifetime: timedelta) -> tuple[datetime, datetime]:
        """Return when to renew a certificate: not before the first time, until the second.

        Args:
            issued_at: when it was signed.
            lifetime: counted from then.
        """
        begin, length = issued_at + lifetime * _FIRST, lifetime * (_LAST - _FIRST) / _SLOTS
        slots = [
            (begin + length * number, begin + length * (number + 1)) for number in range(_SLOTS)
        ]
        with self._lock:
            self._forget(issued_at)
            chosen = min(slots, key=lambda slot: (self._load(*slot), slot[0]))
            for place in self._places(*chosen):
                self._expected[place] += 1
        return chosen

    def of_certificate(
        self, leaf: x509.Certificate, issued_at: datetime
    ) -> tuple[datetime, datetime]:
        """Return when to renew a certificate that was just issued."""
        return self.window(issued_at, leaf.not_valid_after_utc - issued_at)

    def _load(self, begin: datetime, end: datetime) -> float:
        places = self._places(begin, end)
        return sum(self._expected[place] for place in places) / len(places)

    @staticmethod
    def _places(begin: datetime, end: datetime) -> range:
        first = int(begin.timestamp()) // _SLOT_SECONDS
        return range(first, max(first + 1, int(end.timestamp()) // _SLOT_SECONDS))

    def _forget(self, now: datetime) -> None:
        past = int(now.astimezone(UTC).timestamp()) // _SLOT_SECONDS
        if len(self._expected) > 100_000:
            self._expected = Counter(
                {place: count for place, count in self._expected.items() if place >= past}
            )
