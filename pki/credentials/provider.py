"""Follows a credential and its policies, and brings each change to servers that run.

Each thing is followed by a thread of its own: the credential, the revocation lists, each policy,
the ports. One that fails, or takes its time, holds up none of the others, and none of them runs on
an event loop. One more thread judges again whoever is connected. It asks nobody for anything and
writes to no log, so that it is never late.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from pki.access.counters import Counters, ReloadResult, ReloadStats
from pki.access.snapshot import WorkloadSnapshot
from pki.background import defer, flush
from pki.clock import Clock
from pki.credentials.file_watcher import FileWatcher, WatchedPaths
from pki.credentials.live import CurrentCredential, Snapshot
from pki.credentials.periodic import PeriodicTask
from pki.credentials.policy_file import PolicyFile
from pki.credentials.policy_files import PolicyProvider
from pki.credentials.source import Source
from pki.errors import InputError, StateError
from pki.files.descriptor_reserve import DESCRIPTOR_RESERVE
from pki.rpc.client.channel_aio import AioChannel
from pki.rpc.client.channel_sync import SyncChannel
from pki.rpc.server.access_control import AccessControl
from pki.rpc.server.health_report import HealthReport, HealthServicer
from pki.rpc.server.port_certificate import PortCertificate

log = logging.getLogger("handfast.rpc")

READ_GRACE = timedelta(seconds=30)
_TICK_SECONDS = 0.25
# Watches lose events now and then (network file systems): look anyway, and sooner after a failure.
_LOOK_SECONDS, _RETRY_SECONDS = 5.0, 1.0
_KEEP_SECONDS = 60.0
_STOP_SECONDS = 2.0

_Result = TypeVar("_Result")


class CredentialProvider:
    """What is in force, kept fresh.

    Args:
        source: gives the credential.
        clock: gives the time.
        read_grace: how long what is in force counts while it can't be read again.

    Raises:
        PkiError: if the credential can't be used.
    """

    def __init__(self, source: Source, clock: Clock, read_grace: timedelta = READ_GRACE) -> None:
        if read_grace <= timedelta(0):
            raise InputError(f"read_grace is {read_grace}", remedy="Set it above zero")
        # Made while there is room: strangers may hold every descriptor later.
        DESCRIPTOR_RESERVE.reserve()
        self._source = source
        self._clock = clock
        look_seconds = min(_LOOK_SECONDS, read_grace.total_seconds() / 3)
        self._lock = threading.RLock()
        self._started = self._closed = False
        self._gates: weakref.WeakSet[AccessControl] = weakref.WeakSet()
        # Those whose servers have stopped: kept until their last stream has ended.
        self._retired: set[AccessControl] = set()
        self._ports: list[PortCertificate] = []
        self._port_changes = ReloadStats(clock())
        self._channels: weakref.WeakSet[AioChannel | SyncChannel] = weakref.WeakSet()
        self._reports: list[HealthReport] = []
        self.counts = Counters()
        self._policies = PolicyProvider(clock, read_grace, look_seconds, self._policies_changed)
        self._folders = tuple(_elsewhere(source.folders))
        self._source_watched = WatchedPaths(lambda: self._folders, self._source_changed)
        # Before it is read: what changes from here on is read, or is seen to have changed.
        self._source_watched.look()
        self._credential = _elsewhere(
            lambda: CurrentCredential(
                source,
                clock,
                read_grace=read_grace,
                graces=self._policies.graces,
                changed=self._changed,
            )
        )
        self._followers = [
            PeriodicTask(look_seconds, self._look_at_source, "handfast-credential"),
            PeriodicTask(look_seconds, self._look_at_crls, "handfast-lists"),
        ]
        self._keeper = PeriodicTask(_KEEP_SECONDS, self._credential.keep_crls, "handfast-keep")
        self._porter = PeriodicTask(_TICK_SECONDS, self._offer, "handfast-ports")
        self._sweeper = PeriodicTask(_TICK_SECONDS, self._sweep, "handfast-sweep")
        self._watcher = FileWatcher(self._watched)

    def start(self) -> None:
        """Begin to follow.

        Raises:
            StateError: if there is no room for its threads; then nothing is left running.
        """
        try:
            with self._lock:
                self._started = True
                for thread in (*self._own_threads(), self._sweeper):
                    thread.start()
            self._policies.start()
            self._keeper.wake()
            self._watcher.start()
        except RuntimeError as error:
            # Whoever has no workload can't close it.
            self.close()
            raise _no_thread(error) from error
        try:
            self._source.subscribe(self._pushed)
        except BaseException:
            self.close()
            raise

    @property
    def live(self) -> Snapshot:
        """What is in force now."""
        return self._credential.live

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes calls fail, or will if nothing is done; empty if all is well."""
        if self._closed:
            return ("the workload is closed: its servers and channels refuse every call",)
        with self._lock:
            ports = list(self._ports)
        return (
            *self._credential.problems,
            *self._policies.problems,
            *(item.problem for item in ports if item.problem),
        )

    @property
    def can_serve(self) -> bool:
        """Whether a call can succeed now; a credential that ends soon is no reason against it."""
        return (
            not self._closed and not self._credential.own_problem() and self._policies.are_in_force
        )

    def report_health(self, servicer: HealthServicer, services: Iterable[str]) -> None:
        """Keep the answer of a health servicer true until this is closed."""
        report = HealthReport(servicer, services, lambda: self.can_serve)
        with self._lock:
            self.check_open()
            self._reports.append(report)
        report.start()

    def seen(self) -> WorkloadSnapshot:
        """Return what is to be seen of it now."""
        with self._lock:
            live, channels, gates = self.live, list(self._channels), self._all_gates()
        policies = [(item.file, item.reloads) for item in self._policies.all()]
        return WorkloadSnapshot(
            live.credential,
            self._credential.on_disk,
            self._credential.reloads,
            self._credential.crl_reloads,
            self._port_changes,
            tuple(policies),
            problems=len(self.problems),
            streams=sum(len(gate.streams) for gate in gates),
            connections=Counter(state for item in channels for state in item.connections.states()),
            counts=self.counts,
        )

    def check_open(self) -> None:
        """Raise once it is closed.

        Raises:
            StateError: nobody would notice what changes, a revocation among it.
        """
        if self._closed:
            raise StateError(
                "this Workload is closed: it follows no revocation any more",
                remedy="Make servers and channels inside its with block, or make another Workload",
            )

    def add_gate(self, gate: AccessControl) -> None:
        """Judge this gate's running streams after each change, for as long as somebody holds it."""
        with self._lock:
            self.check_open()
            self._gates.add(gate)

    def retire_gate(self, gate: AccessControl) -> None:
        """Let go of a gate whose server has stopped, once its last stream has ended."""
        with self._lock:
            self._retired.add(gate)

    def add_channel(self, channel: AioChannel | SyncChannel) -> None:
        """Have this channel follow the credential, for as long as somebody holds it."""
        with self._lock:
            self.check_open()
            self._channels.add(channel)

    def new_port(self) -> PortCertificate:
        """Make a port that is given each new configuration."""
        with self._lock:
            self.check_open()
            port = PortCertificate(self.live.server_configuration)
            self._ports.append(port)
        return port

    def policy_file(self, path: Path) -> PolicyFile:
        """Return a policy file that is followed from now on.

        Raises:
            PolicyError: if it is missing or bad.
            StateError: if there is no room for the thread that follows it.
        """
        absolute = path.absolute()
        self.check_open()
        known = self._policies.get(absolute)
        if known is not None:
            return known
        try:
            file = self._policies.add(absolute)
        except RuntimeError as error:
            raise _no_thread(error) from error
        # It may have been closed meanwhile: then the file is withdrawn, and followed by nobody.
        self.check_open()
        self._watcher.paths_changed()
        # The grace for stale lists stands in the policy.
        self._credential.policies_changed()
        return file

    def reload(self, seconds: float) -> bool:
        """Look at everything now.

        Args:
            seconds: how long to wait for it. On an event loop nobody waits: it would stop for as
                long as a source takes.

        Returns:
            Whether all was looked at, and everybody judged by it, before it returned.
        """
        self.check_open()
        policies = [item.follower for item in self._policies.all()]
        return self._look_now([*self._followers, *policies], seconds)

    def close(self) -> None:
        """Stop following, and let nothing through from now on: nobody would notice what changes."""
        with self._lock:
            is_first, self._closed = not self._closed, True
        if not is_first:
            return
        # An event loop is not held up for as long as a source or a log may take.
        seconds = _TICK_SECONDS if _on_event_loop() else _STOP_SECONDS
        kept = self._keeper.wake()
        self._credential.close()
        for channel in list(self._channels):
            _try(channel.stop_following)
        self._policies.withdraw()
        # Nobody is let in from now on. The sweeper goes on until it has ended all that runs.
        self._sweeper.wait_done(self._sweeper.wake(), _STOP_SECONDS)
        for gate in self._all_gates():
            _try(gate.close)
        for port in list(self._ports):
            _try(port.close)
        end = time.monotonic() + seconds
        for report in self._reports:
            report.close(0 if _on_event_loop() else _TICK_SECONDS)
        self._keeper.wait_done(kept, seconds)
        for thread in self._threads():
            # A source may never come back; its thread ends with the process.
            thread.stop(max(0.0, end - time.monotonic()))
        self._watcher.stop(max(0.0, end - time.monotonic()))
        flush(seconds)

    def _own_threads(self) -> list[PeriodicTask]:
        return [*self._followers, self._keeper, self._porter]

    def _threads(self) -> list[PeriodicTask]:
        return [*self._own_threads(), *(item.follower for item in self._policies.all())]

    def _watched(self) -> Sequence[WatchedPaths]:
        return [self._source_watched, *(item.watched for item in self._policies.all())]

    def _look_at_source(self) -> float | None:
        was_good = self._credential.look_at_credential()
        folders = tuple(self._source.folders())
        if folders != self._folders:
            self._folders = folders
            self._watcher.paths_changed()
        return None if was_good else _RETRY_SECONDS

    def _look_at_crls(self) -> float | None:
        return None if self._credential.look_at_crls() else _RETRY_SECONDS

    def _source_changed(self) -> None:
        for follower in self._followers:
            follower.wake()

    def _pushed(self) -> None:
        """Take up what a source says is new; wait for that where nothing else waits for us."""
        if not self._closed:
            self._look_now(self._followers, _STOP_SECONDS)

    def _look_now(self, followers: Sequence[PeriodicTask], seconds: float) -> bool:
        asked = [(item, item.wake()) for item in followers]
        if _on_event_loop() or any(item.is_current() for item in (*self._threads(), self._sweeper)):
            return False
        end = time.monotonic() + seconds
        looked = [item.wait_done(number, end - time.monotonic()) for item, number in asked]
        # What came of it reaches whoever is connected, and new handshakes, before this returns.
        last = [(item, item.wake()) for item in (self._sweeper, self._porter)]
        reached = [item.wait_done(number, end - time.monotonic()) for item, number in last]
        flush(max(0.0, end - time.monotonic()))
        return all(looked) and all(reached)

    def _policies_changed(self) -> None:
        self._credential.policies_changed()

    def _changed(self) -> None:
        """Bring a change to whoever is connected."""
        if self._started:
            self._sweeper.wake()
            self._porter.wake()
            self._keeper.wake()

    def _all_gates(self) -> list[AccessControl]:
        with self._lock:
            return list(self._gates)

    def _sweep(self) -> None:
        """Judge again whoever is connected, and whoever we are connected to."""
        with self._lock:
            gates, retired = list(self._gates), list(self._retired)
            channels = list(self._channels)
        _try(self._credential.tick)
        _try(self._policies.tick)
        for gate in gates:
            _try(gate.tick)
        for channel in channels:
            _try(channel.follow)
        for gate in retired:
            if len(gate.streams) == 0:
                _try(gate.close)
                with self._lock:
                    self._retired.discard(gate)
                    self._gates.discard(gate)
        if self._closed and not any(len(gate.streams) for gate in gates):
            self._sweeper.stop(0)

    def _offer(self) -> None:
        """Bring the certificate in force to each port."""
        with self._lock:
            # A server may open a port at this moment: it must not be lost.
            self._ports = [port for port in self._ports if not port.is_closed]
            ports = list(self._ports)
        for port in ports:
            _try(port.release)
            outcome = None
            try:
                outcome = port.offer(self.live.server_configuration)
            except Exception as error:
                outcome = ReloadResult.REFUSED
                defer(log.error, "a port could not be given its certificate: %r", error)
            if outcome is not None:
                self._port_changes.note(outcome, self._clock())


def _try(step: Callable[[], object]) -> None:
    """Do one thing of many: that it fails must not keep the others from being done."""
    try:
        step()
    except Exception as error:
        defer(log.error, "following a change failed: %r", error)


def _no_thread(error: RuntimeError) -> StateError:
    return StateError(
        f"a credential and its policy can't be followed: {error}",
        remedy="Allow this process more threads (RLIMIT_NPROC, the cgroup's pids.max)",
    )


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _elsewhere(make: Callable[[], _Result]) -> _Result:
    """Run a step in a thread of its own: a source may block, or run an event loop by itself."""
    made: list[_Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(make())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="handfast-start", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise _no_thread(error) from error
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
