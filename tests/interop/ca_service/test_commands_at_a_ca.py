"""Commands at a CA that is served: one service of it, and what ``revoke --ca`` is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.ca_service import Served
from tests.command import Capture, run_command
from tests.served_process import handfast, running


@pytest.fixture
def admin(ca: Served, tmp_path: Path) -> tuple[str, ...]:
    ca.authority.issue("ops").save(tmp_path / "ops")
    return "--ca", ca.address, "--credential", str(tmp_path / "ops")


def test_one_process_serves_a_ca(tmp_path: Path) -> None:
    handfast(tmp_path, "ca", "init", "--trust-domain", "shop.internal")
    serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")
    with running(tmp_path, *serve, name="ca") as ca:
        address = ca.line("Serving the CA").rpartition(" ")[2]
        second = handfast(tmp_path, *serve)
        assert second.returncode == 1
        assert "served by another process already" in second.stderr
        handfast(tmp_path, "registration", "create", "orders")
        token = handfast(tmp_path, "token", "create", "orders").stdout
        enrolled = handfast(tmp_path, "enroll", "-", "--out", str(tmp_path / "orders"), given=token)
        assert (enrolled.returncode, address in token) == (0, False), enrolled.stderr
        ca.process.kill()
        ca.process.wait()
    with running(tmp_path, *serve, name="again") as ca:
        ca.line("Serving the CA")


def test_one_process_serves_a_ledger_whatever_folder_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    monkeypatch.setenv("HANDFAST_LEDGER", f"sqlite:///{tmp_path / 'database' / 'ledger.db'}")
    handfast(first, "ca", "init", "--trust-domain", "shop.internal")
    shutil.copytree(first, second)
    serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")
    with running(first, *serve, name="ca") as ca:
        ca.line("Serving the CA")
        refused = handfast(second, *serve)
        assert refused.returncode == 1
        assert "served by another process already" in refused.stderr
    with running(second, *serve, name="ca") as ca:
        ca.line("Serving the CA")


def test_the_beginning_of_a_serial_number_is_enough(
    ca: Served, admin: tuple[str, ...], capsys: Capture
) -> None:
    leaf = ca.authority.issue("orders").leaf
    serial = f"{leaf.serial_number:x}"
    code, out, err = run_command(capsys, "revoke", serial[:12], *admin)
    assert (code, f"Revoked {serial} of" in out) == (0, True), err
    for again in (serial[:12], f"{serial[:6]}..", serial):
        assert run_command(capsys, "revoke", again, *admin)[0] == 0


def test_a_beginning_that_means_several_things_revokes_none(
    ca: Served, admin: tuple[str, ...], capsys: Capture
) -> None:
    serial = f"{ca.authority.issue('orders').leaf.serial_number:x}"
    ca.authority.issue(serial[:8])
    code, _, err = run_command(capsys, "revoke", serial[:8], *admin)
    assert (code, "Nothing was revoked" in err) == (1, True)
    code, out, _ = run_command(capsys, "revoke", f"spiffe://shop.internal/{serial[:8]}", *admin)
    assert (code, out.count("Revoked")) == (0, 1)
    code, _, err = run_command(capsys, "revoke", "0123456789abcdef", *admin)
    assert code == 1
