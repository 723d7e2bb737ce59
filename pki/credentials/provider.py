"""Provides what is in force: reads the credential and the policies again, and tells subscribers.

The rules:

1. The credential, the revocation lists and each policy have one thread each, which reads it. One
   that fails, or is slow, holds up none of the others, and none of them runs on an event loop.
2. One more thread rechecks what runs: a few times a second, and right after each change. It reads
   no source and writes to no log, so that it is never late.
3. What is in force is published as a :class:`Snapshot` that is replaced whole. Servers, ports and
   channels subscribe; the provider knows nothing of them.
4. After :meth:`CredentialProvider.close` every call is refused, because nobody would notice a
   revocation.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path

from pki.background import flush
from pki.clock import Clock
from pki.credentials.current import CurrentCredential
from pki.credentials.file_watcher import FileWatcher, WatchedPaths
from pki.credentials.periodic import PeriodicTask
from pki.credentials.policy_file import PolicyFile
from pki.credentials.policy_provider import PolicyProvider, WatchedPolicy
from pki.credentials.snapshot import Snapshot
from pki.credentials.source import Source
from pki.credentials.subscriber import Subscriber
from pki.credentials.threads import no_thread_error, on_event_loop, run_in_thread, run_safely
from pki.errors import InputError, StateError
from pki.files.descriptor_reserve import DESCRIPTOR_RESERVE
from pki.identity import TrustDomain

log = logging.getLogger("handfast.credentials")

READ_GRACE = timedelta(seconds=30)
RECHECK_SECONDS = 0.25
# Watches lose events now and then (network file systems): read anyway, and sooner after a failure.
_RELOAD_SECONDS, _RETRY_SECONDS = 5.0, 1.0
_REMEMBER_SECONDS = 60.0
_STOP_SECONDS = 2.0


class CredentialProvider:
    """The credential and the policies in force, kept fresh.

    Args:
        source: the source of the credential.
        clock: returns the time.
        read_grace: how long the last good credential, revocation lists and policies stay in force
            while they can't be read.

    Raises:
        PkiError: if the credential can't be used.
    """

    def __init__(self, source: Source, clock: Clock, read_grace: timedelta = READ_GRACE) -> None:
        if read_grace <= timedelta(0):
            raise InputError(f"read_grace is {read_grace}", remedy="Set it above zero")
        # Reserve descriptors now: strangers may hold all of them later.
        DESCRIPTOR_RESERVE.reserve()
        self._source = source
        reload_seconds = min(_RELOAD_SECONDS, read_grace.total_seconds() / 3)
        self._lock = threading.RLock()
        self._started = self._closed = self._withdrawn = False
        self._idle_rechecks = 0
        self._subscribers: weakref.WeakSet[Subscriber] = weakref.WeakSet()
        self._released: set[Subscriber] = set()
        self._published: Snapshot | None = None
        self._policies = PolicyProvider(clock, read_grace, reload_seconds, self._policies_changed)
        self._folders = tuple(run_in_thread(source.folders))
        self._source_paths = WatchedPaths(lambda: self._folders, self._source_changed)
        # Before the source is read: a change from here on is either read or noticed.
        self._source_paths.check()
        self._current = run_in_thread(
            lambda: CurrentCredential(
                source,
                clock,
                read_grace=read_grace,
                graces=self._policies.graces,
                changed=self._changed,
            )
        )
        self._reload_tasks = [
            PeriodicTask(reload_seconds, self._reload_credential, "handfast-credential"),
            PeriodicTask(reload_seconds, self._reload_crls, "handfast-crls"),
        ]
        self._remember_task = PeriodicTask(
            _REMEMBER_SECONDS, self._current.store_crls, "handfast-remember"
        )
        self._recheck_task = PeriodicTask(RECHECK_SECONDS, self._recheck, "handfast-recheck")
        self._watcher = FileWatcher(self._watched_paths)

    def start(self) -> None:
        """Start the threads.

        Raises:
            StateError: if a thread can't be started; then none is left running.
        """
        try:
            with self._lock:
                self._started = True
                for task in (*self._reload_tasks, self._remember_task, self._recheck_task):
                    task.start()
            self._policies.start()
            self._remember_task.wake()
            self._watcher.start()
        except RuntimeError as error:
            # The caller gets no workload that it could close.
            self.close()
            raise no_thread_error(error) from error
        try:
            self._source.subscribe(self._source_pushed)
        except BaseException:
            self.close()
            raise

    @property
    def snapshot(self) -> Snapshot:
        """What is in force now."""
        return self._current.snapshot

    @property
    def current(self) -> CurrentCredential:
        """The source's credential: what it returned last, and how its reloads went."""
        return self._current

    @property
    def policies(self) -> Sequence[WatchedPolicy]:
        """The policy files, and how the reloads of each went."""
        return self._policies.all()

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes calls fail, or will if nothing is done; empty if there is nothing."""
        if self._closed:
            return ("the workload is closed: its servers and channels refuse every call",)
        return (*self._current.problems, *self._policies.problems)

    @property
    def can_serve(self) -> bool:
        """Whether a call can succeed now. True also for a credential that expires soon."""
        return not self._closed and not self._current.own_problem() and self._policies.are_in_force

    @property
    def is_closed(self) -> bool:
        """Whether the provider was closed."""
        return self._closed

    def check_open(self) -> None:
        """Check that the provider is not closed.

        Raises:
            StateError: if it is: nobody would notice a change, such as a revocation.
        """
        if self._closed:
            raise StateError(
                "this Workload is closed, so it no longer learns of revocations",
                remedy="Make servers and channels inside its with block, or make another Workload",
            )

    def subscribe(self, subscriber: Subscriber) -> None:
        """Keep a subscriber up to date for as long as something else holds it.

        Raises:
            StateError: if the provider is closed.
        """
        with self._lock:
            self.check_open()
            self._subscribers.add(subscriber)

    def release(self, subscriber: Subscriber) -> None:
        """Close a subscriber, and hold it until nothing of it runs any more."""
        subscriber.on_close()
        with self._lock:
            self._released.add(subscriber)

    def policy_file(
        self, path: Path, trust_domains: Collection[TrustDomain] | None = None
    ) -> PolicyFile:
        """Return a policy file that is reloaded from now on.

        Raises:
            PolicyError: if it is missing or bad, or written for another trust domain.
            StateError: if the thread that reloads it can't be started.
        """
        absolute = path.absolute()
        self.check_open()
        existing = self._policies.get(absolute)
        if existing is not None:
            existing.check_trust_domain(trust_domains)
            return existing
        try:
            file = self._policies.add(absolute, trust_domains)
        except RuntimeError as error:
            raise no_thread_error(error) from error
        # If the provider was closed meanwhile, the file is withdrawn, and nobody reloads it.
        self.check_open()
        # The policy sets the grace for stale revocation lists.
        self._current.apply_graces()
        return file

    def reload(self, seconds: float) -> bool:
        """Read everything again now.

        Args:
            seconds: how long to wait for it. On an event loop nobody waits: the loop would stop for
                as long as a source takes.

        Returns:
            Whether every read ended, and every recheck that follows it, before this returned. True
            also if the source returned an update that was refused: see :attr:`problems`.
        """
        self.check_open()
        policy_tasks = [item.task for item in self._policies.all()]
        return self._reload_now([*self._reload_tasks, *policy_tasks], seconds)

    def close(self) -> None:
        """Stop reading changes, and refuse every call from now on. Closing again does nothing."""
        with self._lock:
            is_first, self._closed = not self._closed, True
        if not is_first:
            return
        # A source or a log may take long; an event loop must not be held up by that.
        seconds = RECHECK_SECONDS if on_event_loop() else _STOP_SECONDS
        remembered = self._remember_task.wake()
        self._current.close()
        for subscriber in self._all_subscribers():
            run_safely(subscriber.on_close)
        self._policies.withdraw()
        self._withdrawn = True
        # The recheck ends what runs. Its thread goes on until nothing runs any more.
        self._recheck_task.wait_done(self._recheck_task.wake(), _STOP_SECONDS)
        for subscriber in self._all_subscribers():
            run_safely(subscriber.on_closed)
        end = time.monotonic() + seconds
        self._remember_task.wait_done(remembered, seconds)
        for task in self._tasks():
            # A source may never return; its thread ends with the process then.
            task.stop(max(0.0, end - time.monotonic()))
        self._watcher.stop(max(0.0, end - time.monotonic()))
        flush(seconds)

    def _tasks(self) -> list[PeriodicTask]:
        policy_tasks = [item.task for item in self._policies.all()]
        return [*self._reload_tasks, self._remember_task, *policy_tasks]

    def _all_subscribers(self) -> list[Subscriber]:
        with self._lock:
            return list({*self._subscribers, *self._released})

    def _watched_paths(self) -> Sequence[WatchedPaths]:
        return [self._source_paths, *(item.watched for item in self._policies.all())]

    def _reload_credential(self) -> float | None:
        is_accepted = self._current.reload_credential()
        self._folders = tuple(self._source.folders())
        return None if is_accepted else _RETRY_SECONDS

    def _reload_crls(self) -> float | None:
        return None if self._current.reload_crls() else _RETRY_SECONDS

    def _source_changed(self) -> None:
        for task in self._reload_tasks:
            task.wake()

    def _source_pushed(self) -> None:
        """Read the source again, because it reported a change.

        Wait until that is done, unless the caller runs on an event loop.
        """
        if not self._closed:
            self._reload_now(self._reload_tasks, _STOP_SECONDS)

    def _reload_now(self, tasks: Sequence[PeriodicTask], seconds: float) -> bool:
        numbers = [(task, task.wake()) for task in tasks]
        if on_event_loop() or self._is_own_thread():
            return False
        end = time.monotonic() + seconds
        read = [task.wait_done(number, end - time.monotonic()) for task, number in numbers]
        # Running streams, and new handshakes, follow the change before this returns.
        number = self._recheck_task.wake()
        rechecked = self._recheck_task.wait_done(number, end - time.monotonic())
        applied = [
            subscriber.wait_applied(end - time.monotonic())
            for subscriber in self._all_subscribers()
        ]
        flush(max(0.0, end - time.monotonic()))
        return all(read) and rechecked and all(applied)

    def _is_own_thread(self) -> bool:
        """Return whether the caller runs in a thread that this would wait for."""
        tasks = [*self._tasks(), self._recheck_task]
        return any(task.is_current() for task in tasks) or any(
            subscriber.is_current_thread for subscriber in self._all_subscribers()
        )

    def _policies_changed(self) -> None:
        self._current.apply_graces()

    def _changed(self) -> None:
        if self._started:
            self._recheck_task.wake()
            self._remember_task.wake()

    def _recheck(self) -> None:
        """Check the graces, then everything that runs."""
        # Read first: what was allowed before the policies were withdrawn must be checked after it.
        withdrawn = self._withdrawn
        with self._lock:
            released = list(self._released)
        run_safely(self._current.withhold_unreadable_crls)
        run_safely(self._policies.check_graces)
        subscribers = self._all_subscribers()
        snapshot = self.snapshot
        if snapshot is not self._published:
            self._published = snapshot
            for subscriber in subscribers:
                run_safely(lambda subscriber=subscriber: subscriber.on_change(snapshot))  # type: ignore[misc]
        for subscriber in subscribers:
            run_safely(subscriber.recheck)
        for subscriber in released:
            if not subscriber.has_running:
                run_safely(subscriber.on_closed)
                with self._lock:
                    self._released.discard(subscriber)
                    self._subscribers.discard(subscriber)
        if withdrawn:
            self._stop_when_idle()

    def _stop_when_idle(self) -> None:
        """Stop rechecking once nothing has run for two rechecks.

        A call that was authorized just before the policies were withdrawn may add its stream after
        the first of them.
        """
        runs = any(subscriber.has_running for subscriber in self._all_subscribers())
        self._idle_rechecks = 0 if runs else self._idle_rechecks + 1
        if self._idle_rechecks > 1:
            self._recheck_task.stop(0)
