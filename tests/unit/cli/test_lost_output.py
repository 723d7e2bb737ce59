"""Output that nobody can be given changes nothing of what a command does, and hides no failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Capture, make_state, run_json

_RUN = "from pki.cli.entry import main; main()"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "certs"
    make_state(folder, "orders", "billing")
    return folder


def run_without_a_reader(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return _run(writing, *arguments)
    finally:
        os.close(writing)


def _run(output: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _RUN, *map(str, arguments)],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_reader_that_has_gone_hides_no_directory_that_a_revocation_did_not_reach(
    state: Path, form: tuple[str, ...]
) -> None:
    (state / "billing" / "crl.pem").unlink()
    (state / "billing" / "crl.pem").mkdir()
    done = run_without_a_reader("revoke", state / "orders", "--dir", state, *form)
    assert done.returncode == 5, done.stderr
    assert "The certificate is revoked" in done.stderr
    assert "billing" in done.stderr


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_what_was_done_is_no_failure_because_its_reader_has_gone(
    state: Path, form: tuple[str, ...]
) -> None:
    done = run_without_a_reader("renew", state / "orders", "--force", "--dir", state, *form)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_output_that_finds_no_room_is_told_and_the_revocation_stands(
    state: Path, capsys: Capture, form: tuple[str, ...]
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = _run(full, "revoke", state / "orders", "--dir", state, *form)
    finally:
        os.close(full)
    assert done.returncode == 1
    assert done.stderr.count("the output can't be written") == 1
    assert "done all the same" in done.stderr
    listed = run_json(capsys, "list", "--all", "--dir", state)["certificates"]
    assert [item["status"] for item in listed if "orders" in item["spiffe_id"]] == ["revoked"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_nothing_of_what_is_done_and_are_told(
    state: Path, closed: str
) -> None:
    command = [sys.executable, "-c", _RUN, "issue", "late", "--dir", str(state)]
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == (1 if ">&-" in closed.replace("2>&-", "") else 0), done.stderr
    assert (state / "late" / "chain.pem").exists()
    assert "Traceback" not in done.stderr
    if closed == ">&-":
        assert "standard output is closed" in done.stderr
