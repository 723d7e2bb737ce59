"""Tables in a terminal of 80 columns, and what ``watch`` says of files that others may read."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.command import Capture, make_state, run_command, run_json

MAIN = "from pki.cli.entry import main; main()"


@pytest.fixture(autouse=True)
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_state(Path("certs"), "orders", "payments", "prod/eu/storefront")


def in_terminal(columns: int, *arguments: str) -> str:
    """Run the command in a terminal of some width; return what it shows."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**environment, "TERM": "xterm", "NO_COLOR": "1"},
    )
    os.close(inner)
    shown = b""
    try:
        while part := os.read(outer, 65536):
            shown += part
    except OSError:
        # A terminal reports an error once nobody writes to it any more.
        pass
    os.close(outer)
    assert process.wait(60) == 0, shown
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())


def test_a_list_of_80_columns_has_a_line_for_each_certificate(capsys: Capture) -> None:
    records = json.loads(run_command(capsys, "list", "--json")[1])["certificates"]
    shown = in_terminal(80, "list")
    assert max(map(len, shown.splitlines())) <= 80
    rows = [line.split("│")[1:3] for line in shown.splitlines() if line.count("│") == 6]
    assert [name.strip() for name, _ in rows] == ["orders", "payments", "prod/eu/storefront"]
    for (name, beginning), record in zip(rows, records, strict=True):
        assert record["serial"].startswith(beginning.strip())
        # What is shown is what the commands take.
        assert run_command(capsys, "revoke", beginning.strip())[0] == 0
        assert record["spiffe_id"].endswith(name.strip())
    assert all(item["status"] == "revoked" for item in run_json(capsys, "list")["certificates"])


@pytest.mark.parametrize("command", ["list --issuers", "ca status"])
def test_the_ca_s_tables_fit_80_columns_too(command: str) -> None:
    shown = in_terminal(80, *command.split())
    rows = [line for line in shown.splitlines() if line.startswith("│")]
    assert max(map(len, shown.splitlines())) <= 80
    # A row that is broken over several lines begins with an empty cell.
    assert all(line.split("│")[1].strip() for line in rows)
    assert len(rows) == (2 if command == "list --issuers" else 4)


def test_a_wide_terminal_and_a_pipe_get_whole_numbers(capsys: Capture) -> None:
    serials = [item["serial"] for item in run_json(capsys, "list")["certificates"]]
    for shown in (in_terminal(160, "list"), run_command(capsys, "list")[1]):
        assert all(serial in shown for serial in serials)
        assert "spiffe://shop.internal/prod/eu/storefront" in shown


@pytest.mark.parametrize("columns", ["80", "", "many", "0", "-5", "9" * 30])
def test_a_pipe_gets_whole_numbers_whatever_columns_says(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    serials = [item["serial"] for item in run_json(capsys, "list")["certificates"]]
    shown = run_command(capsys, "list")[1]
    assert all(serial in shown for serial in serials)


def test_columns_make_a_pipe_wide_enough_for_a_long_name(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "/".join(f"segment-{number:02}" for number in range(12))
    assert run_command(capsys, "issue", name)[0] == 0
    monkeypatch.setenv("COLUMNS", "160")
    assert f"spiffe://shop.internal/{name}" not in run_command(capsys, "list")[1]
    monkeypatch.setenv("COLUMNS", "260")
    assert f"spiffe://shop.internal/{name}" in run_command(capsys, "list")[1]


def test_colours_in_a_pipe_of_a_dumb_terminal_cut_nothing(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CI systems ask for them."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("FORCE_COLOR", "1")
    serials = [item["serial"] for item in run_json(capsys, "list")["certificates"]]
    shown = run_command(capsys, "list")[1]
    assert all(serial in shown for serial in serials)


def test_a_key_that_others_may_read_is_not_shown_as_good(capsys: Capture) -> None:
    told = run_json(capsys, "watch", "certs", "--once")
    assert {item["state"] for item in told["credentials"]} == {"good"}
    Path("certs/orders/key.pem").chmod(0o644)
    told = run_json(capsys, "watch", "certs", "--once")
    rows = {item["name"]: item for item in told["credentials"]}
    assert rows["orders"]["state"] == "unsafe"
    assert rows["orders"]["problem"] == "key.pem has mode 0644: others may read it"
    assert rows["payments"]["state"] == "good"
    shown = run_command(capsys, "watch", "certs", "--once")[1]
    assert "key.pem has mode 0644" in shown
    # As the command that renews says too.
    code, _, err = run_command(capsys, "renew", "certs/orders", "--force")
    assert code == 1
    assert "0644" in err
