"""Lets every fsync of a process fail from some moment on, as a disk does that is lost.

By a filter of system calls (seccomp(2)), which stays with all threads of the process until it ends;
no other process is touched. What was written stays in the kernel's memory, and is read back from
there.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import signal
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]
# The numbers of fsync, fdatasync and seccomp.
_CALLS = {"x86_64": (74, 75, 317), "aarch64": (82, 83, 277)}
_NO_NEW_PRIVILEGES, _SET_FILTER, _ALL_THREADS = 38, 1, 1
_LOAD_NUMBER, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000 | errno.EIO


class _Step(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Step)))


def why_not() -> str:
    """Return why syncs can't be made to fail here; empty if they can."""
    if sys.platform != "linux" or platform.machine() not in _CALLS:
        return "there is no filter of system calls for this machine"
    return ""


def fail_syncs() -> None:
    """Let every fsync and fdatasync of this process fail from now on."""
    fsync, fdatasync, seccomp = _CALLS[platform.machine()]
    steps = (
        _Step(_LOAD_NUMBER, 0, 0, 0),
        _Step(_JUMP_IF_EQUAL, 2, 0, fsync),
        _Step(_JUMP_IF_EQUAL, 1, 0, fdatasync),
        _Step(_RETURN, 0, 0, _ALLOW),
        _Step(_RETURN, 0, 0, _FAIL),
    )
    array = (_Step * len(steps))(*steps)
    program = _Program(len(steps), array)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(
        seccomp, _SET_FILTER, _ALL_THREADS, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "no filter can be set")


def fails_syncs_when_told(folder: Path, *, at_once: bool = False) -> dict[str, str]:
    """Return the environment of a Python process whose syncs fail from SIGUSR1 on, or at once.

    Args:
        folder: where to put what such a process loads first.
        at_once: whether they fail from its beginning.
    """
    folder.mkdir(exist_ok=True)
    when = "fail_syncs()" if at_once else "signal.signal(signal.SIGUSR1, lambda *_: fail_syncs())"
    (folder / "sitecustomize.py").write_text(
        f"import signal\nfrom tests.failing_syncs import fail_syncs\n{when}\n"
    )
    return {"PYTHONPATH": f"{folder}:{_ROOT}"}


TOLD = signal.SIGUSR1
