"""``handfast renew`` for a whole folder, and the commands that ``issue`` and ``renew`` print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pki.cli.app import run
from pki.files import load_credential
from pki.keys import generate_key, private_key_to_pem
from tests.command import Capture, files_of, make_state, run_command, run_json, write_request

NAMES = ("orders", "payments", "prod/web")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HANDFAST_DIR", raising=False)
    return tmp_path


@pytest.fixture
def ca() -> Path:
    make_state(Path("certs"), *NAMES)
    return Path("certs")


def chains() -> list[bytes]:
    return [(Path("certs") / name / "chain.pem").read_bytes() for name in NAMES]


# All of a folder


def test_all_credentials_of_a_folder_are_renewed_and_nothing_else(
    ca: Path, capsys: Capture
) -> None:
    assert run(["ca", "init", "--trust-domain", "other.internal", "--dir", "other"]) == 0
    assert run(["issue", "theirs", "--out", "certs/theirs", "--dir", "other"]) == 0
    (ca / "notes").mkdir()
    theirs, before = files_of(ca / "theirs"), chains()
    told = run_json(capsys, "renew", "--all", ca, "--force")
    assert (told["code"], told["renewed"], told["failed"]) == (0, 3, [])
    assert all(old != new for old, new in zip(before, chains(), strict=True))
    assert files_of(ca / "theirs") == theirs
    code, out, _ = run_command(capsys, "renew", "--all", ca)
    assert code == 0
    assert out.count("is not due before") == 3
    assert "Renewed 0 of 3" in out


def test_the_folder_itself_may_be_a_credential_directory(ca: Path, capsys: Capture) -> None:
    told = run_json(capsys, "renew", "--all", ca / "orders", "--force")
    assert (told["code"], told["renewed"]) == (0, 1)


def test_a_directory_that_fails_stops_no_other_and_has_its_exit_code(
    ca: Path, capsys: Capture
) -> None:
    (ca / "orders/key.pem").chmod(0o644)
    assert run(["revoke", "certs/payments"]) == 0
    before = chains()
    code, out, err = run_command(capsys, "renew", "--all", ca, "--force")
    assert code == 5
    assert "Renewed 1 of 3" in out
    assert "2 of 3 credentials could not be renewed" in err
    assert "0644" in err
    assert "was revoked" in err
    after = chains()
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False]


@pytest.mark.parametrize("folder", ["certs/ca", "nowhere", "empty"])
def test_a_folder_without_credentials_is_an_error(ca: Path, capsys: Capture, folder: str) -> None:
    Path("empty").mkdir()
    code, out, err = run_command(capsys, "renew", "--all", folder)
    assert (code, out) == (1, "")
    assert folder in err


def test_all_goes_with_no_check_and_no_request(ca: Path, capsys: Capture) -> None:
    assert run_command(capsys, "renew", "--all", "certs", "--check")[0] == 2
    assert run_command(capsys, "renew", "--all", "certs", "--csr", "x")[0] == 2


# The commands that are printed


def printed_commands(out: str) -> list[list[str]]:
    """Return the commands in the last line, as its reader copies them."""
    (line,) = [line for line in out.splitlines() if line.startswith("Next: ")]
    return [part.partition(";")[0].split() for part in line.split("handfast ")[1:]]


@pytest.mark.parametrize("state", ["certs", "elsewhere"])
def test_the_commands_that_issue_prints_work_as_printed(capsys: Capture, state: str) -> None:
    option = [] if state == "certs" else ["--dir", state]
    code, out, _ = run_command(capsys, "ca", "init", "--trust-domain", "shop.internal", *option)
    assert code == 0
    (issue,) = printed_commands(out)
    code, out, _ = run_command(capsys, *[item.replace("NAME", "orders") for item in issue])
    assert code == 0
    for command in printed_commands(out):
        assert run_command(capsys, *command)[0] == 0, command


@pytest.mark.parametrize("state", ["certs", "elsewhere"])
@pytest.mark.parametrize("key_is_there", [False, True])
def test_the_command_that_issue_prints_for_a_request_works_as_printed(
    capsys: Capture, state: str, key_is_there: bool
) -> None:
    option = [] if state == "certs" else ["--dir", state]
    assert run(["ca", "init", "--trust-domain", "shop.internal", *option]) == 0
    key, folder = generate_key(), Path("orders")
    if key_is_there:
        folder.mkdir()
        (folder / "key.pem").write_bytes(private_key_to_pem(key))
        (folder / "key.pem").chmod(0o600)
    request = write_request(Path("first.csr"), key)
    code, out, _ = run_command(
        capsys, "issue", "orders", "--csr", request, "--out", folder, *option
    )
    assert code == 0
    write_request(Path("second.csr"), generate_key())
    before = (folder / "chain.pem").read_bytes()
    *_, renew = printed_commands(out)
    command = [item.replace("FILE", "second.csr") for item in renew]
    code, _, err = run_command(capsys, *command, "--force")
    assert (code, err) == (0, "")
    assert (folder / "chain.pem").read_bytes() != before
    if key_is_there:
        assert load_credential(folder)


def test_the_remedy_for_a_missing_request_works_as_printed(capsys: Capture) -> None:
    assert run(["ca", "init", "--trust-domain", "shop.internal", "--dir", "state"]) == 0
    request = write_request(Path("first.csr"), generate_key())
    assert run(["issue", "orders", "--csr", str(request), "--dir", "state"]) == 0
    code, _, err = run_command(capsys, "renew", "state/orders", "--force", "--dir", "state")
    assert code == 1
    command = err.rpartition("handfast ")[2].split()
    write_request(Path("second.csr"), generate_key())
    command = [item.replace("FILE", "second.csr") for item in command]
    assert run_command(capsys, *command, "--force")[0] == 0


# Options


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("issue web --ttl 5", "--ttl"),
        ("issue web --layout nope", "--layout"),
        ("issue web --profile nope", "--profile"),
        ("issue web --dns -x", "--dns"),
        ("issue web --ip 1", "--ip"),
        ("renew certs/orders --ttl 5", "--ttl"),
        ("revoke orders --reason nope", "--reason"),
        ("list --expiring 5", "--expiring"),
        ("ca init --trust-domain a.test --backdate 5 --dir x", "--backdate"),
        ("ca init --trust-domain a.test --permit-dns - --dir x", "--permit-dns"),
        ("ca init --trust-domain a.test --permit-ip 5 --dir x", "--permit-ip"),
    ],
)
def test_an_error_names_the_option_that_is_wrong(
    ca: Path, capsys: Capture, arguments: str, option: str
) -> None:
    code, out, err = run_command(capsys, *arguments.split())
    assert (code, out) == (2, "")
    assert f"'{option}'" in err


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("revoke orders --reason ", "key-compromise"),
        ("issue web --layout ", "kubernetes"),
        ("issue web --profile se", "server"),
    ],
)
def test_a_shell_completes_the_options_that_take_names(words: str, completed: str) -> None:
    asked = {"COMP_WORDS": f"handfast {words}", "COMP_CWORD": str(words.count(" ") + 1)}
    program = "import sys; sys.argv[0] = 'handfast'; from pki.cli.entry import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked, "_HANDFAST_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert completed in done.stdout.split()
