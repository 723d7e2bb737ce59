"""The passphrase of the CA's keys: what the command says if it is missing or wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.authority import Authority
from pki.cli.app import run
from pki.errors import KeyRefusedError
from tests.command import Capture, run_command


@pytest.fixture(autouse=True)
def encrypted_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a CA whose keys are encrypted, and forget the passphrase."""
    monkeypatch.chdir(tmp_path)
    Path("right").write_text("correct horse\n")
    monkeypatch.setenv("HANDFAST_CA_PASSPHRASE_FILE", "right")
    assert run(["ca", "init", "--trust-domain", "shop.internal"]) == 0
    assert run(["issue", "orders"]) == 0
    monkeypatch.delenv("HANDFAST_CA_PASSPHRASE_FILE")


@pytest.mark.parametrize(
    ("first_line", "words"),
    [
        (None, "HANDFAST_CA_PASSPHRASE_FILE=FILE"),
        ("wrong", "HANDFAST_CA_PASSPHRASE_FILE names: check both"),
        ("", "HANDFAST_CA_PASSPHRASE_FILE names it"),
        ("missing", "HANDFAST_CA_PASSPHRASE_FILE names it"),
    ],
)
@pytest.mark.parametrize("command", ["issue web", "crl --force", "ca rotate", "revoke orders"])
def test_an_error_names_the_variable_and_the_files(
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    first_line: str | None,
    words: str,
    command: str,
) -> None:
    if first_line is not None:
        monkeypatch.setenv("HANDFAST_CA_PASSPHRASE_FILE", "other")
        if first_line != "missing":
            Path("other").write_text(f"{first_line}\n")
    code, _, err = run_command(capsys, *command.split())
    assert code == 1
    assert words in err
    if first_line is not None:
        assert "'other'" in err
    if first_line in (None, "wrong"):
        assert ".key.pem" in err
    assert "correct horse" not in err
    assert "wrong\n" not in err


def test_a_program_is_told_the_argument(tmp_path: Path) -> None:
    with (
        Authority.open(tmp_path / "certs/ca") as authority,
        pytest.raises(KeyRefusedError) as caught,
    ):
        authority.issue("web")
    assert "passphrase=" in caught.value.remedy
    assert "HANDFAST" not in str(caught.value)
