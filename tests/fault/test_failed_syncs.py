"""A disk that fails to take what was written: nothing is read back from the ledger's old file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.ledger.databases.failed_sync import NOTE
from pki.errors import FailedSyncError, LedgerError
from tests.bench.ca.signing_requests import make_ders
from tests.failing_calls import TOLD, fail_syncs, fails_when_told, why_not
from tests.fault.loaded_ca import Held, check_held, load, make_ca, served

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
CLIENTS = 4
ROOT = Path(__file__).parents[2]


def inode(home: Path) -> int:
    return (home / "ca" / "ledger.db").stat().st_ino


def files(home: Path) -> set[str]:
    return {item.name for item in (home / "ca").iterdir()}


def in_a_process(script: str, *arguments: object) -> str:
    """Run a script whose syncs it may let fail; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_service_whose_sync_fails_ends_and_serves_again_from_a_new_file(tmp_path: Path) -> None:
    make_ca(tmp_path, CLIENTS)
    before, held = inode(tmp_path), Held()
    environment = fails_when_told(tmp_path / "loaded-first", fail_syncs)
    with served(tmp_path, environment) as (process, address):
        with load(tmp_path, address, CLIENTS, held, make_ders(1000)):
            held.wait_for(50)
            process.process.send_signal(TOLD)
            # By itself: nobody tells it.
            assert process.process.wait(60) == 1
        assert "may never have reached the disk" in process.output
    assert len(held.leaves) < 1000
    assert inode(tmp_path) == before, "the old file is as it was until the next start"
    assert NOTE in files(tmp_path)
    held.failed.clear()
    with served(tmp_path) as (process, address):
        assert inode(tmp_path) != before
        assert not {NOTE, ".ledger.copy"} & files(tmp_path)
        with load(tmp_path, address, CLIENTS, held, make_ders(20)):
            held.wait_for(len(held.leaves) + 10)
    check_held(tmp_path, held)


FAILING = """
import sys
from pki.authority import Authority
from pki.errors import CommitInDoubtError, FailedSyncError, LedgerError
from tests.failing_calls import fail_syncs

with Authority.open(sys.argv[1]) as ca:
    fail_syncs()
    try: ca.issue("orders")
    except CommitInDoubtError: print("in doubt")
    for ask in (ca.certificates, lambda: ca.issue("payments"), lambda: ca.revoke(1)):
        try: ask()
        except FailedSyncError: print("ends")
try: Authority.open(sys.argv[1])
except LedgerError as error: print(error.message)
"""


def test_nothing_is_read_after_it_and_no_copy_is_trusted_that_is_not_on_the_disk(
    tmp_path: Path,
) -> None:
    with Authority.create(tmp_path / "ca", "shop.internal") as ca:
        ca.issue("web")
    before = inode(tmp_path)
    lines = in_a_process(FAILING, tmp_path / "ca").splitlines()
    assert lines[:4] == ["in doubt", "ends", "ends", "ends"]
    assert "can't be copied to a new file: Input/output error" in lines[4]
    assert inode(tmp_path) == before
    assert ".ledger.copy" not in files(tmp_path)
    with Authority.open(tmp_path / "ca") as ca:
        assert inode(tmp_path) != before
        # Told to nobody, and perhaps recorded: that is the safe side.
        assert {item.spiffe_id.rpartition("/")[2] for item in ca.certificates()} >= {"web"}
        ca.issue("orders")
        assert ca.verify_audit_log().findings == ()
    assert not any(name.startswith((NOTE, ".ledger.copy")) for name in files(tmp_path))


def test_a_process_that_has_the_old_file_open_goes_on_in_the_new_one(tmp_path: Path) -> None:
    Authority.create(tmp_path / "ca", "shop.internal").close()
    with Authority.open(tmp_path / "ca") as ca:
        ca.issue("web")
        (tmp_path / "ca" / NOTE).touch(0o600)
        with pytest.raises(FailedSyncError):
            ca.certificates()
        with pytest.raises(FailedSyncError):
            ca.issue("web")
        in_a_process(
            "import sys; from pki.authority import Authority\nAuthority.open(sys.argv[1]).close()",
            tmp_path / "ca",
        )
        # Nothing is written to the old file, and the next attempt is one in the new file.
        with pytest.raises(LedgerError, match="was replaced a moment ago"):
            ca.issue("web")
        serial = ca.issue("web").leaf.serial_number
    with Authority.open(tmp_path / "ca") as ca:
        assert ca.certificate(serial) is not None
        assert len(ca.certificates()) == 2


def test_a_damaged_copy_takes_no_ledgers_place(tmp_path: Path) -> None:
    with Authority.create(tmp_path / "ca", "shop.internal") as ca:
        for number in range(30):
            ca.issue(f"web-{number}")
    ledger = tmp_path / "ca" / "ledger.db"
    data = bytearray(ledger.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = os.urandom(4096)
    ledger.write_bytes(data)
    (tmp_path / "ca" / NOTE).touch(0o600)
    with pytest.raises(LedgerError, match="can't be copied to a new file"):
        Authority.open(tmp_path / "ca")
    assert ledger.read_bytes() == data
    assert NOTE in files(tmp_path)
