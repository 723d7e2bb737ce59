"""Locks that are kept until they are released, and processes that were forked off meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pki.files import BusyFolderError, hold_lock, locked

NAME = ".in-use.lock"
# A parent that holds a lock, and ends while its child goes on.
PARENT = f"""
import os, sys, time
from pathlib import Path
from pki.files import hold_lock
hold_lock(Path(sys.argv[1]), name={NAME!r})
if os.fork():
    os._exit(0)
print("child", flush=True)
sys.stdin.read()
"""


def test_a_child_holds_nothing_that_its_parent_has_released(tmp_path: Path) -> None:
    release = hold_lock(tmp_path, name=NAME)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(write)
        # Until the parent is done; what it calls here must not matter.
        release()
        os.read(read, 1)
        os._exit(0)
    try:
        with pytest.raises(BusyFolderError):
            hold_lock(tmp_path, name=NAME)
        release()
        hold_lock(tmp_path, name=NAME)()
    finally:
        os.close(write)
        os.waitpid(child, 0)
        os.close(read)


def test_a_child_that_outlives_its_parent_keeps_nobody_out(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "child\n"
        process.wait(30)
        hold_lock(tmp_path, name=NAME)()


# A parent that lets a child have its lock, and is killed.
GIVING = f"""
import os, subprocess, sys
from pathlib import Path
from pki.files import hold_lock
held = hold_lock(Path(sys.argv[1]), name={NAME!r})
subprocess.Popen(["cat"], pass_fds=[held.descriptor])
print("child", flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_child_that_was_given_it_keeps_it_until_its_own_end(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", GIVING, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "child\n"
        process.wait(30)
        with pytest.raises(BusyFolderError):
            hold_lock(tmp_path, name=NAME)
        process.stdin.close()
        # It ends with what it reads.
        with locked(tmp_path, name=NAME, wait_seconds=30):
            pass
