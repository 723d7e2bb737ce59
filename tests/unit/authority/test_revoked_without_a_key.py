"""Revocations under several issuing CAs, of which one has no key here any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.ledger import IssuerRecord
from pki.authority.publishing.refreshing import sign_missing
from pki.cli.app import run
from pki.errors import StateError
from tests.command import Capture, run_json
from tests.stuck_ledger import stuck_ledger
from tests.support import Clock, make_authority


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Authority]:
    with make_authority(tmp_path) as authority:
        yield authority


def listed(ca: Authority) -> set[int]:
    _, crls = ca.trust()
    return {number for item in crls.crls.values() for number in item.revoked}


def take_key(ca: Authority, issuer: IssuerRecord) -> Path:
    """Take an issuing CA's key away; return where it was."""
    path = ca.path / f"issuing-{issuer.key_id}.key.pem"
    path.rename(path.with_suffix(".away"))
    ca.context._signers.clear()
    return path


def test_a_workload_is_revoked_after_the_key_of_a_distrusted_issuing_ca_was_destroyed(
    ca: Authority,
) -> None:
    old = ca.issue("orders").leaf.serial_number
    leaked = ca.issuers()[1]
    ca.rotate()
    good = ca.issue("orders").leaf.serial_number
    ca.distrust(leaked.key_id)
    take_key(ca, leaked)
    revoked = ca.revoke_workload("orders")
    assert {item.serial for item in revoked} == {f"{old:x}", f"{good:x}"}
    assert all(item.revoked_at is not None for item in revoked)
    assert good in listed(ca)


def test_a_list_that_can_not_be_signed_undoes_no_other_revocation(ca: Authority) -> None:
    old = ca.issue("orders").leaf.serial_number
    before = ca.issuers()[1]
    ca.rotate()
    good = ca.issue("orders").leaf.serial_number
    path = take_key(ca, before)
    with pytest.raises(StateError, match=f"key of issuing CA {before.key_id}"):
        ca.revoke_workload("orders")
    for number in (old, good):
        record = ca.certificate(number)
        assert record is not None
        assert record.revoked_at is not None
    assert listed(ca) >= {good}
    assert old not in listed(ca)
    path.with_suffix(".away").rename(path)
    sign_missing(ca.context)
    assert listed(ca) >= {old, good}


def test_what_is_pending_is_recorded_though_one_list_can_not_be_signed(ca: Authority) -> None:
    serials = [f"{ca.issue('orders').leaf.serial_number:x}"]
    before = ca.issuers()[1]
    ca.rotate()
    serials.append(f"{ca.issue('orders').leaf.serial_number:x}")
    take_key(ca, before)
    ca.context.revocation_wait = 0.05
    with stuck_ledger(ca.path), pytest.raises(StateError, match="key of issuing CA"):
        ca.revoke_workload("orders")
    with Authority.open(ca.path, clock=Clock()) as again:
        assert again.pending_revocations() == ()
        records = [again.certificate(int(serial, 16)) for serial in serials]
        assert all(item is not None and item.revoked_at is not None for item in records)
        assert int(serials[1], 16) in listed(again)


def test_list_shows_that_an_issuing_ca_is_distrusted(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["ca", "init", "--trust-domain", "shop.internal"]) == 0
    assert run(["issue", "orders"]) == 0
    assert run(["ca", "rotate"]) == 0
    assert run(["issue", "payments"]) == 0
    leaked = run_json(capsys, "list", "--issuers")["issuers"][1]["key_id"]
    assert run(["ca", "distrust", leaked]) == 0
    capsys.readouterr()
    shown = {item["spiffe_id"]: item["status"] for item in run_json(capsys, "list")["certificates"]}
    assert shown == {
        "spiffe://shop.internal/orders": "issuer distrusted",
        "spiffe://shop.internal/payments": "good",
    }
