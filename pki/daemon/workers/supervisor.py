"""Starts the workers of a CA, and another one in the place of one that was ended.

1. The first worker starts alone. What is wrong with the CA or its settings is told once, and then
   nothing is served.
2. A worker that was ended while it served (killed, out of memory, crashed) is replaced, after a
   pause that grows while that goes on. The others serve meanwhile.
3. A worker that may not go on says so by its exit code. Then all others are ended at once.
4. No worker outlives the supervisor: each ends when their channel does, also after SIGKILL.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import FrameType

from pki.background import defer
from pki.daemon.workers.messages import (
    MAY_NOT_GO_ON,
    AskNumbers,
    Command,
    Failed,
    Numbers,
    OthersNumbers,
    Ready,
    WorkerSamples,
)
from pki.errors import StateError

log = logging.getLogger("handfast.ca")

_FIRST_PAUSE, _MOST_PAUSE = 1.0, 60.0
_STEADY_SECONDS = 60.0
"""A worker that has served for so long is replaced after the shortest pause again."""
_END_SECONDS = 30.0
"""Running calls have ten of them."""
_EXIT_SECONDS = 5.0
_COUNTER = "_total"


@dataclass(frozen=True, slots=True)
class WorkerProgram:
    """How a worker is started.

    Args:
        command: the program. The numbers of its descriptors follow as arguments: that of its
            channel, and the kept ones.
        kept: descriptors that each worker keeps open until it ends, such as those of locks.
        orders: returns the first message to a worker, by its number.
    """

    command: Sequence[str]
    kept: Sequence[int]
    orders: Callable[[int], object]

    def start(self, number: int) -> tuple[subprocess.Popen[bytes], Connection]:
        """Start a worker; return its process, and our end of its channel."""
        ours, theirs = socket.socketpair()
        with theirs:
            passed = (theirs.fileno(), *self.kept)
            process = subprocess.Popen(  # noqa: S603 - our own program
                [*self.command, *map(str, passed)],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                # Signals of a terminal are for the supervisor, which ends the others in order.
                process_group=0,
            )
        channel = Connection(ours.detach())
        _send(channel, self.orders(number))
        return process, channel


@dataclass(slots=True)
class _Worker:
    """One of the workers, or the place of one that was ended.

    Args:
        number: from 1 on.
        process: None while nobody is in its place.
        channel: our end.
        began: when it was started, by the monotonic clock.
        ready: what it said when it began to serve; None before.
        failed: why it could not.
        pause: how long to wait before the next one is started.
        samples: what it has counted, as it said last.
    """

    number: int
    process: subprocess.Popen[bytes] | None = None
    channel: Connection | None = None
    began: float = 0.0
    ready: Ready | None = None
    failed: Failed | None = None
    pause: float = _FIRST_PAUSE
    due: float = 0.0
    samples: WorkerSamples = ()


class Supervisor:
    """Supervises workers. Use it in the main thread of a process that does nothing else.

    Args:
        program: starts a worker.
        number: how many workers.
        monotonic: returns seconds that only grow.
    """

    def __init__(
        self,
        program: WorkerProgram,
        number: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._program = program
        self._monotonic = monotonic
        self._workers = [_Worker(place) for place in range(1, number + 1)]
        self._is_serving = self._is_ending = self._looks_again = False
        self._counted: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def run(self, serving: Callable[[Ready], object], ending: Callable[[], object]) -> None:
        """Serve until SIGTERM or SIGINT. SIGHUP makes each worker look again.

        Args:
            serving: called once all workers serve.
            ending: called when they begin to end.

        Raises:
            StateError: if one can't begin to serve, or may not go on; then none serves any more.
        """
        with self._hearing_signals() as wakeup:
            try:
                for workers in (self._workers[:1], self._workers[1:]):
                    for worker in workers:
                        self._start(worker)
                    while not self._is_ending and any(item.ready is None for item in workers):
                        self._step(wakeup)
                first = self._workers[0].ready
                if not self._is_ending and first is not None:
                    self._is_serving = True
                    serving(first)
                while not self._is_ending:
                    self._step(wakeup)
                ending()
                self._end(wakeup)
            finally:
                self._kill()

    def _end(self, wakeup: socket.socket) -> None:
        for channel in self._channels():
            _send(channel, Command.END)
        end = self._monotonic() + _END_SECONDS
        while any(item.process for item in self._workers) and self._monotonic() < end:
            self._step(wakeup, end)

    def _kill(self) -> None:
        """End all that are left, without waiting for anything that they do."""
        for worker in self._workers:
            if worker.process is not None:
                worker.process.kill()
        for worker in self._workers:
            if worker.process is not None:
                worker.process.wait()
                self._forget(worker)

    def _step(self, wakeup: socket.socket, end: float | None = None) -> None:
        """Wait until something happens, and do what follows from it."""
        channels = {item.channel: item for item in self._workers if item.channel is not None}
        due = [item.due for item in self._workers if item.process is None and item.due]
        seconds = None if end is None else end - self._monotonic()
        if due and not self._is_ending:
            seconds = min(due) - self._monotonic()
        found = wait([wakeup, *channels], None if seconds is None else max(0.0, seconds))
        if wakeup in found:
            with suppress(BlockingIOError):
                wakeup.recv(4096)
        for item in found:
            if isinstance(item, Connection):
                self._hear(channels[item], item)
        if self._looks_again:
            self._looks_again = False
            self._have_look_again()
        if not self._is_ending:
            for worker in self._workers:
                if worker.process is None and worker.due and worker.due <= self._monotonic():
                    self._start_again(worker)

    def _start_again(self, worker: _Worker) -> None:
        try:
            self._start(worker)
        except OSError as error:
            # No process, or no descriptor, is to be had now.
            worker.due = self._monotonic() + worker.pause
            defer(log.error, "worker %d can't be started: %s", worker.number, error)

    def _start(self, worker: _Worker) -> None:
        worker.ready = worker.failed = None
        worker.began, worker.due = self._monotonic(), 0.0
        worker.process, worker.channel = self._program.start(worker.number)

    def _hear(self, worker: _Worker, channel: Connection) -> None:
        try:
            message = channel.recv()
        except (EOFError, OSError):
            self._ended(worker)
            return
        match message:
            case Ready():
                worker.ready = message
                if self._is_serving:
                    defer(log.warning, "worker %d serves again", worker.number)
            case Failed():
                worker.failed = message
            case Numbers():
                worker.samples = message.samples
            case AskNumbers():
                _send(channel, self._numbers_for(worker))

    def _numbers_for(self, asking: _Worker) -> OthersNumbers:
        ended = tuple((name, labels, value) for (name, labels), value in self._counted.items())
        others = (item.samples for item in self._workers if item is not asking)
        return OthersNumbers((*others, ended))

    def _ended(self, worker: _Worker) -> None:
        """Do what follows from the end of a worker.

        Raises:
            StateError: if the others may not go on, or have not begun to serve.
        """
        code, failed = self._forget(worker), worker.failed
        if self._is_ending:
            return
        how = _how_it_ended(code)
        if code == MAY_NOT_GO_ON:
            raise StateError(
                f"worker {worker.number} may not go on, so no other one may: all were ended",
                remedy="What is wrong is written above",
            )
        if not self._is_serving:
            message = f"worker {worker.number} {how} before it served"
            raise StateError(
                message if failed is None else failed.message,
                remedy="" if failed is None else failed.remedy,
            )
        if self._monotonic() - worker.began > _STEADY_SECONDS:
            worker.pause = _FIRST_PAUSE
        worker.due = self._monotonic() + worker.pause
        defer(
            log.error,
            "worker %d %s%s: another one is started in %g s",
            worker.number,
            how,
            f" ({failed.message})" if failed is not None else "",
            worker.pause,
        )
        worker.pause = min(2 * worker.pause, _MOST_PAUSE)

    def _forget(self, worker: _Worker) -> int:
        """Leave the place of a worker empty; return its exit code. What it counted counts on."""
        assert worker.process is not None
        assert worker.channel is not None
        worker.channel.close()
        try:
            code = worker.process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            # Without its channel nobody could end it later.
            worker.process.kill()
            code = worker.process.wait()
        for name, labels, value in worker.samples:
            if name.endswith(_COUNTER):
                self._counted[name, labels] += value  # type: ignore[assignment]
        worker.process = worker.channel = worker.ready = None
        worker.samples = ()
        return code

    def _have_look_again(self) -> None:
        for channel in self._channels():
            # Whoever stands still has been told before, and is to hold up nobody here.
            if _has_room(channel):
                _send(channel, Command.LOOK_AGAIN)

    def _channels(self) -> list[Connection]:
        return [item.channel for item in self._workers if item.channel is not None]

    @contextmanager
    def _hearing_signals(self) -> Iterator[socket.socket]:
        """Hear signals; yield what can be read from once there was one."""

        def heard(number: int, _: FrameType | None) -> None:
            if number == signal.SIGHUP:
                self._looks_again = True
            elif self._is_ending:
                # A second signal: do not wait for running calls. The channels end with us.
                os._exit(1)
            else:
                self._is_ending = True

        reading, writing = socket.socketpair()
        with reading, writing:
            reading.setblocking(False)
            writing.setblocking(False)
            numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            before = {number: signal.signal(number, heard) for number in numbers}
            wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
            try:
                yield reading
            finally:
                signal.set_wakeup_fd(wakeup)
                for number, handler in before.items():
                    signal.signal(number, handler)


def _send(channel: Connection, message: object) -> None:
    # Whoever does not read any more is gone: that is heard from the channel itself.
    with suppress(OSError):
        channel.send(message)


def _has_room(channel: Connection) -> bool:
    """Return whether what is sent now waits for no reader."""
    writable = select.poll()
    writable.register(channel, select.POLLOUT)
    return bool(writable.poll(0))


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
