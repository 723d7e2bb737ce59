"""A decision log in a file of its own, written by one thread.

A call only appends to a buffer. The thread writes what is there twenty times a second, in one
write. Lines that the buffer has no room for are left out and counted, or make allowed calls wait,
as the server's owner chooses; refusals never wait.
"""

from __future__ import annotations

import atexit
import logging
import os
import stat
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pki.access.rate_limiter import Suppressed
from pki.background import defer
from pki.errors import InputError, StateError, quote_untrusted

log = logging.getLogger("handfast.access")

MOST_LINES = 16384
"""The lines that wait, at most: four seconds of four thousand calls a second."""
_MOST_OF_REFUSALS = 2 * MOST_LINES  # with those that found no room and may not wait for it
_GATHER_SECONDS = 0.05
_RETRY_SECONDS = 0.25
_LOOK_SECONDS = 1.0  # between two looks whether the file was moved away
_AT_ONCE = 4096
_MODE = 0o640
_MOST_NAMED = 10


class DecisionFile:
    """Appends lines to a file. Safe for use by several threads and by forked processes.

    Args:
        path: the file; made with the mode 0640 if it is not there.
        blocks: whether an allowed call waits until there is room for its line; else it is lost.
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
        self._file = _open(path)
        self._looked_at = time.monotonic()
        self._unwritten = b""
        self._is_failing = False
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

    def add(self, seconds: float, rest: str, principal: str, *, is_warning: bool) -> None:
        """Add one line.

        Args:
            seconds: when it was decided, since 1970.
            rest: what follows the time in the line.
            principal: whose call it is about.
            is_warning: whether it tells of a refusal: then nothing waits for room.
        """
        if len(self._lines) >= MOST_LINES and not self._has_room(principal, is_warning):
            return
        # First: who finds the thread awake relies on it that it looks for lines once more.
        self._lines.append((seconds, rest))
        if self._is_closed:
            self.flush()
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
        self._is_closed = True
        self._wake.set()
        with self._room:
            self._room.notify_all()
        with self._lock:
            self._write_all()
            left = len(self._lines)
            if left or self._unwritten:
                message = "decision log %r can't be written: %d lines or more are lost"
                defer(log.error, message, str(self._path), max(left, 1))
                self._count_lost(max(left, 1))

    def __del__(self) -> None:
        """Close the file: nobody adds lines any more."""
        file, self._file = getattr(self, "_file", -1), -1
        if file >= 0:
            os.close(file)

    def renew_in_child(self) -> None:
        """Forget the lines of the parent, which writes them itself."""
        self._unwritten = b""
        self._begin()

    def _has_room(self, principal: str, is_warning: bool) -> bool:
        if self._blocks and not is_warning:
            while len(self._lines) >= MOST_LINES and not self._is_closed:
                with self._room:
                    self._room.wait(_RETRY_SECONDS)
                if self._thread is None:
                    self.flush()
            if len(self._lines) < MOST_LINES:
                return True
        elif self._blocks and len(self._lines) < _MOST_OF_REFUSALS:
            return True
        with self._room:
            known = principal in self._lost or len(self._lost) < MOST_LINES
            self._lost[principal if known else ""] += 1
        self._count_lost(1)
        return False

    def _start(self) -> None:
        with self._room:
            if self._thread is not None:
                return
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
                with self._room:
                    self._room.notify_all()
            if not self._write():
                return
        self._tell_lost()

    def _write(self) -> bool:
        """Write what is encoded; return whether that succeeded."""
        try:
            self._follow()
            while self._unwritten:
                written = os.write(self._file, self._unwritten)
                self._unwritten = self._unwritten[written:]
        except OSError as error:
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
            told = Suppressed(lost.total(), tuple(lost.most_common(_MOST_NAMED)))
            self._unwritten = _encode([(time.time(), self._describe_lost(told))])
            self._write()

    def _follow(self) -> None:
        """Open the file again if it was moved away, as logrotate does."""
        now = time.monotonic()
        if 0 <= now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        ours = os.fstat(self._file)
        if not stat.S_ISREG(ours.st_mode):
            return
        try:
            found: os.stat_result | None = self._path.stat()
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino):
            opened = os.open(self._path, _FLAGS, _MODE)
            os.close(self._file)
            self._file = opened


_OPEN: weakref.WeakSet[DecisionFile] = weakref.WeakSet()
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def timestamp(seconds: float) -> str:
    """Return a time as the lines tell it.

    Args:
        seconds: since 1970.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _open(path: Path) -> int:
    try:
        return os.open(path, _FLAGS, _MODE)
    except IsADirectoryError:
        raise InputError(
            f"decision log {quote_untrusted(path)} is a directory", remedy="Name a file in it"
        ) from None
    except OSError as error:
        raise StateError(
            f"decision log {quote_untrusted(path)} can't be written: {error.strerror}",
            remedy="Make its folder, and let the service's user write there",
        ) from None


def _encode(lines: list[tuple[float, str]]) -> bytes:
    return "".join([f'{{"timestamp": "{timestamp(at)}"{rest}\n' for at, rest in lines]).encode()


def _flush_all() -> None:
    for item in list(_OPEN):
        with suppress(Exception):
            item.flush()


def _renew_all() -> None:
    for item in list(_OPEN):
        item.renew_in_child()


atexit.register(_flush_all)
os.register_at_fork(after_in_child=_renew_all)
