"""Counts the calls that succeeded, and how the others failed."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any


class Tally:
    """Counts calls. Safe for use by several threads."""

    def __init__(self) -> None:
        self.over = False
        self._good = 0
        self._failed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def good(self) -> None:
        """Count a call that succeeded."""
        with self._lock:
            self._good += 1

    def failed(self, failure: str) -> None:
        """Count a call that failed."""
        with self._lock:
            self._failed[failure] += 1

    def answer(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "good": self._good,
            "failed": self._failed.total(),
            "failures": [f"{count} of {item}" for item, count in self._failed.most_common(5)],
        }


def describe(error: BaseException) -> str:
    """Return an error's code and details."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if code is None or details is None:
        return f"{type(error).__name__}: {error}"
    return f"{code()} {details()}"
