"""``handfast ca status`` and ``ca recover``, and what a clock that jumped costs at the command."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pki.authority import Authority
from pki.cli.app import run
from pki.clock import system_clock
from pki.errors import NotPermittedError
from pki.files import load_credential
from pki.x509 import CrlSet
from tests.command import make_state

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_state(Path("certs"), "orders")
    return tmp_path / "certs"


def json_of(capsys: Capture, *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    code = run([*arguments, "--json"])
    captured = capsys.readouterr()
    assert captured.err == ""
    found: dict[str, Any] = json.loads(captured.out)
    return {**found, "code": code}


def said(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def ahead() -> datetime:
    return system_clock() + timedelta(hours=1)


def test_status_shows_the_alarm_of_a_second_renewal(state: Path, capsys: Capture) -> None:
    code, out, _ = said(capsys, "ca", "status")
    assert (code, "No event needs attention" in out) == (0, True)
    with Authority.open(state / "ca") as ca:
        leaf = load_credential(state / "orders").credential.leaf
        ca.renew(leaf)
        with pytest.raises(NotPermittedError):
            ca.renew(leaf)
    found = json_of(capsys, "ca", "status")
    (event,) = found["events"]
    assert event["kind"] == "second-renewal"
    assert f"{leaf.serial_number:x}" in event["detail"]
    assert [item["kind"] for item in found["issuers"]] == ["root", "issuing"]
    assert all(item["valid_now"] for item in found["crls"])
    _, out, _ = said(capsys, "ca", "status")
    assert "second-renewal" in out


def test_an_older_ledger_costs_one_line_and_recover_is_the_way_on(
    state: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copy(state / "ca" / "ledger.db", tmp_path / "copy.db")
    assert run(["revoke", "certs/orders"]) == 0
    seen = CrlSet.read((state / "ca" / "crl.pem").read_bytes())
    shutil.copy(tmp_path / "copy.db", state / "ca" / "ledger.db")
    for arguments in (
        ["issue", "payments"],
        ["renew", "certs/orders"],
        ["revoke", "certs/orders"],
        ["crl"],
        ["list"],
        ["ca", "rotate"],
        ["ca", "status"],
    ):
        code, _, err = said(capsys, *arguments)
        assert code == 1
        assert len(err.splitlines()) == 1
        assert "handfast ca recover" in err
    found = json_of(capsys, "ca", "recover")
    assert found["was_older"] is True
    assert found["lost_commits"] == 1
    assert len(found["updated"]) == 1
    after = CrlSet.read((state / "ca" / "crl.pem").read_bytes())
    assert seen.merge_newer(after)[1] == ()
    code, _, err = said(capsys, "verify", "certs/orders", "--as", "server")
    assert (code, "revoked" in err) == (1, True)
    assert said(capsys, "renew", "certs/orders", "--force")[0] == 1
    assert json_of(capsys, "ca", "recover")["was_older"] is False


def test_recover_reads_the_lists_that_receivers_hold(
    state: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(state / "ca", tmp_path / "whole")
    assert run(["revoke", "certs/orders"]) == 0
    shutil.move(state / "orders" / "crl.pem", tmp_path / "elsewhere.pem")
    shutil.rmtree(state / "ca")
    shutil.copytree(tmp_path / "whole", state / "ca")
    code, out, _ = said(capsys, "ca", "recover", "--crl", str(tmp_path / "elsewhere.pem"))
    assert code == 0
    assert "were imported" in out
    assert "revoked" in said(capsys, "list")[1]


def test_a_certificate_that_a_recovered_ledger_has_lost_is_revoked_by_its_serial_number(
    state: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copy(state / "ca" / "ledger.db", tmp_path / "copy.db")
    assert run(["issue", "payments"]) == 0
    shutil.copy(tmp_path / "copy.db", state / "ca" / "ledger.db")
    assert run(["ca", "recover"]) == 0
    leaf = load_credential(state / "payments").credential.leaf
    code, out, _ = said(capsys, "revoke", f"{leaf.serial_number:x}")
    assert (code, "does not hold" in out) == (0, True)
    crls = CrlSet.read((state / "ca" / "crl.pem").read_bytes())
    assert any(leaf.serial_number in item.revoked for item in crls.crls.values())


def test_after_a_command_with_the_clock_ahead_the_next_ones_put_it_right(
    state: Path, capsys: Capture
) -> None:
    with Authority.open(state / "ca", clock=ahead) as ca:
        ca.refresh_crls(force=True)
        ca.issue("payments").save(state / "payments")
    code, _, _ = said(capsys, "verify", "certs/payments", "--as", "server")
    assert code == 1
    found = json_of(capsys, "renew", "certs/payments", "--check")
    assert found["code"] == 0
    assert any("clock that was ahead" in item for item in found["reasons"])
    assert any("only in the future" in item for item in found["reasons"])
    assert json_of(capsys, "renew", "certs/payments")["renewed"] is True
    assert said(capsys, "verify", "certs/payments", "--as", "server")[0] == 0
    assert said(capsys, "renew", "certs/payments", "--check")[0] == 1


def test_crl_signs_anew_what_a_clock_that_was_ahead_has_signed(
    state: Path, capsys: Capture
) -> None:
    with Authority.open(state / "ca", clock=ahead) as ca:
        ca.refresh_crls(force=True)
    code, _, _ = said(capsys, "verify", "certs/orders", "--as", "server")
    assert code == 0  # its own lists are older
    assert json_of(capsys, "crl")["signed"] == 1
    assert json_of(capsys, "crl")["signed"] == 0
    assert said(capsys, "verify", "certs/orders", "--as", "server")[0] == 0


def test_verify_says_that_a_clock_is_ahead_where_a_list_counts_only_later(
    state: Path, capsys: Capture
) -> None:
    with Authority.open(state / "ca", clock=ahead) as ca:
        ca.refresh_crls(force=True)
    shutil.copy(state / "ca" / "crl.pem", state / "orders" / "crl.pem")
    code, _, err = said(capsys, "verify", "certs/orders", "--as", "server")
    assert code == 1
    assert "clock is or was ahead" in err


def test_commands_that_only_read_publish_nothing(state: Path, capsys: Capture) -> None:
    published = state / "ca" / "crl.pem"
    published.write_bytes(b"")
    for arguments in (
        ["list"],
        ["list", "--issuers"],
        ["renew", "certs/orders", "--check"],
        ["verify", "certs/orders", "--as", "server"],
        ["ca", "status"],
        ["watch", "certs", "--ledger", "--once"],
    ):
        said(capsys, *arguments)
        assert published.read_bytes() == b"", arguments


def test_crl_past_the_roots_end_empties_nothing(state: Path, tmp_path: Path) -> None:
    before = (state / "ca" / "crl.pem").read_bytes()
    with Authority.open(state / "ca", clock=lambda: system_clock() + timedelta(days=3660)) as ca:
        assert ca.refresh_crls(force=True) == 0
    assert (state / "ca" / "crl.pem").read_bytes() == before


def test_a_whole_ca_from_a_backup_takes_in_what_the_directories_below_it_hold(
    state: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(state / "ca", tmp_path / "whole")
    assert run(["issue", "payments"]) == 0
    assert run(["revoke", "certs/orders"]) == 0
    shutil.rmtree(state / "ca")
    shutil.copytree(tmp_path / "whole", state / "ca")
    assert run(["crl"]) == 0
    assert said(capsys, "verify", "certs/orders", "--as", "server")[0] == 1
    kinds = {item["kind"] for item in json_of(capsys, "ca", "status")["events"]}
    assert kinds == {"published-crl-ahead"}
