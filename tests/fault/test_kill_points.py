"""A CA's operations, killed before each call that leaves a trace: ledger, mark and lists agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATIONS = ["issue", "revoke", "renew", "rotate", "distrust", "take_in", "recover", "create"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_any_point_nothing_is_lost_and_nothing_looks_like_an_older_ledger(
    tmp_path: Path, operation: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault.kill_points", str(tmp_path), operation],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    points = done.stdout.splitlines()
    assert done.returncode == 0, f"{points[-1:]}: {done.stderr[-2000:]}"
    assert points[-1] == "done"
    assert any("after commit" in item for item in points)
    assert any("before replace" in item for item in points)
