"""Read files while this process has no file descriptor left.

Clients can use up the descriptors of a server by opening connections. Then it could read neither a
new CRL nor a policy, so that anybody could switch revocation off. Closing a descriptor to open a
file with it would lose the race against the server's own ``accept``. So a pipe is made while there
are descriptors. When none is left, a child process, which has its own descriptors, opens the file
and sends its content through that pipe. Starting the child (``posix_spawn``) needs no descriptor.

The child is the running interpreter without site packages. It takes some 20 ms for each file, and
runs only while descriptors are used up. If there is no such interpreter (embedded Python), nothing
can be read then, and what is in force is stale after ``read_grace``.
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
_HEADER = struct.Struct("!8sI10qQ")  # the request's mark, errno, the status, the length
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


class DescriptorReserve:
    """The reserved pipe of this process, and the reads through it. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: tuple[int, int] | None = None

    def reserve(self) -> bool:
        """Make the pipe if it is missing; return whether there is one."""
        with self._lock:
            if self._pipe is None and _interpreter():
                with contextlib.suppress(OSError):
                    self._pipe = os.pipe()
            return self._pipe is not None

    def reset_after_fork(self) -> None:
        """Close the parent's pipe in a forked child."""
        pipe, self._pipe = self._pipe, None
        self._lock = threading.Lock()
        for end in pipe or ():
            with contextlib.suppress(OSError):
                os.close(end)

    def read(self, path: Path, max_bytes: int) -> tuple[bytes, os.stat_result]:
        """Read a whole regular file.

        Args:
            path: the file; symbolic links are followed.
            max_bytes: the largest file that is read.

        Returns:
            Its content and status, both of the same open file.

        Raises:
            OSError: if it can't be read, or no pipe was reserved.
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
    arguments = [
        _interpreter(),
        "-I",
        "-S",
        "-c",
        _CHILD,
        os.fspath(path),
        str(max_bytes),
        mark.hex(),
    ]
    child = os.posix_spawn(
        arguments[0],
        arguments,
        os.environ,
        file_actions=[null, (os.POSIX_SPAWN_DUP2, writer, 1), errors],
    )
    try:
        return _receive(reader, child, mark, max_bytes)
    finally:
        _end(child)
        _drain(reader)


def _receive(reader: int, child: int, mark: bytes, max_bytes: int) -> tuple[bytes, os.stat_result]:
    end = time.monotonic() + _SECONDS
    data = b""
    while True:
        if len(data) >= _HEADER.size:
            received_mark, code, *facts, length = _HEADER.unpack_from(data)
            if received_mark != mark or length > max_bytes:
                raise OSError(errno.EIO, "the child that reads files sent something else")
            if code:
                raise OSError(code, os.strerror(code))
            if len(data) >= _HEADER.size + length:
                return data[_HEADER.size : _HEADER.size + length], os.stat_result(facts)
        # Check the child before the pipe, so that what it wrote last is read too.
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
    # Without reaping the child, so that its process id stays valid until _end has waited for it.
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        # Another part of this process has reaped it, or SIGCHLD is ignored.
        return False


def _end(child: int) -> None:
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        if _is_running(child):
            os.kill(child, signal.SIGKILL)
        end = time.monotonic() + _END_SECONDS
        # Bounded, because a process that waits for a disk can't be killed; it is left behind.
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < end:
            time.sleep(_END_PAUSE_SECONDS)


def _drain(reader: int) -> None:
    while _has_data(reader, 0):
        os.read(reader, 1 << 20)


def _interpreter() -> str:
    """Return the running interpreter; empty if Python is embedded in another program."""
    path = sys.executable or ""
    is_python = os.path.basename(path).startswith(("python", "pypy"))
    return path if is_python and os.access(path, os.X_OK) else ""


DESCRIPTOR_RESERVE = DescriptorReserve()
os.register_at_fork(after_in_child=DESCRIPTOR_RESERVE.reset_after_fork)
