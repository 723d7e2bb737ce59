"""When each certificate should be renewed: spread, so that workloads do not come all at once.

A certificate may be renewed between 40 and 60 % of its life. That time is divided into slots, and
each certificate is given the slot in which the fewest are expected.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_FIRST, _LAST = 0.4, 0.6
_SLOTS = 12
_SLOT_SECONDS = 5


@dataclass(slots=True)
class _Slots:
    """The slots of certificates that are issued in one second with one lifetime.

    Args:
        windows: each slot: its begin and its end.
        loads: how many renewals are expected in each place of each slot, on average.
        chosen: how often each slot was chosen, and is not counted in its places yet.
    """

    windows: list[tuple[datetime, datetime]]
    loads: list[float]
    chosen: list[int]


class RenewalSlots:
    """Gives each certificate the slot with the fewest renewals. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Expected renewals in each five seconds since 1970.
        self._expected: Counter[int] = Counter()
        # Of the second in which certificates were issued last, by their lifetime: adding up a
        # slot's places for each certificate would cost more than its signature.
        self._second: datetime | None = None
        self._present: dict[timedelta, _Slots] = {}

    def window(self, issued_at: datetime, lifetime: timedelta) -> tuple[datetime, datetime]:
        """Return when to renew a certificate: not before the first time, until the second.

        Args:
            issued_at: when it was signed.
            lifetime: counted from then.
        """
        with self._lock:
            if issued_at != self._second:
                self._count()
                self._forget(issued_at)
                self._second = issued_at
            slots = self._present.get(lifetime)
            if slots is None:
                slots = self._present[lifetime] = self._slots(issued_at, lifetime)
            place = slots.loads.index(min(slots.loads))
            slots.loads[place] += 1
            slots.chosen[place] += 1
            return slots.windows[place]

    def _slots(self, issued_at: datetime, lifetime: timedelta) -> _Slots:
        begin, length = issued_at + lifetime * _FIRST, lifetime * (_LAST - _FIRST) / _SLOTS
        windows = [
            (begin + length * number, begin + length * (number + 1)) for number in range(_SLOTS)
        ]
        return _Slots(windows, [self._load(*window) for window in windows], [0] * _SLOTS)

    def _count(self) -> None:
        """Count what was chosen in the second that is over."""
        for slots in self._present.values():
            for window, number in zip(slots.windows, slots.chosen, strict=True):
                if number:
                    for place in self._places(*window):
                        self._expected[place] += number
        self._present = {}

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
