"""Workloads that ask for many revocations: none of them delays an admin's."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from pki._proto.handfast.ca.v1 import authority_pb2, rotation_pb2, rotation_pb2_grpc
from tests.ca_service import POLICY, Served, served_ca
from tests.interop.asking import Asking, asking, reason, refused
from tests.interop.shop import SECONDS
from tests.stuck_ledger import stuck_ledger

# An admin's revocation waits 0.4 s for a ledger that is held, and a thread of others' for 30 s.
SOON = 15.0


def revoked_soon(ops: Asking, serial: str) -> None:
    begun = time.monotonic()
    assert ops.revoke(serial=serial) == 1
    took = time.monotonic() - begun
    print(f"{took:.2f} s")
    assert took < SOON


def entries(ca: Served) -> list[tuple[str, str, object]]:
    return [
        (entry.action.value, entry.actor.name, entry.details.get("count"))
        for _, entry in ca.authority.audit_entries()
    ]


def test_refused_revocations_take_no_thread_of_an_admins(ca: Served, tmp_path: Path) -> None:
    serial = f"{ca.authority.issue('payments').leaf.serial_number:x}"
    with asking(ca, tmp_path, "ops") as ops, asking(ca, tmp_path, "orders") as orders:
        with stuck_ledger(ca.authority.path), ThreadPoolExecutor(4) as calls:
            waiting = [calls.submit(refused, lambda: orders.revoke(serial="ab")) for _ in range(4)]
            assert {item.result(SOON) for item in waiting} == {"NAME_NOT_PERMITTED"}
            revoked_soon(ops, serial)


def test_refused_revocations_are_summed_up_in_the_audit_log(ca: Served, tmp_path: Path) -> None:
    with asking(ca, tmp_path, "orders") as orders:
        assert refused(lambda: orders.revoke(serial="ab")) == "NAME_NOT_PERMITTED"
        before = entries(ca)
        for _ in range(20):
            assert refused(lambda: orders.revoke(serial="ab")) == "NAME_NOT_PERMITTED"
        target = "spiffe://shop.internal/payments"
        assert refused(lambda: orders.revoke(spiffe_id=target)) == "NAME_NOT_PERMITTED"
        assert entries(ca) == before
    ca.service.parts._record_refusals(at_end=True)
    assert entries(ca)[len(before) :] == [("refuse-many", "spiffe://shop.internal/orders", 22)]


def test_a_workload_that_revokes_itself_again_and_again_delays_no_admin(
    ca: Served, tmp_path: Path
) -> None:
    serial = f"{ca.authority.issue('payments').leaf.serial_number:x}"
    with asking(ca, tmp_path, "ops") as ops, asking(ca, tmp_path, "orders") as orders:
        request = authority_pb2.RevokeRequest(own=True)
        with stuck_ledger(ca.authority.path):
            calls = [orders.authority.Revoke.future(request, timeout=SECONDS) for _ in range(60)]
            revoked_soon(ops, serial)
            errors = [call.exception() for call in calls]
            answers = [reason(e) if isinstance(e, grpc.RpcError) else "" for e in errors]
            assert "" in answers
            assert set(answers) <= {"", "BUDGET_EXHAUSTED", "CERTIFICATE_REVOKED"}
            pending = [item.actor for item in ca.authority.pending_revocations()]
            assert sorted(pending) == [
                "spiffe://shop.internal/ops",
                "spiffe://shop.internal/orders",
            ]


def test_an_admin_has_no_budget_for_revocations(ca: Served, tmp_path: Path) -> None:
    serial = f"{ca.authority.issue('payments').leaf.serial_number:x}"
    with asking(ca, tmp_path, "ops") as ops:
        request = authority_pb2.RevokeRequest(serial=serial)
        calls = [ops.authority.Revoke.future(request, timeout=SECONDS) for _ in range(40)]
        assert [call.exception() for call in calls] == [None] * 40


def test_who_is_granted_distrust_and_is_no_admin_takes_no_thread_of_theirs(tmp_path: Path) -> None:
    granted = '"/handfast.ca.v1.Rotation/Distrust", "/handfast.ca.v1.Registrations/*",\n]\nscopes'
    policy = POLICY.replace('"/handfast.ca.v1.Registrations/*",\n]\nscopes', granted)
    assert policy != POLICY
    with (
        served_ca(tmp_path, policy=policy) as ca,
        asking(ca, tmp_path, "ops") as ops,
        asking(ca, tmp_path, "ci") as ci,
    ):
        serial = f"{ca.authority.issue('payments').leaf.serial_number:x}"
        with stuck_ledger(ca.authority.path):
            stub = rotation_pb2_grpc.RotationStub(ci.channel)
            request = rotation_pb2.DistrustRequest(key_id="ab")
            calls = [stub.Distrust.future(request, timeout=60) for _ in range(4)]
            time.sleep(0.2)
            revoked_soon(ops, serial)
        for call in calls:
            error = call.exception()
            assert isinstance(error, grpc.RpcError)
            assert reason(error) == "NAME_NOT_PERMITTED"


def test_a_distrust_that_cant_be_recorded_says_so_soon_and_delays_no_revocation(
    ca: Served, tmp_path: Path
) -> None:
    serial = f"{ca.authority.issue('payments').leaf.serial_number:x}"
    leaked = ca.authority.issuers()[1].key_id
    with asking(ca, tmp_path, "ops") as ops, stuck_ledger(ca.authority.path):
        stub = rotation_pb2_grpc.RotationStub(ops.channel)
        request = rotation_pb2.DistrustRequest(key_id=leaked)
        begun = time.monotonic()
        calls = [stub.Distrust.future(request, timeout=60) for _ in range(2)]
        time.sleep(0.2)
        revoked_soon(ops, serial)
        for call in calls:
            error = call.exception()
            assert isinstance(error, grpc.RpcError)
            assert reason(error) == "CA_UNAVAILABLE"
            assert "is still trusted" in str(error)
        assert time.monotonic() - begun < 2 * SOON


def test_who_asks_for_nothing_takes_no_place_from_the_lines_owner(
    ca: Served, tmp_path: Path
) -> None:
    with asking(ca, tmp_path, "orders") as orders:
        for _ in range(15):
            assert refused(lambda: orders.revoke(own=True, reason="x")) == "REQUEST_INVALID"
            assert refused(orders.revoke) == "REQUEST_INVALID"
        assert orders.revoke(own=True) == 1
