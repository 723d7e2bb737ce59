"""A pending revocation under an issuing CA that an older ledger does not know stays in force."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.cli.app import run
from pki.daemon.trust_feed import TrustFeed
from pki.x509 import CrlSet
from tests.command import Capture, run_json
from tests.stuck_ledger import stuck_ledger
from tests.support import Clock, make_authority

pytestmark = pytest.mark.sqlite

CA = Path("certs/ca")


@pytest.fixture
def serials(tmp_path: Path) -> list[str]:
    """Revoke a leaf of each of two issuing CAs; put back a ledger from before the second."""
    with make_authority(tmp_path) as ca:
        home = ca.path
        first = ca.issue("orders")
        copy = tmp_path / "copy.db"
        shutil.copy(home / "ledger.db", copy)
    with Authority.open(home, clock=Clock()) as ca:
        ca.context.revocation_wait = 0.05
        ca.rotate()
        second = ca.issue("orders")
        serials = [f"{item.leaf.serial_number:x}" for item in (first, second)]
        with stuck_ledger(home):
            ca.revoke_workload("orders")
            assert published(home) >= set(serials)
    for path in home.glob("ledger.db*"):
        path.unlink()
    shutil.copy(copy, home / "ledger.db")
    return serials


def published(home: Path) -> set[str]:
    crls = CrlSet.read((home / "crl.pem").read_bytes())
    return {f"{number:x}" for item in crls.crls.values() for number in item.revoked}


def test_it_is_kept_named_announced_and_on_the_published_list(
    tmp_path: Path, serials: list[str]
) -> None:
    home = next(tmp_path.glob("**/ledger.db")).parent
    clock = Clock()
    recovered = Authority.recover(home, clock=clock)
    assert [item.serial for item in recovered.kept] == serials[1:]
    for _ in range(2):
        with Authority.open(home, clock=clock) as ca:
            assert ca.pending_revocations() == ()
            # Nothing hinders what the CA does, and each publication keeps the list.
            ca.issue("payments")
            assert published(home) >= set(serials)
            ca.revoke_workload("payments")
            assert published(home) >= set(serials)
            (event,) = [text for _, kind, text in ca.events() if kind == "unknown-issuer"]
            assert serials[1] in event
            feed = TrustFeed(ca.context, lambda: None, lambda _: None)
            assert {item.serial for item in feed.state.pending} == set(serials[1:])
    clock.move(hours=25)
    with Authority.open(home, clock=clock) as ca:
        assert TrustFeed(ca.context, lambda: None, lambda _: None).state.pending == ()
        assert serials[1] not in published(home)


def test_the_command_names_it(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["ca", "init", "--trust-domain", "shop.internal"]) == 0
    copy = tmp_path / "copy.db"
    shutil.copy(CA / "ledger.db", copy)
    assert run(["ca", "rotate"]) == 0
    assert run(["issue", "orders"]) == 0
    with Authority.open(CA) as ca:
        ca.context.revocation_wait = 0.05
        with stuck_ledger(CA):
            (revoked,) = ca.revoke_workload("orders")
    for path in CA.glob("ledger.db*"):
        path.unlink()
    shutil.copy(copy, CA / "ledger.db")
    capsys.readouterr()
    told = run_json(capsys, "ca", "recover")
    assert [item["serial"] for item in told["revocations_kept"]] == [revoked.serial]
    assert revoked.serial in published(CA)
