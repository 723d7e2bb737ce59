"""A whole CA that was restored from a backup, its mark included, and receivers that know more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from pki.files import load_credential
from pki.keys import PrivateKey
from tests.command import Capture, run_command, run_json, write_request

pytestmark = pytest.mark.sqlite


@pytest.fixture
def state(tmp_path: Path, capsys: Capture) -> Path:
    """Return a state folder whose CA was put back after a revocation for key-compromise."""
    folder = tmp_path / "certs"
    init = run_command(capsys, "ca", "init", "--trust-domain", "shop.internal", "--dir", folder)
    assert init[0] == 0, init
    assert run_command(capsys, "issue", "orders", "--dir", folder)[0] == 0
    shutil.copytree(folder / "ca", tmp_path / "backup")
    assert run_command(capsys, "issue", "billing", "--dir", folder)[0] == 0
    revoked = run_command(
        capsys, "revoke", folder / "orders", "--reason", "key-compromise", "--dir", folder
    )
    assert revoked[0] == 0, revoked
    shutil.rmtree(folder / "ca")
    shutil.copytree(tmp_path / "backup", folder / "ca")
    return folder


def key_of(directory: Path) -> PrivateKey:
    key = serialization.load_pem_private_key((directory / "key.pem").read_bytes(), None)
    assert isinstance(key, PrivateKey)
    return key


def test_a_revoked_line_is_not_renewed_by_a_ca_that_was_put_back(
    state: Path, capsys: Capture
) -> None:
    code, _, err = run_command(capsys, "renew", state / "orders", "--force", "--dir", state)
    assert code == 1
    assert "was revoked" in err


def test_a_directory_elsewhere_tells_what_was_revoked_by_its_own_lists(
    state: Path, tmp_path: Path, capsys: Capture
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (state / "orders").rename(elsewhere)
    shutil.rmtree(state / "billing")
    code, _, err = run_command(capsys, "renew", elsewhere, "--force", "--dir", state)
    assert code == 1
    assert "was revoked" in err


def test_a_leaked_key_is_not_certified_by_a_ca_that_was_put_back(
    state: Path, tmp_path: Path, capsys: Capture
) -> None:
    request = write_request(tmp_path / "orders.csr", key_of(state / "orders"))
    code, _, err = run_command(
        capsys, "issue", "orders", "--csr", request, "--out", tmp_path / "new", "--dir", state
    )
    assert code == 1
    assert "was revoked" in err


def test_what_was_issued_after_the_backup_can_be_revoked(state: Path, capsys: Capture) -> None:
    serial = load_credential(state / "billing").credential.leaf.serial_number
    assert run_command(capsys, "crl", "--dir", state)[0] == 0
    code, out, err = run_command(capsys, "revoke", f"{serial:x}", "--dir", state)
    assert code == 0, err
    assert "does not hold" in out
    assert (
        run_command(capsys, "verify", state / "billing", "--as", "server", "--dir", state)[0] == 1
    )


def test_recovery_says_that_the_whole_folder_was_put_back(state: Path, capsys: Capture) -> None:
    told = run_json(capsys, "ca", "recover", "--dir", state)
    assert told["was_older"] is True
    assert told["lost_commits"] is None
    assert told["unknown_certificates_end_by"] is not None
    assert run_json(capsys, "ca", "recover", "--dir", state)["was_older"] is False
