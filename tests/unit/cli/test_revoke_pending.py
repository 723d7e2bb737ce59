"""``handfast revoke`` while another process holds the ledger: published, told, recorded later."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pki.authority.ledger.databases.access import LedgerAccess
from pki.cli.app import run
from pki.cli.state import authority as opening
from pki.x509 import CrlSet
from tests.command import NOBODY, Capture, run_as, run_command, run_json
from tests.stuck_ledger import stuck_ledger

CA, ORDERS = Path("certs/ca"), Path("certs/orders")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(opening, "URGENT", LedgerAccess(wait_seconds=0.05))
    assert run(["ca", "init", "--trust-domain", "shop.internal"]) == 0
    assert run(["issue", "orders"]) == 0


def listed(folder: Path) -> set[str]:
    crls = CrlSet.read((folder / "crl.pem").read_bytes())
    return {f"{number:x}" for item in crls.crls.values() for number in item.revoked}


def revoke(capsys: Capture, *arguments: str) -> dict[str, Any]:
    code, out, err = run_command(capsys, "revoke", *arguments, "--json")
    return {**(json.loads(out) if out else {}), "code": code, "stderr": err}


@pytest.mark.parametrize("target", ["orders", str(ORDERS)])
def test_the_lists_reach_every_directory_and_the_command_says_what_is_left(
    capsys: Capture, target: str
) -> None:
    with stuck_ledger(CA):
        told = revoke(capsys, target)
    assert told["code"] == 5
    assert told["recorded"] is False
    (serial,) = (item["serial"] for item in told["revoked"])
    assert listed(ORDERS) == listed(CA) == {serial}
    assert told["updated"] == [str(ORDERS)]
    assert told["failed"] == []
    assert "revocations.pending keeps it" in told["stderr"]


def test_the_next_command_records_it_before_it_issues(capsys: Capture) -> None:
    with stuck_ledger(CA):
        revoke(capsys, "orders")
    assert run(["issue", "payments"]) == 0
    entries = run_json(capsys, "audit", "show")["entries"]
    assert [item["action"] for item in entries[-2:]] == ["revoke", "issue"]
    assert entries[-2]["details"]["source"] == "pending"
    assert run(["audit", "verify"]) == 0
    assert run_json(capsys, "ca", "status")["pending_revocations"] == []


def test_status_says_what_is_not_recorded_yet(capsys: Capture) -> None:
    with stuck_ledger(CA):
        told = revoke(capsys, "orders", "--reason", "key-compromise")
    (serial,) = (item["serial"] for item in told["revoked"])
    status = run_json(capsys, "ca", "status")
    (pending,) = status["pending_revocations"]
    assert pending["serials"] == [serial]
    assert pending["reason"] == "keyCompromise"
    assert status["reserve"]["bytes"] >= status["reserve"]["wanted"] == 1024 * 1024
    assert "NOT RECORDED YET: 1 certificate is revoked" in run_command(capsys, "ca", "status")[1]


def block(lock: str) -> None:
    """Put a folder in a lock's place, so that nobody can have the lock."""
    (CA / lock).unlink(missing_ok=True)
    (CA / lock).mkdir()


def check_recorded_from_lists(capsys: Capture, serial: str) -> None:
    """Check that the next command takes the revocation from the list that holds it."""
    assert serial in listed(ORDERS)
    assert run(["crl"]) == 0
    certificates = run_json(capsys, "list", "--all")["certificates"]
    (record,) = (item for item in certificates if item["serial"] == serial)
    assert record["status"] == "revoked"
    assert run(["audit", "verify"]) == 0


def test_what_no_file_of_the_ca_can_keep_is_on_the_lists_and_told(capsys: Capture) -> None:
    with stuck_ledger(CA):
        block(".revocations.lock")
        told = revoke(capsys, "orders")
    assert told["code"] == 5
    assert "on the new CRLs alone" in told["stderr"]
    assert "Revoke it again" in told["stderr"]
    (CA / ".revocations.lock").rmdir()
    (serial,) = (item["serial"] for item in told["revoked"])
    check_recorded_from_lists(capsys, serial)


def test_a_revocation_that_came_nowhere_is_an_error(capsys: Capture) -> None:
    shutil.rmtree(ORDERS)
    with stuck_ledger(CA):
        block(".revocations.lock")
        block(".publish.lock")
        told = revoke(capsys, "orders")
    assert told["code"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run the command as another user")
def test_a_folder_that_went_read_only_stops_no_revocation(
    capsys: Capture, shared_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree("certs", shared_folder / "certs")
    monkeypatch.chdir(shared_folder)
    (serial,) = (item["serial"] for item in run_json(capsys, "list")["certificates"])
    for path in (shared_folder, *shared_folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
        if path.parent == shared_folder / CA:
            path.chmod(0o400)
    CA.chmod(0o500)
    done = run_as(NOBODY, shared_folder, "revoke", "orders")
    assert done.returncode == 5, done.stdout + done.stderr
    assert "on the new CRLs alone" in done.stderr
    CA.chmod(0o700)
    for path in CA.iterdir():
        path.chmod(0o600)
    check_recorded_from_lists(capsys, serial)


def test_a_distrust_says_soon_that_the_ledger_is_held(capsys: Capture) -> None:
    (_, issuing) = run_json(capsys, "ca", "status")["issuers"]
    with stuck_ledger(CA):
        code, _, err = run_command(capsys, "ca", "distrust", issuing["key_id"])
    assert code == 1
    assert "locked" in err
    assert "Nothing was changed" in err
    assert run_json(capsys, "ca", "distrust", issuing["key_id"])["status"] == "distrusted"
