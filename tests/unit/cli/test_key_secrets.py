"""The passphrase of the CA's keys and the PIN of a token: from a file, a variable or a person."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pki.cli.app import run
from tests.command import Capture, run_command

INIT = ["ca", "init", "--trust-domain", "shop.internal"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret").write_text("correct horse\n")


def is_encrypted(path: str = "certs/ca/root.key.pem") -> bool:
    return b"ENCRYPTED" in Path(path).read_bytes()


def at_terminal(answers: str, *arguments: str) -> tuple[int, str]:
    """Run the command at a terminal of its own, where somebody types the answers."""
    program = (
        "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from pki.cli.entry import main; main()"
    )
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    said = b""
    for number, answer in enumerate(answers.splitlines(keepends=True), 1):
        # What is typed before a question is asked is thrown away.
        while said.count(b": ") < number:
            said += os.read(terminal, 1024)
        os.write(terminal, answer.encode())
    while True:
        try:
            part = os.read(terminal, 1024)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(terminal)
    return process.wait(60), said.decode()


def test_an_option_names_the_file(capsys: Capture) -> None:
    assert run([*INIT, "--passphrase-file", "secret"]) == 0
    assert is_encrypted()
    for command in ("issue orders", "crl --force", "ca rotate", "renew certs/orders --force"):
        assert run_command(capsys, *command.split())[0] == 1
        assert run_command(capsys, *command.split(), "--passphrase-file", "secret")[0] == 0
    assert run_command(capsys, "renew", "certs", "--all", "--passphrase-file", "secret")[0] == 0
    assert run_command(capsys, "revoke", "orders", "--passphrase-file", "secret")[0] == 0
    assert run_command(capsys, "ca", "recover", "--passphrase-file", "secret")[0] == 0
    Path("wrong").write_text("wrong\n")
    code, _, err = run_command(capsys, "issue", "web", "--passphrase-file", "wrong")
    assert code == 1
    assert "first line of 'wrong', which --passphrase-file names" in err


def test_a_variable_holds_it(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_CA_PASSPHRASE", "correct horse")
    assert run(INIT) == 0
    assert is_encrypted()
    assert run(["issue", "orders"]) == 0
    monkeypatch.setenv("HANDFAST_CA_PASSPHRASE", "wrong")
    code, _, err = run_command(capsys, "issue", "web")
    assert code == 1
    assert "the value of HANDFAST_CA_PASSPHRASE: check it" in err
    # The option is nearer than the variables.
    assert run(["issue", "web", "--passphrase-file", "secret"]) == 0


@pytest.mark.parametrize(
    ("file", "value"),
    [
        ("HANDFAST_CA_PASSPHRASE_FILE", "HANDFAST_CA_PASSPHRASE"),
        ("HANDFAST_PKCS11_PIN_FILE", "HANDFAST_PKCS11_PIN"),
    ],
)
def test_two_places_for_one_secret_are_refused(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, file: str, value: str
) -> None:
    monkeypatch.setenv(file, "secret")
    monkeypatch.setenv(value, "correct horse")
    code, _, err = run_command(capsys, *INIT)
    assert code == 1
    assert f"{file} and {value} are both set" in err
    assert "horse" not in err


def test_nobody_is_asked_without_a_terminal(capsys: Capture) -> None:
    program = [sys.executable, "-c", "from pki.cli.entry import main; main()", *INIT, "--encrypt"]
    done = subprocess.run(
        program, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "nobody to ask" in done.stderr
    assert not Path("certs/ca/ledger.db").exists()


def test_a_person_is_asked_for_a_passphrase_twice_and_then_once(capsys: Capture) -> None:
    assert at_terminal("one\ntwo\n", *INIT, "--encrypt")[0] == 1
    assert at_terminal("\n\n", *INIT, "--encrypt")[0] == 1
    assert not Path("certs").exists()
    code, said = at_terminal("correct horse\ncorrect horse\n", *INIT, "--encrypt")
    assert code == 0, said
    assert "horse" not in said
    assert is_encrypted()
    code, said = at_terminal("correct horse\n", "issue", "orders")
    assert code == 0, said
    assert "Passphrase of the CA's keys: " in said
    code, said = at_terminal("wrong\n", "issue", "web")
    assert code == 1
    # What needs no key asks for nothing.
    assert at_terminal("", "list")[0] == 0
    assert at_terminal("", "ca", "status")[0] == 0


def test_a_pin_is_no_argument(capsys: Capture) -> None:
    code, _, err = run_command(capsys, *INIT, "--key", "pkcs11:token=ca?pin-value=739251")
    assert code == 2
    assert "pin-value in a PKCS#11 URI is refused" in err
    assert "739251" not in err
    assert not Path("certs").exists()
