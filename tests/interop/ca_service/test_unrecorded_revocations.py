"""The service revokes while its ledger can't record: told at once, listed, recorded afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import pki
from pki._proto.handfast.ca.v1 import authority_pb2, authority_pb2_grpc
from pki.authority import Authority
from pki.authority.ledger.databases.access import LedgerAccess
from pki.ca_client import CaIdentity
from pki.identity import SpiffeId
from pki.proofs import EnrollmentToken
from pki.x509 import CrlSet
from tests.ca_service import Served, served_ca
from tests.interop.fleet import fleet
from tests.interop.shop import POLICY, SECONDS, ended, eventually, watch
from tests.stuck_ledger import stuck_ledger


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    return file


@contextmanager
def admin(ca: Served, folder: Path) -> Iterator[authority_pb2_grpc.AuthorityStub]:
    ca.authority.issue("ops").save(folder / "ops")
    with pki.Workload.from_directory(folder / "ops") as me:
        peer = SpiffeId.of_ca(me.spiffe_id.trust_domain)
        with me.sync_channel(ca.address, peer=peer) as channel:
            yield authority_pb2_grpc.AuthorityStub(channel)


def published(ca: Served) -> set[int]:
    crls = CrlSet.read((ca.authority.path / "crl.pem").read_bytes())
    return {number for item in crls.crls.values() for number in item.revoked}


def metric(ca: Served, name: str) -> float | None:
    registry = CollectorRegistry()
    for collector in ca.service.collectors():
        registry.register(collector)
    return registry.get_sample_value(name, {"workload": "spiffe://shop.internal/handfast/ca"})


def holds_list(ca: Served, serial: int) -> bool:
    return any(serial in crl.revoked for crl in ca.service.parts.feed.state.crls.values())


def holds(me: Any, serial: int) -> bool:
    return any(serial in crl.revoked for crl in me.credential.crls.crls.values())


@pytest.mark.parametrize("way", ["service", "folder"])
def test_streams_end_and_lists_come_while_another_process_holds_the_ledger(
    ca: Served, tmp_path: Path, policy: Path, way: str
) -> None:
    with admin(ca, tmp_path) as ops, fleet(ca, tmp_path, policy) as (server, caller, channel):
        stream = watch(channel)
        serial = caller.credential.leaf.serial_number
        with stuck_ledger(ca.authority.path):
            begun = time.monotonic()
            if way == "service":
                request = authority_pb2.RevokeRequest(serial=f"{serial:x}", reason="key-compromise")
                (told,) = ops.Revoke(request, timeout=SECONDS).certificates
                assert told.serial == f"{serial:x}"
                assert told.HasField("revoked_at")
            else:
                reading = LedgerAccess(for_reading=True)
                with Authority.open(ca.authority.path, access=reading) as other:
                    other.revoke(serial, reason="key-compromise")
            assert ended(stream) == "CANCELLED"
            took = time.monotonic() - begun
            print(f"{way}: {took:.2f} s")
            # Also on a list that is signed while the ledger is still held.
            assert eventually(lambda: holds(server, serial), SECONDS)
            assert eventually(lambda: serial in published(ca), SECONDS)
            assert metric(ca, "handfast_ca_revocations_pending") == 1
        assert eventually(lambda: not ca.authority.pending_revocations(), SECONDS)
        record = ca.authority.certificate(serial)
        assert record is not None
        assert record.revoked_at is not None
        assert eventually(lambda: metric(ca, "handfast_ca_revocations_pending") == 0)
        assert holds(server, serial)
        assert serial in published(ca)
        assert ca.authority.verify_audit_log().findings == ()
        newest = [(entry.action, entry.actor.name) for _, entry in ca.authority.audit_entries()]
        actor = "spiffe://shop.internal/ops" if way == "service" else newest[0][1]
        assert ("revoke", actor) in newest


def test_a_graver_reason_for_what_is_revoked_already_is_recorded_too(
    ca: Served, tmp_path: Path
) -> None:
    serial = ca.authority.issue("orders").leaf.serial_number
    ca.authority.revoke(serial)
    feed = ca.service.parts.feed
    assert eventually(lambda: holds_list(ca, serial) and not feed.state.unlisted, SECONDS)
    with stuck_ledger(ca.authority.path):
        # By a command, of which the service hears by the file alone.
        with Authority.open(ca.authority.path, access=LedgerAccess(for_reading=True)) as other:
            other.revoke(serial, reason="key-compromise")
        assert [item.entries for item in ca.authority.pending_revocations()] == [()]
    assert eventually(lambda: not ca.authority.pending_revocations(), SECONDS)
    record = ca.authority.certificate(serial)
    assert record is not None
    with ca.authority.context.ledger.snapshot() as transaction:
        line = transaction.lines.get(record.line_id)
    assert line is not None
    assert line.blocked_at is not None


def test_a_workload_revokes_itself_and_is_not_renewed_meanwhile(ca: Served, tmp_path: Path) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    with CaIdentity(tmp_path / "orders", token=token) as identity:
        serial = f"{identity.credential.leaf.serial_number:x}"
        with stuck_ledger(ca.authority.path):
            assert identity.revoke_own() == (serial,)
            assert [item.serials for item in ca.authority.pending_revocations()] == [(serial,)]
            # Whether it waits for the ledger or is refused before: it gets no certificate.
            asking = threading.Thread(target=identity.renew_now)
            asking.start()
        asking.join()
        assert f"{identity.credential.leaf.serial_number:x}" == serial
        assert identity.problem
    assert eventually(lambda: not ca.authority.pending_revocations(), SECONDS)
    records = ca.authority.certificates(with_ended=True)
    of_orders = [item for item in records if item.spiffe_id.endswith("/orders")]
    assert [(item.serial, item.reason) for item in of_orders] == [(serial, "unspecified")]


def test_a_service_that_was_killed_records_it_at_its_next_start(
    tmp_path: Path, policy: Path
) -> None:
    with served_ca(tmp_path) as ca:
        serial = ca.authority.issue("orders").leaf.serial_number
    with stuck_ledger(tmp_path / "ca"):
        reading = LedgerAccess(for_reading=True)
        with Authority.open(tmp_path / "ca", access=reading) as other:
            other.revoke(serial)
    with served_ca(tmp_path) as ca:
        assert not ca.authority.pending_revocations()
        assert serial in published(ca)
        assert ca.authority.verify_audit_log().findings == ()
