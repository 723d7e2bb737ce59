"""The policy files of one workload, each reloaded by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pki.clock import Clock
from pki.credentials.file_watcher import WatchedPaths
from pki.credentials.periodic import PeriodicTask
from pki.credentials.policy_file import PolicyFile
from pki.credentials.reload_stats import ReloadResult, ReloadStats
from pki.identity import TrustDomain

_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class WatchedPolicy:
    """A policy file, how its reloads went, what reloads it, and the path that is watched."""

    file: PolicyFile
    reloads: ReloadStats
    task: PeriodicTask
    watched: WatchedPaths


class PolicyProvider:
    """Policy files by their paths. Safe for use by several threads.

    Args:
        clock: returns the time.
        read_grace: how long a policy stays in force while its file can't be read.
        seconds: the interval at which each file is read again.
        changed: called when the policy in force of one file has changed.
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
        self._policies: dict[Path, WatchedPolicy] = {}

    def all(self) -> list[WatchedPolicy]:
        """Return all policy files of this moment."""
        with self._lock:
            return list(self._policies.values())

    def get(self, path: Path) -> PolicyFile | None:
        """Return the file at an absolute path; None if it was not added."""
        with self._lock:
            policy = self._policies.get(path)
        return None if policy is None else policy.file

    def start(self) -> None:
        """Start to reload each file, those that are added later included.

        Raises:
            RuntimeError: if no thread can be started.
        """
        with self._lock:
            self._is_started = True
            for item in self._policies.values():
                item.task.start()

    def add(self, path: Path, trust_domains: Collection[TrustDomain] | None = None) -> PolicyFile:
        """Add a file at an absolute path, and reload it from now on.

        If another thread added it first, that one is returned.

        Raises:
            PolicyError: if it is missing or bad, or written for another trust domain.
            RuntimeError: if no thread can be started.
        """
        watched = WatchedPaths(lambda: (path,), lambda: self._wake(path))
        # Before the file is read: a change from here on is either read or noticed.
        watched.check()
        file = PolicyFile(path, self._read_grace, trust_domains=trust_domains)
        reloads = ReloadStats(self._clock())
        task = PeriodicTask(self._seconds, lambda: self._reload(file, reloads), "handfast-policy")
        policy = WatchedPolicy(file, reloads, task, watched)
        with self._lock:
            if self._is_withdrawn:
                file.withdraw()
                return file
            added = self._policies.setdefault(path, policy)
            if added is policy and self._is_started:
                try:
                    task.start()
                except RuntimeError:
                    # Never hand out a policy that is not reloaded.
                    del self._policies[path]
                    raise
        return added.file

    def withdraw(self) -> None:
        """Put no policy in force any more, those that are added later included."""
        with self._lock:
            self._is_withdrawn = True
        for item in self.all():
            item.file.withdraw()

    def graces(self) -> Iterable[timedelta]:
        """Return the grace for stale revocation lists of each policy in force."""
        policies = [item.file.policy() for item in self.all()]
        return [policy.revocation_grace for policy in policies if policy is not None]

    def check_graces(self) -> None:
        """End each grace that is over. An error at one file does not hold up the others."""
        last_error: Exception | None = None
        for item in self.all():
            try:
                if item.file.check_graces(self._clock()):
                    self._changed()
            except Exception as error:
                last_error = error
        if last_error is not None:
            raise last_error

    @property
    def problems(self) -> tuple[str, ...]:
        """The problem of each file that has one."""
        return tuple(item.file.problem for item in self.all() if item.file.problem)

    @property
    def are_in_force(self) -> bool:
        """Whether each file has a policy in force: without one, calls are refused."""
        return all(item.file.policy() is not None for item in self.all())

    def _reload(self, file: PolicyFile, reloads: ReloadStats) -> float | None:
        now = self._clock()
        is_new = file.reload(now)
        reloads.record(ReloadResult.of(file.problem, is_new=is_new), now)
        if is_new:
            self._changed()
        return _RETRY_SECONDS if file.problem else None

    def _wake(self, path: Path) -> None:
        with self._lock:
            policy = self._policies.get(path)
        if policy is not None:
            policy.task.wake()
