"""The policy files of one workload, each followed by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pki.access.counters import ReloadResult, ReloadStats
from pki.clock import Clock
from pki.credentials.file_watcher import WatchedPaths
from pki.credentials.periodic import PeriodicTask
from pki.credentials.policy_file import PolicyFile

_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class WatchedPolicy:
    """A policy file, how reading it again went, and what follows it."""

    file: PolicyFile
    reloads: ReloadStats
    follower: PeriodicTask
    watched: WatchedPaths


class PolicyProvider:
    """Policy files by their paths. Safe for use by several threads.

    Args:
        clock: gives the time.
        read_grace: how long a policy is in force while it can't be read again.
        seconds: between two looks at a file that did not change.
        changed: called when what is in force of one has changed.
    """

    def __init__(
        self, clock: Clock, read_grace: timedelta, seconds: float, changed: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._read_grace = read_grace
        self._seconds = seconds
        self._changed = changed
        self._lock = threading.Lock()
        self._is_started = self._is_withdrawn = False
        self._followed: dict[Path, WatchedPolicy] = {}

    def all(self) -> list[WatchedPolicy]:
        """Return those that there are now."""
        with self._lock:
            return list(self._followed.values())

    def get(self, path: Path) -> PolicyFile | None:
        """Return the file at an absolute path, if it is followed already."""
        with self._lock:
            known = self._followed.get(path)
        return None if known is None else known.file

    def start(self) -> None:
        """Begin to follow those that there are, and each that is added from now on.

        Raises:
            RuntimeError: if no thread can be started.
        """
        with self._lock:
            self._is_started = True
            for item in self._followed.values():
                item.follower.start()

    def add(self, path: Path) -> PolicyFile:
        """Read a file at an absolute path, to be followed; return the one that another added first.

        Raises:
            PolicyError: if it is missing or bad.
            RuntimeError: if no thread can be started.
        """
        watched = WatchedPaths(lambda: (path,), lambda: self._wake(path))
        # Before it is read: what changes from here on is read, or is seen to have changed.
        watched.look()
        file = PolicyFile(path, self._read_grace)
        reloads = ReloadStats(self._clock())
        follower = PeriodicTask(self._seconds, lambda: self._look(file, reloads), "handfast-policy")
        made = WatchedPolicy(file, reloads, follower, watched)
        with self._lock:
            if self._is_withdrawn:
                file.withdraw()
                return file
            known = self._followed.setdefault(path, made)
            if known is made and self._is_started:
                try:
                    follower.start()
                except RuntimeError:
                    # Nobody may be given a policy that is not followed.
                    del self._followed[path]
                    raise
        return known.file

    def withdraw(self) -> None:
        """Have none of them say anything any more, nor any that is added from now on."""
        with self._lock:
            self._is_withdrawn = True
        for item in self.all():
            item.file.withdraw()

    def graces(self) -> Iterable[timedelta]:
        """Return how long the policies in force let a stale list count."""
        policies = [item.file.policy() for item in self.all()]
        return [policy.revocation_grace for policy in policies if policy is not None]

    def tick(self) -> None:
        """Let each grace end that is over; a clock that fails at one holds up no other."""
        failed: Exception | None = None
        for item in self.all():
            try:
                if item.file.tick(self._clock()):
                    self._changed()
            except Exception as error:
                failed = error
        if failed is not None:
            raise failed

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with them; empty if all is well."""
        return tuple(item.file.problem for item in self.all() if item.file.problem)

    @property
    def are_in_force(self) -> bool:
        """Whether each has something in force: else calls are refused."""
        return all(item.file.policy() is not None for item in self.all())

    def _look(self, file: PolicyFile, reloads: ReloadStats) -> float | None:
        now = self._clock()
        is_new = file.reload(now)
        reloads.note(ReloadResult.of(file.problem, is_new=is_new), now)
        if is_new:
            self._changed()
        return _RETRY_SECONDS if file.problem else None

    def _wake(self, path: Path) -> None:
        with self._lock:
            followed = self._followed.get(path)
        if followed is not None:
            followed.follower.wake()
