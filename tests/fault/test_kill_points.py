"""A CA's operations, killed before each call that leaves a trace: ledger, mark and lists agree."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.softhsm import SoftHsm

ROOT = Path(__file__).parents[2]
OPERATIONS = ["issue", "revoke", "renew", "rotate", "distrust", "import_crls", "recover", "create"]
Runs = dict[str, "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Run all operations, as many at once as there are processors: each takes half a minute."""

    def run(operation: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path_factory.mktemp(operation)
        return subprocess.run(
            [sys.executable, "-m", "tests.fault.kill_points", str(folder), operation],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield {operation: pool.submit(run, operation) for operation in OPERATIONS}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_any_point_nothing_is_lost_and_nothing_looks_like_an_older_ledger(
    runs: Runs, operation: str
) -> None:
    done = runs[operation].result()
    points = done.stdout.splitlines()
    assert done.returncode == 0, f"{points[-1:]}: {done.stderr[-2000:]}"
    assert points[-1] == "done"
    assert any("after commit" in item for item in points)
    assert any("before replace" in item for item in points)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("operation", ["issue", "renew", "rotate"])
def test_killed_beside_a_token_what_was_perhaps_signed_is_known_and_can_be_revoked(
    softhsm: SoftHsm, tmp_path: Path, operation: str
) -> None:
    token = softhsm.make_token(f"killed-{operation}").token
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault.kill_points", str(tmp_path), operation, str(token)],
        cwd=ROOT,
        env={**os.environ, **softhsm.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    points = done.stdout.splitlines()
    assert done.returncode == 0, f"{points[-1:]}: {done.stderr[-2000:]}"
    assert points[-1] == "done"
    assert {item.rpartition(", ")[2] for item in points[:-1]} == {"0 intents", "1 intents"}
    # The first commit records the intent, and the second one the certificate in its place.
    assert any(item.endswith("after commit, 1 intents") for item in points)
    assert any(item.endswith("before commit, 1 intents") for item in points)
    assert points[-2].endswith(", 0 intents")
