"""Counts how reloads went: plain numbers, read when metrics are collected."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from enum import StrEnum


class ReloadResult(StrEnum):
    """The result of reading a credential, its revocation lists or a policy again."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"

    @classmethod
    def of(cls, problem: str, *, is_new: bool) -> ReloadResult:
        """Return the result for a problem (empty if there was none) and a change."""
        if problem:
            return cls.REFUSED
        return cls.CHANGED if is_new else cls.UNCHANGED


class ReloadStats:
    """The last success, the last failure and the number of each result.

    Written by one thread at a time.

    Args:
        began: the time of the first read, which succeeded.
    """

    def __init__(self, began: datetime) -> None:
        self.last_success = began
        self.last_failure: datetime | None = None
        self._results: Counter[ReloadResult] = Counter()

    def record(self, result: ReloadResult, now: datetime) -> None:
        """Record one more result."""
        self._results[result] += 1
        if result is ReloadResult.REFUSED:
            self.last_failure = now
        else:
            self.last_success = now

    def results(self) -> dict[ReloadResult, int]:
        """Return the number of each result, those that never occurred included."""
        return {result: self._results[result] for result in ReloadResult}
