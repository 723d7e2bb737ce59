"""What a command says of a slip of its user: the right command, in one line."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest

from pki.cli.app import run
from tests.command import Capture, run_command, run_json


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HANDFAST_DIR", raising=False)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("isue", "No such command 'isue'. Did you mean 'issue'? See handfast --help"),
        ("ca inti", "No such command 'inti'. Did you mean 'init'? See handfast ca --help"),
        (
            "verify x --as clint",
            "Invalid value for '--as': 'clint' is not one of 'server', 'client'. "
            "See handfast verify --help",
        ),
        (
            "issue",
            "Invalid value: name a workload, or with --from a file of workloads. "
            "See handfast issue --help",
        ),
        (
            "issue a b --out certs/x",
            "Invalid value: --out goes with one name alone; a file has fields for it. "
            "See handfast issue --help",
        ),
        (
            "issue --from f.csv --dns a.example.org",
            "Invalid value: --dns goes with one name alone; a file has fields for it. "
            "See handfast issue --help",
        ),
        ("--foo", "No such option: --foo. See handfast --help"),
        (
            "--dir 'my certs' list --all",
            "No such option: --dir. Options follow the command: "
            "handfast list --dir 'my certs' --all",
        ),
        (
            "--dir certs ca status",
            "No such option: --dir. Options follow the command: handfast ca status --dir certs",
        ),
        (
            "ca --dir certs status",
            "No such option: --dir. Options follow the command: handfast ca status --dir certs",
        ),
    ],
)
def test_wrong_usage_names_what_is_meant_and_the_help_for_it(
    capsys: Capture, arguments: str, error: str
) -> None:
    assert run_command(capsys, *shlex.split(arguments)) == (2, "", f"handfast: {error}\n")


@pytest.mark.parametrize(
    ("arguments", "piped", "code"),
    [
        (["explain"], "", 2),
        (["explain", ""], "", 2),
        (["explain", " "], "", 2),
        (["explain", "-"], "", 1),
        (["explain"], "Socket closed", 0),
        (["policy", "explain", "--peer", "a", "--method", "Orders/Get"], "", 2),
        (["policy", "explain", "--peer", "a", "--serves", "a/b"], "", 2),
        (["policy", "who-can", "Orders/Get"], "", 2),
        (["policy", "who-can", "/shop.v1.Orders/Get"], "", 3),
    ],
)
def test_a_text_or_a_path_that_can_not_be_right_is_wrong_usage(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, arguments: list[str], piped: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(piped.encode())))
    assert run_command(capsys, *arguments)[0] == code


def test_the_failures_are_listed_in_two_columns(capsys: Capture) -> None:
    _, out, _ = run_command(capsys, "explain", "--list")
    failures = run_json(capsys, "explain", "--list")["failures"]
    column = max(len(item["failure"]) for item in failures) + 2
    for line, item in zip(out.splitlines(), failures, strict=True):
        assert (line[:column].rstrip(), line[column:]) == (item["failure"], item["title"])


@pytest.mark.parametrize(
    ("name", "why", "meant"),
    [
        ("Orders", "an upper-case letter", "orders"),
        ("orders.shop.internal", "a dot", "orders"),
        ("orders.v1", "a dot", "orders-v1"),
        ("My_Orders", "an upper-case letter and an underscore", "my-orders"),
        ("a" * 70, "can't be written as DNS labels", ""),
    ],
)
def test_a_name_that_gives_no_dns_name_is_told_with_the_one_that_does(
    capsys: Capture, name: str, why: str, meant: str
) -> None:
    assert run(["ca", "init", "--trust-domain", "shop.internal"]) == 0
    (note,) = run_json(capsys, "issue", name)["notes"]
    assert why in note
    assert ("Did you mean" in note) is bool(meant)
    if meant:
        assert f"Did you mean {meant}?" in note
        assert run_json(capsys, "issue", meant)["notes"] == []


@pytest.mark.parametrize(
    ("profile", "options"),
    [
        ("workload", "--as server; or --as client"),
        ("server", "--as server"),
        ("client", "--as client"),
    ],
)
def test_the_next_command_verifies_the_sides_that_the_certificate_is_for(
    capsys: Capture, profile: str, options: str
) -> None:
    assert run(["ca", "init", "--trust-domain", "shop.internal"]) == 0
    _, out, _ = run_command(capsys, "issue", "web", "--profile", profile)
    assert f"Next: handfast verify certs/web {options}; " in out
    for side in ("server", "client"):
        works = run_command(capsys, "verify", "certs/web", "--as", side)[0] == 0
        assert works is (f"--as {side}" in options)
