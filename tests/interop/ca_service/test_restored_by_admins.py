"""A CA that was restored and is served: admins do the rest of it over the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

import pki
from pki._proto.handfast.ca.v1 import registrations_pb2, registrations_pb2_grpc
from pki.authority import Authority
from pki.authority.backups.restoring import restore_backup
from pki.authority.enrollment.confirming import AT_ONCE
from pki.cli.app import run
from pki.clock import system_clock
from pki.identity import SpiffeId
from tests.ca_service import Served, served_ca
from tests.command import Capture
from tests.interop.asking import reason
from tests.interop.ca_service.rotating_admin import OPS, Admin, Roots, admin, details, entries
from tests.interop.shop import SECONDS

NAMES = ("orders", "payments", "prod/web")


@pytest.fixture
def restored(tmp_path: Path) -> Iterator[Served]:
    """A CA that was restored, and signs again; its registrations wait."""
    with served_ca(tmp_path / "lost") as ca:
        for name in NAMES:
            ca.register(name)
        ca.authority.backup(tmp_path / "ca.backup")
        _, held = ca.authority.trust()
    restore_backup(tmp_path / "ca.backup", tmp_path / "new" / "ca", clock=system_clock)
    assert Authority.recover(tmp_path / "new" / "ca", [held]).resumption is not None
    with served_ca(tmp_path / "new") as ca:
        yield ca


@pytest.fixture
def ops(restored: Served, tmp_path: Path) -> Iterator[Admin]:
    with admin(restored, tmp_path) as it:
        yield it


def spiffe_ids(*names: str) -> list[str]:
    return [f"spiffe://shop.internal/{name}" for name in names]


def test_an_admin_confirms_registrations_over_the_network(
    restored: Served, ops: Admin, capsys: Capture
) -> None:
    found = ops.json(capsys, "registration", "confirm")
    assert (found["confirmed"], found["waiting"]) == ([], spiffe_ids(*NAMES))
    code, out, _ = ops.command(capsys, "registration", "confirm", "orders")
    assert (code, "Confirmed spiffe://shop.internal/orders" in out) == (0, True)
    # What is printed next asks the same CA.
    assert f"confirm --all --ca {restored.address} --credential" in out
    found = ops.json(capsys, "registration", "confirm", "orders")
    assert (found["confirmed"], found["waiting"]) == ([], spiffe_ids(*NAMES[1:]))
    code, _, err = ops.command(capsys, "registration", "confirm", "payments", "unknown")
    assert (code, "is not registered" in err) == (1, True)
    found = ops.json(capsys, "registration", "confirm", "--all")
    assert (found["confirmed"], found["waiting"]) == (spiffe_ids(*NAMES[1:]), [])
    confirmed = entries(restored, "register-confirm")
    assert [item.subject for item in confirmed] == spiffe_ids(*NAMES)
    assert {item.actor.name for item in confirmed} == {OPS}


@pytest.mark.parametrize("name", ["ci", "orders"])
def test_nobody_but_an_admin_confirms_or_hears_what_waits(
    restored: Served, tmp_path: Path, name: str
) -> None:
    """A registrar may call the methods beside it, and no registrar's prefix counts here."""
    restored.authority.issue(name).save(tmp_path / name)
    requests = (
        registrations_pb2.ConfirmRegistrationsRequest(),
        registrations_pb2.ConfirmRegistrationsRequest(next=True),
        registrations_pb2.ConfirmRegistrationsRequest(spiffe_ids=spiffe_ids("prod/web")),
    )
    with pki.Workload.from_directory(tmp_path / name) as me:
        peer = SpiffeId.of_ca(me.spiffe_id.trust_domain)
        with me.sync_channel(restored.address, peer=peer) as channel:
            stub = registrations_pb2_grpc.RegistrationsStub(channel)
            for request in requests:
                with pytest.raises(grpc.RpcError) as caught:
                    stub.ConfirmRegistrations(request, timeout=SECONDS)
                assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert entries(restored, "register-confirm") == []
    with restored.authority.context.ledger.snapshot() as transaction:
        assert len(transaction.registrations.unconfirmed()) == len(NAMES)
    refused = [item for item in entries(restored, "refuse") if "confirm" in str(item.details)]
    assert len(refused) == (len(requests) if name == "ci" else 0)


def test_what_no_command_asks_is_refused(restored: Served, ops: Admin, tmp_path: Path) -> None:
    many = [f"spiffe://shop.internal/many-{number}" for number in range(AT_ONCE + 1)]
    with pki.Workload.from_directory(tmp_path / "ops") as me:
        peer = SpiffeId.of_ca(me.spiffe_id.trust_domain)
        with me.sync_channel(restored.address, peer=peer) as channel:
            stub = registrations_pb2_grpc.RegistrationsStub(channel)
            for request in (
                registrations_pb2.ConfirmRegistrationsRequest(spiffe_ids=many),
                registrations_pb2.ConfirmRegistrationsRequest(next=True, spiffe_ids=many[:1]),
                registrations_pb2.ConfirmRegistrationsRequest(page_token="x" * 5000),
                registrations_pb2.ConfirmRegistrationsRequest(spiffe_ids=["orders"]),
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    stub.ConfirmRegistrations(request, timeout=SECONDS)
                assert reason(caught.value) == "REQUEST_INVALID"


def test_many_are_listed_and_confirmed_in_pages(
    restored: Served, ops: Admin, capsys: Capture
) -> None:
    more = [f"many/{number:04}" for number in range(AT_ONCE + 20)]
    for name in more:
        restored.register(name)
    with restored.authority.context.ledger.transaction() as transaction:
        transaction.registrations.unconfirm(at=restored.authority.now())
    expected = sorted(spiffe_ids(*NAMES, *more))
    assert ops.json(capsys, "registration", "confirm")["waiting"] == expected
    found = ops.json(capsys, "registration", "confirm", "--all")
    assert (sorted(found["confirmed"]), found["waiting"]) == (expected, [])


def test_an_admin_acknowledges_the_restored_log_over_the_network(
    restored: Served, ops: Admin, capsys: Capture
) -> None:
    found = ops.json(capsys, "audit", "acknowledge")
    assert (found["code"], found["status"]) == (0, "acknowledged")
    assert found["bundle"] == restored.authority.bundle_number()
    assert entries(restored, "bundle")[-1].actor.name == OPS
    code, _, err = ops.command(capsys, "audit", "acknowledge")
    assert (code, "there is nothing to acknowledge" in err) == (1, True)


def test_a_roots_key_that_is_elsewhere_stays_there(
    restored: Served,
    ops: Admin,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    roots = Roots(restored, tmp_path / "roots")
    before = restored.authority.bundle_number()
    found = ops.json(capsys, "audit", "acknowledge")
    assert (found["code"], found["status"], found["request"]) == (
        0,
        "requested",
        "root-request.json",
    )
    assert restored.authority.bundle_number() == before
    where = ("--keys", str(roots.folder), "--out", str(tmp_path / "answer.json"))
    assert run(["ca", "root", "sign", "root-request.json", *where]) == 0
    capsys.readouterr()
    assert ops.json(capsys, "ca", "root", "import", "answer.json")["code"] == 0
    assert restored.authority.bundle_number() == before + 1
    assert "nothing to acknowledge" in details(ops.acknowledge_restored_log)
