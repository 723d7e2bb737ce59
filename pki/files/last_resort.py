"""Reads files while this process has no file descriptor left.

Whoever opens connections can use up the descriptors of a server, and then it reads neither a new
revocation list nor a policy: strangers would switch revocation off. Closing a descriptor to open a
file with it loses the race against the server's own ``accept``. So a pipe is made while there is
room, and when there is none, a child process opens the file in a table of its own and sends its
content through that pipe. Starting it (``posix_spawn``) takes no descriptor of ours.

The child is the running interpreter, without site packages: some 20 ms for each file, and only
while descriptors are used up. Where there is no such interpreter (embedded Python), nothing can be
read then, and what is in force counts as stale after ``read_grace``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import struct
import sys
import threading
import time
from pathlib import Path

_SECONDS = 10.0
_END_SECONDS, _END_PAUSE_SECONDS = 1.0, 0.002
_POLL_MILLISECONDS = 50
_HEADER = struct.Struct("!8sI10qQ")  # a mark of this request, errno, the status, the length
_CHILD = r"""
import os, stat, struct, sys
path, most, mark = os.fsencode(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3])
code, facts, data = 0, [0] * 10, b""
try:
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(22, "no regular file")
    if status.st_size > most:
        raise OSError(27, "too large")
    facts = list(status)[:10]
    while len(data) <= most:
        part = os.read(file, 1 << 20)
        if not part:
            break
        data += part
    if len(data) > most:
        raise OSError(27, "too large")
except OSError as error:
    code, data = error.errno or 5, b""
view = memoryview(struct.pack("!8sI10qQ", mark, code, *facts, len(data)) + data)
while view:
    view = view[os.write(1, view):]
"""


class LastResort:
    """The pipe of one process, and how a file is read through it. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: tuple[int, int] | None = None

    def reserve(self) -> bool:
        """Make the pipe, while there is room; return whether there is one."""
        with self._lock:
            if self._pipe is None and _interpreter():
                with contextlib.suppress(OSError):
                    self._pipe = os.pipe()
            return self._pipe is not None

    def renew(self) -> None:
        """Let go of the parent's pipe, in a forked child."""
        pipe, self._pipe = self._pipe, None
        self._lock = threading.Lock()
        for end in pipe or ():
            with contextlib.suppress(OSError):
                os.close(end)

    def read(self, path: Path, max_bytes: int) -> tuple[bytes, os.stat_result]:
        """Read a whole regular file.

        Args:
            path: where; symbolic links are followed.
            max_bytes: the largest file that is read.

        Returns:
            Its content, and its status: that of the very file that was read.

        Raises:
            OSError: if it can't be read, also because no pipe was reserved.
        """
        with self._lock:
            if self._pipe is None:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return _read_through(self._pipe, path, max_bytes)


def _read_through(
    pipe: tuple[int, int], path: Path, max_bytes: int
) -> tuple[bytes, os.stat_result]:
    reader, writer = pipe
    mark = os.urandom(8)
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    errors = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
    words = [_interpreter(), "-I", "-S", "-c", _CHILD, os.fspath(path), str(max_bytes), mark.hex()]
    child = os.posix_spawn(
        words[0],
        words,
        os.environ,
        file_actions=[null, (os.POSIX_SPAWN_DUP2, writer, 1), errors],
    )
    try:
        return _answer(reader, child, mark, max_bytes)
    finally:
        _end(child)
        _drain(reader)


def _answer(reader: int, child: int, mark: bytes, max_bytes: int) -> tuple[bytes, os.stat_result]:
    end = time.monotonic() + _SECONDS
    data = b""
    while True:
        if len(data) >= _HEADER.size:
            found, code, *facts, length = _HEADER.unpack_from(data)
            if found != mark or length > max_bytes:
                raise OSError(errno.EIO, "the child that reads files sent something else")
            if code:
                raise OSError(code, os.strerror(code))
            if len(data) >= _HEADER.size + length:
                return data[_HEADER.size : _HEADER.size + length], os.stat_result(facts)
        # Once before the child is asked after, and once behind: what it wrote last is read too.
        is_over = time.monotonic() > end or not _is_running(child)
        if not _has_data(reader, 0 if is_over else _POLL_MILLISECONDS):
            if is_over:
                raise OSError(errno.EIO, "the child that reads files ended without an answer")
            continue
        data += os.read(reader, 1 << 20)


def _has_data(reader: int, milliseconds: int) -> bool:
    poller = select.poll()
    poller.register(reader, select.POLLIN)
    return bool(poller.poll(milliseconds))


def _is_running(child: int) -> bool:
    # Asked without reaping it: its number stays its own until _end has waited for it.
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        # Somebody else in this process waits for children, or nobody is to.
        return False


def _end(child: int) -> None:
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        if _is_running(child):
            os.kill(child, signal.SIGKILL)
        end = time.monotonic() + _END_SECONDS
        # One that waits for a disk can't be ended: it is left behind, and nobody waits for it.
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < end:
            time.sleep(_END_PAUSE_SECONDS)


def _drain(reader: int) -> None:
    while _has_data(reader, 0):
        os.read(reader, 1 << 20)


def _interpreter() -> str:
    """Return the running interpreter; empty where another program has Python inside it."""
    found = sys.executable or ""
    is_python = os.path.basename(found).startswith(("python", "pypy"))
    return found if is_python and os.access(found, os.X_OK) else ""


LAST_RESORT = LastResort()
os.register_at_fork(after_in_child=LAST_RESORT.renew)
