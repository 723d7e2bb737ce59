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
