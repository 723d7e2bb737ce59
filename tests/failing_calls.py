"""Lets calls of a process fail from some moment on: every fsync, as on a disk that is lost, or what
SQLite writes, as in a file system that has become read-only.

By a filter of system calls (seccomp(2)), which stays with all threads of the process until it ends;
no other process is touched. What was written stays in the kernel's memory, and is read back from
there.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_NUMBERS = {
    "x86_64": {"fsync": 74, "fdatasync": 75, "pwrite64": 18, "seccomp": 317},
    "aarch64": {"fsync": 82, "fdatasync": 83, "pwrite64": 68, "seccomp": 277},
}
_NO_NEW_PRIVILEGES, _SET_FILTER, _ALL_THREADS = 38, 1, 1
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_CALL, _THIRD_ARGUMENT = 0, 32  # offsets in struct seccomp_data
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_PAGE_BYTES = 4096  # a page of SQLite; no line of ours is as long


class _Step(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Step)))


@functools.cache
def why_not() -> str:
    """Return why calls can't be made to fail here; empty if they can."""
    if sys.platform != "linux" or platform.machine() not in _NUMBERS:
        return "there is no filter of system calls for this machine"
    tried = subprocess.run(
        [sys.executable, "-c", "from tests.failing_calls import fail_syncs; fail_syncs()"],
        cwd=_ROOT,
        capture_output=True,
        check=False,
    )
    return "" if tried.returncode == 0 else "no filter of system calls may be set here"


def fail_syncs() -> None:
    """Let every fsync and fdatasync of this process fail from now on."""
    _set_filter(
        errno.EIO,
        _Step(_JUMP_IF_EQUAL, 2, 0, _number("fsync")),
        _Step(_JUMP_IF_EQUAL, 1, 0, _number("fdatasync")),
    )


def fail_writes() -> None:
    """Let SQLite write no page in this process from now on; other files are written otherwise."""
    _set_filter(
        errno.EROFS,
        _Step(_JUMP_IF_EQUAL, 0, 2, _number("pwrite64")),
        _Step(_LOAD, 0, 0, _THIRD_ARGUMENT),
        _Step(_JUMP_IF_EQUAL, 1, 0, _PAGE_BYTES),
    )


def _number(call: str) -> int:
    return _NUMBERS[platform.machine()][call]


def _set_filter(error: int, *steps: _Step) -> None:
    """Set a filter; where its last step ends, calls go on, and one step later they fail."""
    whole = (
        _Step(_LOAD, 0, 0, _CALL),
        *steps,
        _Step(_RETURN, 0, 0, _ALLOW),
        _Step(_RETURN, 0, 0, _FAIL | error),
    )
    program = _Program(len(whole), (_Step * len(whole))(*whole))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(
        _number("seccomp"), _SET_FILTER, _ALL_THREADS, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "no filter can be set")


def fails_when_told(folder: Path, way: Callable[[], None]) -> dict[str, str]:
    """Return the environment of a Python process whose calls fail from the signal ``TOLD`` on.

    Args:
        folder: where to put what such a process loads first.
        way: how they fail: :func:`fail_syncs` or :func:`fail_writes`.
    """
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import signal\nfrom tests import failing_calls\n"
        f"signal.signal(failing_calls.TOLD, lambda *_: failing_calls.{way.__name__}())\n"
    )
    return {"PYTHONPATH": f"{folder}:{_ROOT}"}


TOLD = signal.SIGUSR1
