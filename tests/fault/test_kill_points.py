"""A CA's operations, killed before each call that leaves a trace: ledger, mark and lists agree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.softhsm import SoftHsm

ROOT = Path(__file__).parents[2]
OPERATIONS = [
    "issue",
    "revoke",
    "revoke_unrecorded",
    "renew",
    "rotate",
    "distrust",
    "replace_root",
    "request_root",
    "after_failed_sync",
    "import_crls",
    "recover",
    "create",
]


def kill_at_each_point(folder: Path, *arguments: str, **environment: str) -> list[str]:
    """Run an operation, killed at each of its points; return the points."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault.kill_points", str(folder), *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    points = done.stdout.splitlines()
    assert done.returncode == 0, f"{points[-1:]}: {done.stderr[-2000:]}"
    assert points[-1] == "done"
    return points


@pytest.mark.timeout(600)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_any_point_nothing_is_lost_and_nothing_looks_like_an_older_ledger(
    tmp_path: Path, operation: str
) -> None:
    points = kill_at_each_point(tmp_path, operation)
    assert any("after commit" in item for item in points)
    assert any("before replace" in item for item in points)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("operation", ["issue", "renew", "rotate"])
def test_killed_beside_a_token_what_was_perhaps_signed_is_known_and_can_be_revoked(
    softhsm: SoftHsm, tmp_path: Path, operation: str
) -> None:
    token = softhsm.make_token(f"killed-{operation}").token
    points = kill_at_each_point(tmp_path, operation, str(token), **softhsm.environment)
    assert {item.rpartition(", ")[2] for item in points[:-1]} == {"0 intents", "1 intents"}
    # The first commit records the intent, and the second one the certificate in its place.
    assert any(item.endswith("after commit, 1 intents") for item in points)
    assert any(item.endswith("before commit, 1 intents") for item in points)
    assert points[-2].endswith(", 0 intents")
