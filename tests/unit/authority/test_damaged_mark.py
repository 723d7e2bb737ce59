"""A mark that is damaged, locked or not writable: nothing hangs, and no CRL is held back."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority.ledger.beside import mark
from pki.x509 import CrlSet
from tests.command import Capture, run_command


@pytest.fixture
def state(tmp_path: Path, capsys: Capture) -> Path:
    folder = tmp_path / "certs"
    init = run_command(capsys, "ca", "init", "--trust-domain", "shop.internal", "--dir", folder)
    assert init[0] == 0, init
    assert run_command(capsys, "issue", "orders", "--dir", folder)[0] == 0
    return folder


def mark_of(state: Path, sequence: int) -> bytes:
    found = json.loads((state / "ca" / "ledger.mark").read_bytes())
    return json.dumps({**found, "sequence": sequence}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"[" * 1000, id="nested as deep as a file may be"),
        pytest.param(b"\0" * 100, id="zeros"),
        pytest.param(b"x" * 5000, id="too large"),
        pytest.param(1 << 49, id="a number that no CA comes to"),
        pytest.param((1 << 63) - 1, id="the highest number of a column"),
        pytest.param(10**30, id="a number that fits no column"),
    ],
)
def test_recovery_goes_on_from_a_mark_that_is_damaged(
    state: Path, capsys: Capture, damage: bytes | int
) -> None:
    data = damage if isinstance(damage, bytes) else mark_of(state, damage)
    (state / "ca" / "ledger.mark").write_bytes(data)
    code, _, err = run_command(capsys, "issue", "billing", "--dir", state)
    assert code == 1
    assert "ledger.mark" in err
    assert "should not happen" not in err
    assert run_command(capsys, "ca", "recover", "--dir", state)[0] == 0
    assert run_command(capsys, "issue", "billing", "--dir", state)[0] == 0


@pytest.fixture
def held(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold the mark's lock, as a process does that was stopped while it wrote."""
    monkeypatch.setattr(mark, "_WAIT_SECONDS", 0.04)
    descriptor = os.open(state / "ca" / ".ledger.mark.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


@pytest.mark.usefixtures("held")
def test_a_revocation_is_delivered_though_its_mark_can_not_be_written(
    state: Path, capsys: Capture
) -> None:
    code, out, err = run_command(capsys, "revoke", state / "orders", "--dir", state)
    assert code == 0, err
    assert "Revoked" in out
    crls = CrlSet.read((state / "orders" / "crl.pem").read_bytes())
    assert sum(len(item.revoked) for item in crls.crls.values()) == 1


@pytest.mark.usefixtures("held")
def test_nothing_more_is_signed_while_the_mark_is_behind(state: Path, capsys: Capture) -> None:
    run_command(capsys, "issue", "billing", "--dir", state)
    code, _, err = run_command(capsys, "issue", "payments", "--dir", state)
    assert code == 1
    assert "another process" in err
    assert not (state / "payments").exists()
    assert "payments" not in run_command(capsys, "list", "--json", "--dir", state)[1]


@pytest.mark.parametrize("serial", ["f" * 40, "8" + "0" * 39, "f" * 200])
def test_a_number_that_no_certificate_bears_is_not_revoked_after_a_recovery(
    state: Path, capsys: Capture, serial: str
) -> None:
    (state / "ca" / "ledger.mark").unlink()
    assert run_command(capsys, "ca", "recover", "--dir", state)[0] == 0
    code, _, err = run_command(capsys, "revoke", serial, "--dir", state)
    assert code == 1
    assert "issued no certificate" in err
    assert run_command(capsys, "crl", "--force", "--dir", state)[0] == 0
