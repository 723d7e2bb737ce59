"""A CA whose ledger lies in another folder than its keys."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pki.cli.app import run
from pki.cli.state.ledger_place import parse_ledger_url
from pki.errors import InputError
from tests.command import Capture, run_command, run_json
from tests.served_process import handfast, running


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "database" / "ledger.db"
    monkeypatch.setenv("HANDFAST_DIR", str(tmp_path / "certs"))
    monkeypatch.setenv("HANDFAST_LEDGER", f"sqlite:///{path}")
    assert run(["ca", "init", "--trust-domain", "shop.internal"]) == 0
    return path


def test_all_commands_use_it(ledger: Path, tmp_path: Path, capsys: Capture) -> None:
    assert {"ledger.db", "ledger.mark"} <= {item.name for item in ledger.parent.iterdir()}
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
    assert stat.S_IMODE(ledger.parent.stat().st_mode) == 0o700
    assert not (tmp_path / "certs" / "ca" / "ledger.db").exists()
    assert run(["issue", "orders"]) == 0
    capsys.readouterr()
    (record,) = run_json(capsys, "list")["certificates"]
    assert run(["revoke", record["serial"]]) == 0
    assert run(["audit", "verify"]) == 0
    assert run(["ca", "status"]) == 0


def test_without_it_nothing_is_signed_and_no_second_ca_is_made(
    ledger: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv("HANDFAST_LEDGER")
    for command in (["issue", "orders"], ["ca", "init", "--trust-domain", "shop.internal"]):
        code, _, said = run_command(capsys, *command)
        assert code == 1
        assert "ledger" in said


def test_the_ca_is_served_with_it(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = os.environ["HANDFAST_LEDGER"]
    serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")
    with running(tmp_path / "certs", *serve, f"--ledger={url}", name="ca") as ca:
        ca.line("Serving the CA")
        assert handfast(tmp_path / "certs", "registration", "create", "orders").returncode == 0
        made = handfast(tmp_path / "certs", "token", "create", "orders")
        out = str(tmp_path / "orders")
        assert handfast(tmp_path, "enroll", made.stdout.strip(), "--out", out).returncode == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ledger.db",
        "/var/lib/ledger.db",
        "sqlite://ledger.db",
        "sqlite:///ledger.db",
        "sqlite:///:memory:",
        "sqlite:////a/b?mode=ro",
        "sqlite:////a/b#c",
        "sqlite:////a/%2e%2e/b",
        "postgres:ca@db/handfast",
        "mysql://ca@db/handfast",
        "SQLITE:////a/b",
    ],
)
def test_any_other_url_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no URL of a ledger"):
        parse_ledger_url(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("postgresql://", "names no database"),
        ("postgresql://ca@db", "names no database"),
        ("postgresql://ca@db/", "names no database"),
        ("postgresql://ca@db:port/handfast", "no URL of a database"),
        ("postgresql://ca:secret@db/handfast?passfile=/etc/shadow", "unknown parameter"),
        ("postgresql://ca:secret@db/handfast?options=-cfsync=off", "unknown parameter"),
        ("postgresql://ca:a@secret@db/handfast", "second @"),
        ("postgresql+psycopg://ca:secret@db/handfast", "no URL of a ledger"),
        ("Postgresql://ca:secret@db/handfast", "no URL of a ledger"),
    ],
)
def test_a_url_of_a_database_that_is_none_is_refused_and_its_password_not_told(
    text: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        parse_ledger_url(text)
    assert "secret" not in str(caught.value)


def test_a_password_is_in_no_text_of_a_place() -> None:
    place = parse_ledger_url("postgresql://ca:secret@db/handfast?sslmode=verify-full")
    assert str(place) == "postgresql://ca@db/handfast?sslmode=verify-full"
    assert "secret" not in repr(place) + repr(getattr(place, "address", ""))
