"""A CA that has more renewals to answer than it can: it says when to come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

import pki
from pki._proto.handfast.ca.v1 import audit_pb2, authority_pb2, authority_pb2_grpc
from pki.ca_client.rpc_errors import BusyCaError, of_rpc_error
from pki.daemon.handlers.audit import look_again_seconds
from pki.identity import SpiffeId
from tests.ca_service import Served
from tests.interop.asking import reason
from tests.interop.ca_service.test_followers import enrolled
from tests.interop.shop import SECONDS, eventually


@contextmanager
def busy(ca: Served) -> Iterator[None]:
    """Have no place free for renewals, and each of those before take long."""
    queue = ca.service.parts.renewals
    places, queue._places = queue._places, 0
    interval, queue._interval = queue._interval, 20.0
    try:
        yield
    finally:
        queue._places, queue._interval = places, interval


@contextmanager
def channel_to(ca: Served, folder: Path) -> Iterator[grpc.Channel]:
    ca.authority.issue("orders").save(folder)
    with pki.Workload.from_directory(folder) as me:
        peer = SpiffeId.of_ca(me.spiffe_id.trust_domain)
        with me.sync_channel(ca.address, peer=peer) as channel:
            yield channel


def test_a_caller_is_told_when_to_come_back(ca: Served, tmp_path: Path) -> None:
    with channel_to(ca, tmp_path / "orders") as channel, busy(ca):
        stub = authority_pb2_grpc.AuthorityStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Renew(authority_pb2.RenewRequest(), timeout=SECONDS)
        assert reason(caught.value) == "CA_BUSY"
        error = of_rpc_error(caught.value)
        assert isinstance(error, BusyCaError)
        assert error.retry_after is not None
        assert 15 < error.retry_after <= 60
    counted = ca.service.parts.counters.requests()
    assert counted["Renew", "CA_BUSY"] == 1


def test_a_workload_comes_back_by_itself_and_is_renewed(ca: Served, tmp_path: Path) -> None:
    ca.register("orders", lifetime=timedelta(seconds=20))
    with enrolled(ca, tmp_path / "orders") as identity:
        before = identity.credential.leaf
        with busy(ca):
            assert eventually(lambda: "the CA is busy" in identity.problem, 30)
        assert eventually(lambda: identity.credential.leaf != before, 30)
        assert eventually(lambda: not identity.problem)
    assert not ca.service.parts.renewals._running
    assert len(ca.service.parts.renewals) == 0


def test_how_often_a_workload_looks_at_the_log_is_the_cas_choice(
    ca: Served, tmp_path: Path
) -> None:
    with enrolled(ca, tmp_path / "orders") as identity:
        connection = identity._connect()
        assert connection is not None
        asked = audit_pb2.GetCheckpointRequest()
        shown = connection.audit.GetCheckpoint(asked, timeout=SECONDS)
        assert shown.look_again_seconds == look_again_seconds(1) == 60
        assert look_again_seconds(10_000) == 1000
        witness = identity.log_witness
        witness.look()
        assert 48 <= witness._pause <= 72
        witness._next_look, witness._pause = 0.0, 1000.0
        size = witness.size
        ca.authority.issue("stock")
        witness._look_if_due()
        assert witness.size > size
        ca.authority.issue("billing")
        size = witness.size
        witness._look_if_due()
        assert witness.size == size, "it is not due again"
