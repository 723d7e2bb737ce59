"""Whether a command asks the CA's folder or a CA over the network: what is written wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Capture, make_state, run_command

COMMANDS = [
    ("registration", "list"),
    ("registration", "create", "orders"),
    ("list",),
    ("ca", "rotate", "status"),
    ("ca", "rotate", "--prepare"),
]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a CA over the network, where nobody is."""
    monkeypatch.setenv("HANDFAST_CA", "127.0.0.1:1")
    monkeypatch.setenv("HANDFAST_CREDENTIAL", "nosuch")


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_is_written_wins_over_the_variable(
    tmp_path: Path, capsys: Capture, command: tuple[str, ...]
) -> None:
    make_state(tmp_path)
    code, _, err = run_command(capsys, *command, "--dir", tmp_path)
    assert code == 0, err


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("command", COMMANDS)
def test_without_it_the_variable_is_asked(
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    make_state(tmp_path)
    monkeypatch.setenv("HANDFAST_DIR", str(tmp_path))
    code, _, err = run_command(capsys, *command)
    assert code == 1
    assert "'nosuch' holds no credential to ask the CA with" in err


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("command", [("ca", "status"), ("audit", "verify"), ("audit", "show")])
def test_a_command_of_the_folder_alone_says_so(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run_command(capsys, *command)
    assert code != 0
    assert "This command works on the CA's folder, and not with HANDFAST_CA" in err
