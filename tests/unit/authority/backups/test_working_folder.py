"""What a restore that was killed has left is removed by the next one, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pki.authority.backups.working_folder import working_folder
from tests.unit.authority.backups.conftest import Lost

DIES = """
import os, signal, sys
from pathlib import Path
from pki.authority.backups import restoring
from pki.clock import system_clock

# The last that it writes before the folder is put in its place.
restoring.LedgerMark.write = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
restoring.restore_backup(Path(sys.argv[1]), Path(sys.argv[2]), clock=system_clock)
"""


def beside(home: Path) -> list[str]:
    return sorted(path.name for path in home.parent.iterdir() if path != home)


@pytest.mark.sqlite
def test_the_next_restore_removes_what_a_killed_one_has_left(lost: Lost) -> None:
    lost.back_up()
    for _ in range(2):
        # The second one dies too, and leaves its own folder alone.
        done = subprocess.run(
            [sys.executable, "-c", DIES, str(lost.file), str(lost.home)], check=False
        )
        assert done.returncode == -signal.SIGKILL
        [left] = beside(lost.home)
        assert (lost.home.parent / left / "ledger.db").exists()
    lost.restore()
    assert beside(lost.home) == []


@pytest.mark.sqlite
def test_the_folder_of_a_restore_that_runs_stays(lost: Lost) -> None:
    lost.back_up()
    lost.home.parent.mkdir()
    with working_folder(lost.home) as running:
        (running / "ledger.db").write_bytes(b"half of it")
        lost.restore()
        assert beside(lost.home) == [running.name]
        assert (running / "ledger.db").read_bytes() == b"half of it"


def test_a_restore_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with working_folder(tmp_path / "ca") as running:
            (running / "file").write_bytes(b"")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        ".ca.0123456789abcde.tmp",
        ".ca.0123456789abcdef",
        ".ca.0123456789ABCDEF.tmp",
        "xca.0123456789abcdef.tmp",
        ".other.0123456789abcdef.tmp",
        ".ca.0123456789abcdef.tmp.kept",
    ],
)
def test_a_folder_of_another_name_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with working_folder(tmp_path / "ca"):
        pass
    assert (tmp_path / name).is_dir()


def test_what_is_no_folder_of_this_user_stays(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "inside").mkdir(parents=True)
    (tmp_path / ".ca.0000000000000001.tmp").symlink_to(kept)
    (tmp_path / ".ca.0000000000000002.tmp").write_bytes(b"a file")
    others = tmp_path / ".ca.0000000000000003.tmp"
    others.mkdir()
    if os.geteuid() == 0:
        os.chown(others, 54321, 54321)
    with working_folder(tmp_path / "ca"):
        pass
    assert (kept / "inside").is_dir()
    assert (tmp_path / ".ca.0000000000000002.tmp").is_file()
    assert others.is_dir() is (os.geteuid() == 0)
