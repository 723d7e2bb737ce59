"""A decision log in a file of its own, written by one thread.

A call only appends to a buffer. The thread writes what is there twenty times a second, in one
write. Lines that the buffer has no room for are left out and counted, or make allowed calls wait
for some seconds, as the server's owner chooses. Refusals have room of their own.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pki.access.appended_file import AppendedFile
from pki.access.rate_limiter import Suppressed
from pki.background import defer

log = logging.getLogger("handfast.access")

MOST_LINES = 16384
"""The lines that wait, at most: four seconds of four thousand calls a second."""
_MOST_OF_REFUSALS = 2 * MOST_LINES  # with those that a full buffer has room for: refusals alone
_GATHER_SECONDS = 0.05
_RETRY_SECONDS = 0.25
LONGEST_WAIT = 5.0
"""How many seconds a call waits for room. Then no call waits any more until there was room."""
_CLOSING_SECONDS = 1.0  # for a reader of a pipe that is slow
_TELL_SECONDS = 1.0
_AT_ONCE = 4096
_MOST_NAMED = 10


class DecisionFile:
    """Appends lines to a file. Safe for use by several threads and by forked processes.

    Args:
        path: the file; made with the mode 0640 if it is not there.
        blocks: whether an allowed call waits for room for its line, :data:`LONGEST_WAIT` at most;
            else it is lost at once.
        describe_lost: returns what follows the time in the line that tells of lost lines.
        count_lost: is called with the number of lines that were lost.

    Raises:
        InputError: if the path is a directory.
        StateError: if the file can't be opened for writing.
    """

    def __init__(
        self,
        path: Path,
        *,
        blocks: bool,
        describe_lost: Callable[[Suppressed], str],
        count_lost: Callable[[int], None],
    ) -> None:
        self._path = path
        self._blocks = blocks
        self._describe_lost = describe_lost
        self._count_lost = count_lost
        self._file = AppendedFile(path)
        self._told_at = 0.0
        self._unwritten = b""
        self._is_failing = False
        self._is_hopeless = self._is_reader_slow = False
        self._is_closed = False
        self._begin()
        _OPEN.add(self)

    def _begin(self) -> None:
        """Begin without lines and without a thread, as a forked child does too."""
        self._lines: deque[tuple[float, str]] = deque()
        self._lost: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._room = threading.Condition()
        self._wake = threading.Event()
        self._is_awake = False
        self._thread: threading.Thread | None = None

    def add(
        self, seconds: float, rest: str, principal: str, *, is_warning: bool, stands_for: int = 1
    ) -> None:
        """Add one line.

        Args:
            seconds: when it was decided, since 1970.
            rest: what follows the time in the line.
            principal: whose call it is about.
            is_warning: whether it tells of a refusal: then nothing waits for room.
            stands_for: how many decisions it tells of, with those that were suppressed before.
        """
        if len(self._lines) >= MOST_LINES and not self._has_room(is_warning):
            self._lose(principal, stands_for)
            return
        # First: who finds the thread awake relies on it that it looks for lines once more.
        self._lines.append((seconds, rest))
        if self._is_closed:
            self._write_in_call()
        elif not self._is_awake:
            self._is_awake = True
            self._start()
            self._wake.set()

    def flush(self) -> None:
        """Write what is there, now."""
        with self._lock:
            self._write_all()

    def close(self) -> None:
        """Write what is there, and end the thread: who adds a line later writes it."""
        if self._is_closed:
            # Perhaps by the handler of a second signal, in the midst of closing: do not wait.
            return
        self._is_closed = True
        self._wake.set()
        with self._room:
            self._room.notify_all()
        with self._lock:
            self._finish()

    def finish(self) -> None:
        """Write what is there as the program ends; what can't be written is told and counted."""
        if self._lock.acquire(timeout=_CLOSING_SECONDS):
            try:
                self._finish()
            finally:
                self._lock.release()

    def _write_in_call(self) -> None:
        """Write within a call, after the thread has ended; do not wait for a disk that hangs."""
        if self._lock.acquire(timeout=_RETRY_SECONDS):
            try:
                self._write_all()
            finally:
                self._lock.release()

    def __del__(self) -> None:
        """Close the file: nobody adds lines any more."""
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def renew_in_child(self) -> None:
        """Forget the lines of the parent, which writes them itself."""
        self._unwritten = b""
        self._begin()

    def _has_room(self, is_warning: bool) -> bool:
        if is_warning:
            return len(self._lines) < _MOST_OF_REFUSALS
        if not self._blocks:
            return False
        end = time.monotonic() + LONGEST_WAIT
        while len(self._lines) >= MOST_LINES and not self._is_closed and not self._is_hopeless:
            with self._room:
                self._room.wait(_RETRY_SECONDS)
            if self._thread is None:
                self.flush()
            if time.monotonic() > end:
                # An event loop that waits for each call anew could not even be told to end.
                self._is_hopeless = True
        return len(self._lines) < MOST_LINES

    def _lose(self, principal: str, decisions: int) -> None:
        with self._room:
            known = principal in self._lost or len(self._lost) < MOST_LINES
            self._lost[principal if known else ""] += decisions
        self._count_lost(1)

    def _start(self) -> None:
        with self._room:
            if self._thread is not None:
                return
            _finish_with_worker()
            thread = threading.Thread(target=self._run, name="handfast-decisions", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # There are too many threads, or the interpreter ends: this call writes.
                self._is_awake = False
            else:
                self._thread = thread
                return
        self.flush()

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.wait()
            self._wake.clear()
            time.sleep(_RETRY_SECONDS if self._is_failing else _GATHER_SECONDS)
            self._is_awake = False
            try:
                self.flush()
            except Exception as error:
                defer(log.error, "the decision log can't be written: %r", error)
            if self._is_failing:
                self._wake.set()

    def _write_all(self) -> None:
        while self._unwritten or self._lines:
            if not self._unwritten:
                taken = [self._lines.popleft() for _ in range(min(len(self._lines), _AT_ONCE))]
                self._unwritten = _encode(taken)
                self._is_hopeless = False
                with self._room:
                    self._room.notify_all()
            if not self._write():
                return
            if self._lost and time.monotonic() - self._told_at > _TELL_SECONDS:
                self._tell_lost()
        self._tell_lost()

    def _finish(self) -> None:
        """Write what is there, and give up what can't be written."""
        end = time.monotonic() + _CLOSING_SECONDS
        self._write_all()
        while self._unwritten and self._is_reader_slow and time.monotonic() < end:
            time.sleep(_GATHER_SECONDS / 5)
            self._write_all()
        left = self._unwritten.count(b"\n") + len(self._lines)
        if not left:
            return
        self._unwritten = b""
        self._lines.clear()
        self._count_lost(left)
        # Said at once: the program may end.
        log.error("decision log %r can't be written: %d lines are lost", str(self._path), left)

    def _write(self) -> bool:
        """Write what is encoded; return whether that succeeded."""
        self._unwritten, error = self._file.append(self._unwritten)
        self._is_reader_slow = isinstance(error, BlockingIOError)
        if error is not None:
            if not self._is_failing:
                self._is_failing = True
                message = "decision log %r can't be written, lines wait: %s"
                defer(log.error, message, str(self._path), error.strerror)
            return False
        if self._is_failing:
            self._is_failing = False
            defer(log.warning, "decision log %r can be written again", str(self._path))
        return True

    def _tell_lost(self) -> None:
        with self._room:
            lost, self._lost = self._lost, Counter()
        if lost:
            self._told_at = time.monotonic()
            told = Suppressed(lost.total(), tuple(lost.most_common(_MOST_NAMED)))
            self._unwritten = _encode([(time.time(), self._describe_lost(told))])
            self._write()


_OPEN: weakref.WeakSet[DecisionFile] = weakref.WeakSet()


def timestamp(seconds: float) -> str:
    """Return a time as the lines tell it.

    Args:
        seconds: since 1970.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _encode(lines: list[tuple[float, str]]) -> bytes:
    return "".join([f'{{"timestamp": "{timestamp(at)}"{rest}\n' for at, rest in lines]).encode()


def _flush_all() -> None:
    for item in list(_OPEN):
        with suppress(Exception):
            item.finish()


def _finish_with_worker() -> None:
    """Finish the files when a worker of multiprocessing ends, too.

    One that was forked runs no ``atexit`` before Python 3.15 (python/cpython#83856).
    """
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _flush_all, exitpriority=0)


def _renew_all() -> None:
    for item in list(_OPEN):
        item.renew_in_child()


atexit.register(_flush_all)
os.register_at_fork(after_in_child=_renew_all)
