"""``handfast revoke`` revokes what its user means: a directory, a workload, a serial number."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.cli.app import run
from pki.x509 import CrlSet
from tests.command import Capture, make_state, run_command, run_json

ORDERS = Path("certs/orders")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_state(Path("certs"), "orders")
    return tmp_path


def serials(*workloads: str) -> list[str]:
    with Authority.open("certs/ca", read_only=True) as authority:
        return [
            item.serial
            for item in authority.certificates()
            if not workloads or item.spiffe_id.rpartition("internal/")[2] in workloads
        ]


def revoked() -> set[str]:
    """Return the serial numbers on the list that a receiver reads."""
    crls = CrlSet.read((ORDERS / "crl.pem").read_bytes())
    return {f"{number:x}" for item in crls.crls.values() for number in item.revoked}


def renew(count: int) -> None:
    for _ in range(count):
        assert run(["renew", str(ORDERS), "--force"]) == 0


@pytest.mark.parametrize("reason", ["unspecified", "key-compromise"])
def test_a_directory_means_its_whole_line_of_renewals(capsys: Capture, reason: str) -> None:
    renew(2)
    told = run_json(capsys, "revoke", ORDERS, "--reason", reason)
    assert told["code"] == 0
    assert {item["serial"] for item in told["revoked"]} == set(serials()) == revoked()
    assert len(revoked()) == 3
    assert told["still_valid"] == []


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("keyCompromise", "key-compromise"),
        ("cessationOfOperation", "cessation-of-operation"),
        ("superseded", "superseded"),
    ],
)
def test_a_reason_may_be_written_as_the_rfc_does(capsys: Capture, written: str, name: str) -> None:
    told = run_json(capsys, "revoke", ORDERS, "--reason", written)
    assert (told["code"], told["reason"]) == (0, name)


@pytest.mark.parametrize("reason", ["keycompromise", "key_compromise", "certificateHold", ""])
def test_another_spelling_of_a_reason_is_wrong_usage(capsys: Capture, reason: str) -> None:
    code, _, err = run_command(capsys, "revoke", ORDERS, "--reason", reason)
    assert (code, "no reason to revoke" in " ".join(err.split())) == (2, True)
    assert revoked() == set()


def test_without_a_ca_here_it_says_how_to_ask_one_elsewhere(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "client").mkdir()
    monkeypatch.chdir(tmp_path / "client")
    monkeypatch.setenv("HANDFAST_DIR", "nothing")
    shutil.rmtree(tmp_path / "certs")
    code, _, err = run_command(capsys, "revoke", "orders")
    assert (code, "--ca HOST:PORT --credential DIR" in err) == (1, True)


def test_a_directory_in_which_a_renewal_was_cut_off_means_both_keys(capsys: Capture) -> None:
    older = Path("older")
    shutil.copytree(ORDERS, older)
    renew(1)
    shutil.copy(ORDERS / "key.pem", older / "key.pem.next")
    assert run_json(capsys, "revoke", older)["code"] == 0
    assert revoked() == set(serials())


@pytest.mark.parametrize("name", ["orders", "spiffe://shop.internal/orders"])
def test_a_workload_means_all_of_its_certificates(capsys: Capture, name: str) -> None:
    assert run(["issue", "orders", "--out", "other/orders"]) == 0
    assert run(["issue", "payments"]) == 0
    renew(1)
    told = run_json(capsys, "revoke", name)
    assert told["code"] == 0
    assert revoked() == set(serials("orders"))
    assert len(revoked()) == 3
    assert told["still_valid"] == []


def test_what_else_of_the_workload_is_valid_is_said_with_the_command_for_it(
    capsys: Capture,
) -> None:
    assert run(["issue", "orders", "--out", "other/orders"]) == 0
    first, second = serials()
    code, out, _ = run_command(capsys, "revoke", ORDERS, "--reason", "superseded")
    assert code == 0
    (line,) = [line for line in out.splitlines() if "STILL VALID" in line]
    assert second in line
    assert first not in line
    command = line.partition("handfast ")[2]
    assert command == "revoke spiffe://shop.internal/orders --reason superseded"
    assert run(command.split()) == 0
    assert revoked() == {first, second}


def test_a_serial_number_means_itself_and_what_was_renewed_from_it(capsys: Capture) -> None:
    renew(2)
    first, second, third = serials()
    code, out, _ = run_command(capsys, "revoke", second)
    assert code == 0
    assert revoked() == {second, third}
    assert f"STILL VALID is the certificate {first}" in out


@pytest.mark.parametrize(
    "written",
    ["{}", "0x{}", "{:.4}", "{:.12}", "{:.8}..", "{:.8}\N{HORIZONTAL ELLIPSIS}", "serial={}"],
)
def test_the_beginning_of_a_serial_number_is_enough(capsys: Capture, written: str) -> None:
    (serial,) = serials()
    assert (
        run_command(
            capsys,
            "revoke",
            written.format(serial).upper().replace("0X", "0x").replace("SERIAL", "serial"),
        )[0]
        == 0
    )
    assert revoked() == {serial}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("z12", "no directory, no workload"),
        ("0123456789abcdef", "no serial number"),
        ("payments", "no directory, no workload"),
        ("nowhere/orders", "no directory, no workload"),
        ("spiffe://shop.internal/payments", "no certificate that is still valid"),
        ("spiffe://other.internal/orders", "other.internal"),
        ("spiffe://shop.internal", "spiffe://shop.internal"),
        ("SPIFFE://shop.internal/orders", "SPIFFE:"),
        ("", "can't be empty"),
        ("*", "no directory, no workload"),
        ("0123456789abcdef..", "no serial number"),
        ("....", "no serial number"),
        ("%", "no directory, no workload"),
    ],
)
def test_what_means_nothing_revokes_nothing(capsys: Capture, text: str, words: str) -> None:
    code, out, err = run_command(capsys, "revoke", text)
    assert code in {1, 2}
    assert out == ""
    assert words in err
    assert revoked() == set()


def test_a_beginning_that_several_have_revokes_none(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter([0xABCD_0001 << 96, 0xABCD_0002 << 96])
    monkeypatch.setattr("pki.x509.profiles.leaf.random_serial", lambda: next(numbers))
    for name in ("web", "mail"):
        assert run(["issue", name]) == 0
    code, _, err = run_command(capsys, "revoke", "abcd")
    assert code == 1
    assert "2 serial numbers begin with 'abcd'" in err
    assert all(item in err for item in serials("web", "mail"))
    assert revoked() == set()
    assert run_command(capsys, "revoke", "abcd0002")[0] == 0
    assert revoked() == set(serials("mail"))


def test_a_name_that_begins_a_serial_number_too_is_refused(capsys: Capture) -> None:
    name = serials()[0][:6]
    assert run(["issue", name, "--out", "named"]) == 0
    code, _, err = run_command(capsys, "revoke", name)
    assert code == 1
    assert f"spiffe://shop.internal/{name}" in err
    assert revoked() == set()
    assert run_command(capsys, "revoke", f"spiffe://shop.internal/{name}")[0] == 0
    assert revoked() == set(serials(name))


def test_a_directory_named_like_a_workload_is_refused_unless_it_holds_nothing(
    capsys: Capture, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["issue", "orders", "--out", "other"]) == 0
    monkeypatch.chdir(here / "certs")
    code, _, err = run_command(capsys, "revoke", "orders", "--dir", ".")
    assert code == 1
    assert "./orders" in err
    assert "spiffe://shop.internal/orders" in err
    monkeypatch.chdir(here)
    assert revoked() == set()
    # A folder of source code, say.
    Path("orders").mkdir()
    assert run_command(capsys, "revoke", "orders")[0] == 0
    assert revoked() == set(serials("orders"))
    monkeypatch.chdir(here / "certs")
    assert run_command(capsys, "revoke", "./orders", "--dir", ".")[0] == 0


def test_all_of_a_workload_is_revoked_even_if_the_list_can_not_be_published(
    capsys: Capture,
) -> None:
    renew(1)
    (Path("certs/ca") / "crl.pem").unlink()
    (Path("certs/ca") / "crl.pem").mkdir()
    told = run_json(capsys, "revoke", "orders")
    assert told["code"] == 5
    assert {item["serial"] for item in told["revoked"]} == set(serials()) == revoked()


def test_what_was_revoked_already_is_said_with_its_time(capsys: Capture) -> None:
    renew(1)
    first, second = serials()
    assert run_json(capsys, "revoke", second)["already_revoked"] == []
    told = run_json(capsys, "revoke", ORDERS)
    assert {item["serial"] for item in told["revoked"]} == {first, second}
    assert told["already_revoked"] == [second]
    code, out, _ = run_command(capsys, "revoke", ORDERS)
    assert code == 0
    at = datetime.fromisoformat(told["revoked"][1]["at"])
    assert f"{second} of spiffe://shop.internal/orders was revoked already, at {at:%Y-%m-%d}" in out
    assert "Revoked" not in out
