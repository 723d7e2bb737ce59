"""``handfast verify`` says of every refusal what is wrong, and what to do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.cli.app import run
from pki.clock import system_clock
from pki.x509 import SERVER
from tests.command import Capture, make_state, run_command


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HANDFAST_DIR", raising=False)
    make_state(Path("certs"), "orders")


def refusal(capsys: Capture, *options: str, side: str = "server") -> tuple[str, str]:
    """Return what the command says is wrong, and what it says to do."""
    code, out, err = run_command(capsys, "verify", "certs/orders", "--as", side, *options)
    assert (code, out, err.count("\n")) == (1, "", 1)
    wrong, _, remedy = err.rstrip().partition(". ")
    return wrong, remedy


def test_an_expired_certificate_is_to_be_renewed(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = system_clock() + timedelta(hours=2)
    monkeypatch.setattr("pki.cli.verify.system_clock", lambda: later)
    wrong, remedy = refusal(capsys)
    assert "expired" in wrong
    assert "handfast renew" in remedy
    early = later - timedelta(days=1)
    monkeypatch.setattr("pki.cli.verify.system_clock", lambda: early)
    wrong, remedy = refusal(capsys)
    assert "not yet valid" in wrong
    assert "clock" in remedy


def test_a_revoked_certificate_needs_a_new_one(capsys: Capture) -> None:
    assert run(["revoke", "certs/orders"]) == 0
    wrong, remedy = refusal(capsys)
    assert "revoked" in wrong
    assert "new certificate with a new key: handfast issue" in remedy


def test_every_other_refusal_has_a_remedy_too(capsys: Capture) -> None:
    wrong, remedy = refusal(capsys, "--name", "payments")
    assert "not for spiffe://shop.internal/payments" in wrong
    assert remedy
    with Authority.create("other/ca", "shop.internal") as other:
        other.issue("orders", profile=SERVER).save("site")
    bundle = ["--bundle", "other/ca/bundle.pem", "--crl", "other/ca/crl.pem"]
    assert "bundle" in refusal(capsys, *bundle)[1]
    _, _, err = run_command(capsys, "verify", "site", "--as", "client")
    assert err.rstrip().partition(". ")[2]
    cut = Path("cut.pem")
    cut.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")
    code, _, err = run_command(capsys, "verify", cut, "--as", "server")
    assert code == 1
    assert err.rstrip().partition(". ")[2]
