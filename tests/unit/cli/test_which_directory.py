"""Which directory a command means: never another one than its operator does, and never unsaid."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.command import Capture, run_command, run_json


@pytest.fixture
def state(tmp_path: Path, capsys: Capture) -> Path:
    folder = tmp_path / "[red]certs\n\x1b[31m"
    init = run_command(capsys, "ca", "init", "--trust-domain", "shop.internal", "--dir", folder)
    assert init[0] == 0, init
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ("ca", "init", "--trust-domain", "shop.internal"),
        ("ca", "status"),
        ("ca", "rotate"),
        ("ca", "recover"),
        ("ca", "distrust", "abc"),
        ("issue", "orders"),
        ("renew", "orders"),
        ("revoke", "abc"),
        ("crl",),
        ("list",),
        ("verify", "orders", "--as", "server"),
    ],
)
def test_an_empty_state_folder_is_not_the_folder_that_one_stands_in(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run_command(capsys, *command, "--dir", "")
    assert code == 2
    assert "can't be empty" in err
    assert list(tmp_path.iterdir()) == []


def test_the_title_of_a_table_paints_no_terminal(state: Path, capsys: Capture) -> None:
    code, out, _ = run_command(capsys, "ca", "status", "--dir", state)
    assert code == 0
    assert "[red]" in out
    assert "\\x1b" in out
    assert "\x1b" not in out


def test_a_certificate_that_was_planted_beside_a_key_is_not_revoked_in_its_place(
    state: Path, capsys: Capture
) -> None:
    for name in ("orders", "billing"):
        assert run_command(capsys, "issue", name, "--dir", state)[0] == 0
    shutil.copy(state / "billing" / "chain.pem", state / "orders" / "chain.pem")
    code, _, err = run_command(capsys, "revoke", state / "orders", "--dir", state)
    assert code == 1
    assert "spiffe://shop.internal/orders" in err
    assert "spiffe://shop.internal/billing" in err
    listed = run_json(capsys, "list", "--all", "--dir", state)["certificates"]
    assert {item["status"] for item in listed} == {"good"}


@pytest.fixture
def shop(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a CA and a credential, in which the test then works."""
    home = tmp_path / "shop"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.delenv("HANDFAST_DIR", raising=False)
    assert run_command(capsys, "ca", "init", "--trust-domain", "shop.internal")[0] == 0
    assert run_command(capsys, "issue", "orders")[0] == 0
    return home


@pytest.mark.parametrize(
    "command",
    [
        ("renew", "{}"),
        ("renew", "{}", "--check"),
        ("renew", "{}", "--all"),
        ("verify", "{}", "--as", "server"),
        ("inspect", "{}"),
        ("watch", "{}", "--once"),
        ("doctor", "localhost:1", "--credential", "{}"),
        ("doctor", "--stand-in", "0", "--credential", "{}"),
    ],
)
def test_a_credential_that_lies_in_the_state_folder_is_suggested(
    shop: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    def remedy(target: str) -> str:
        code, _, err = run_command(capsys, *(item.format(target) for item in command))
        assert code in {1, 3}
        return err.rstrip().rpartition(". ")[2]

    assert remedy("orders") == "Did you mean certs/orders?"
    assert "Did you mean" not in remedy("nowhere")
    Path("certs").rename("kept")
    assert "Did you mean" not in remedy("orders")
    monkeypatch.setenv("HANDFAST_DIR", "kept")
    assert remedy("orders") == "Did you mean kept/orders?"


@pytest.mark.parametrize("number", [1, 2])
def test_a_folder_of_credentials_is_told_from_a_credential(
    shop: Path, capsys: Capture, number: int
) -> None:
    for other in range(1, number):
        assert run_command(capsys, "issue", f"prod/other{other}")[0] == 0
    held = f"This folder holds {number} credential"
    for options in ((), ("--check",)):
        _, _, err = run_command(capsys, "renew", "certs", *options)
        assert held in err
        assert err.endswith(": handfast renew --all certs\n")
    assert run_command(capsys, "renew", "--all", "certs")[0] == 0
    for command in (("verify", "certs", "--as", "server"), ("inspect", "certs")):
        _, _, err = run_command(capsys, *command)
        assert held in err
        assert "e.g. certs/orders" in err


COMMANDS_OF_A_CA = [
    ("list",),
    ("crl",),
    ("revoke", "orders"),
    ("renew", "{}/certs/orders"),
    ("issue", "orders"),
    ("ca", "status"),
    ("ca", "recover"),
    ("watch", "--ledger", "--once"),
]


@pytest.mark.parametrize("command", COMMANDS_OF_A_CA)
def test_where_there_is_no_ca_the_one_nearby_is_named(
    shop: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    def remedy() -> str:
        code, _, err = run_command(capsys, *(item.format(shop) for item in command))
        assert code == 1
        assert "there is no CA at" in err
        return err.rstrip()

    monkeypatch.setenv("HANDFAST_DIR", "certs/ca")
    assert remedy().endswith("name the folder above it, HANDFAST_DIR=certs")
    monkeypatch.delenv("HANDFAST_DIR")
    Path("certs").rename("kept")
    (shop / "kept/orders").rename(shop / "orders")
    command = tuple(item.replace("certs/orders", "orders") for item in command)
    assert remedy().endswith("name its folder, --dir kept")
    (shop / "below").mkdir()
    monkeypatch.chdir(shop / "kept")
    assert remedy().endswith("name its folder, --dir .")
    monkeypatch.chdir(shop / "below")
    # Far from any CA, none is guessed, and a new one is the last advice.
    err = remedy()
    assert err.index("--dir") < err.index("ca init")
    monkeypatch.chdir(shop)
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    assert "kept" not in remedy()


def test_a_file_in_the_place_of_the_state_folder_is_told(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HANDFAST_DIR", raising=False)
    Path("certs").write_text("")
    code, _, err = run_command(capsys, "ca", "init", "--trust-domain", "shop.internal")
    assert code == 1
    assert "move it away" in err
    _, _, err = run_command(capsys, "list")
    assert "'certs' is a file" in err


def test_a_second_ca_needs_another_folder(shop: Path, capsys: Capture) -> None:
    code, _, err = run_command(capsys, "ca", "init", "--trust-domain", "shop.internal")
    assert code == 1
    assert "--dir" in err
