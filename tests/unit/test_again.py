"""``tests/again.sh``: what fails beside others is run once more alone, and no fault is hidden."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

AGAIN = Path(__file__).parents[1] / "again.sh"
PYTEST = (sys.executable, "-m", "pytest", "-p", "xdist.plugin", "-q", "-n", "1", "-c", "/dev/null")
GOOD = "def test_good():\n    pass\n"
ONCE = """
from pathlib import Path

def test_once():
    there = Path("was-here").exists()
    Path("was-here").touch()
    assert there
"""
BAD = "def test_bad_{0}():\n    assert False\n"


def run(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_some.py").write_text(tests)
    return subprocess.run(
        ["bash", str(AGAIN), *PYTEST, "--rootdir=.", "test_some.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        # Other plugins take seconds to load.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        timeout=100,
    )


def test_what_passes_is_run_once(tmp_path: Path) -> None:
    done = run(tmp_path, GOOD)
    assert done.returncode == 0
    assert done.stdout.count("1 passed") == 1


def test_what_fails_once_is_named_and_passes(tmp_path: Path) -> None:
    done = run(tmp_path, GOOD + ONCE)
    assert done.returncode == 0, done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "FAILED BESIDE THE OTHERS, PASSED ALONE" in done.stdout
    assert done.stdout.rstrip().endswith("test_some.py::test_once")


@pytest.mark.parametrize("number", [1, 4])
def test_what_fails_again_fails_the_run(tmp_path: Path, number: int) -> None:
    done = run(tmp_path, GOOD + "".join(map(BAD.format, range(number))))
    assert done.returncode == 1
    assert "PASSED ALONE" not in done.stdout
    assert ("now alone" in done.stdout) == (number < 4)


def test_a_run_without_a_single_test_fails(tmp_path: Path) -> None:
    assert run(tmp_path, "def no_test():\n    pass\n").returncode == 5
