"""``enforce = "audit"`` on real servers: what no grant allows goes through, and nothing else."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

import pki
from pki.files import load_credential
from pki.x509.readers import to_pem
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import (
    POLICY,
    SECONDS,
    Shop,
    ended,
    eventually,
    get_stock,
    refused,
    revoke,
    soon,
    watch,
)

KINDS = pytest.mark.parametrize("kind", ["aio", "sync"])
AUDIT = 'enforce = "audit"\n' + POLICY
GET_STOCK = "/shop.v1.Inventory/GetStock"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    made.write_policy(AUDIT)
    for name in ("server", "caller", "stranger"):
        made.directory(name)
    yield made
    made.ca.close()


def decisions(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [
        json.loads(record.getMessage())
        for record in caplog.records
        if record.name == "handfast.decisions"
    ]


def raw_call(channel: grpc.Channel, path: str) -> bytes:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return call(b"", timeout=SECONDS)


def accounted_for(lines: list[dict[str, Any]]) -> int:
    """Count the decisions that were written, and those that were said to be left out."""
    return sum("rpc_method" in line for line in lines) + sum(
        int(line.get("suppressed", 0)) for line in lines
    )


def only(*methods: str) -> str:
    named = ", ".join(f'"{method}"' for method in methods)
    return f'{POLICY}[[enforcement]]\nmethods = [{named}]\nenforce = "audit"\n'


@KINDS
def test_a_call_that_no_grant_allows_goes_through_and_is_logged(
    shop: Shop, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        # The handler sees who calls, without a role.
        assert get_stock(channel) == len("spiffe://shop.internal/stranger")
        stub = inventory_pb2_grpc.InventoryStub(channel)
        assert stub.Reserve(inv.ReserveRequest(sku="tea")).left == 0
        watch(channel).cancel()
        assert stub.Restock(iter([inv.RestockRequest(quantity=2)])).deliveries == 0
    lines = decisions(caplog)
    assert len(lines) == 4
    for line in lines:
        assert (line["authorized"], line["audited"]) == (True, True)
        assert line["reason"] == "NO_ROLE"
        assert line["matched_rule"] == "audit at policy.toml:1"
        assert line["principal"] == "spiffe://shop.internal/stranger"
    assert {item.levelname for item in caplog.records if item.name == "handfast.decisions"} == {
        "WARNING"
    }


@KINDS
def test_a_method_outside_a_callers_grants_goes_through_too(
    shop: Shop, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("reader", policy=None) as reader,
        reader.sync_channel(target, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        assert not decisions(caplog)
        stub = inventory_pb2_grpc.InventoryStub(channel)
        assert stub.Reserve(inv.ReserveRequest(sku="tea")).left == 1
    (line,) = decisions(caplog)
    assert line["reason"] == "METHOD_NOT_GRANTED"
    assert line["roles"] == ["reader"]


@KINDS
def test_a_named_method_alone_is_tried_and_its_neighbour_bites(shop: Shop, kind: str) -> None:
    shop.write_policy(only(GET_STOCK))
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        stub = inventory_pb2_grpc.InventoryStub(channel)
        assert refused(lambda: stub.Reserve(inv.ReserveRequest(sku="tea"))) == "NO_ROLE"


def test_a_path_that_no_grant_could_name_is_refused_in_audit_too(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        for path in (f"/{GET_STOCK}", f"{GET_STOCK}/", "/shop.v1.Inventory/../GetStock"):
            assert refused(partial(raw_call, channel, path)) == "NO_ROLE"
        assert refused(lambda: raw_call(channel, "/shop.v1.Unknown/Nothing")) == "UNIMPLEMENTED"


# What it does not relax


@KINDS
def test_a_revoked_caller_is_refused_in_audit_and_its_stream_ends(shop: Shop, kind: str) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        stream = watch(channel)
        revoke(shop, "stranger")
        assert soon(channel, "CERTIFICATE_REVOKED")
        assert ended(stream) == ("CERTIFICATE_REVOKED" if kind == "aio" else "CANCELLED")


@KINDS
def test_an_expired_caller_is_refused_in_audit_and_its_stream_ends(shop: Shop, kind: str) -> None:
    with (
        shop.workload("server", shifted=True) as me,
        shop.server(kind, me) as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        stream = watch(channel)
        shop.clock.move(hours=1, seconds=2)
        assert refused(lambda: get_stock(channel)) == "CERTIFICATE_EXPIRED"
        assert ended(stream) == ("CREDENTIAL_ENDED" if kind == "aio" else "CANCELLED")


@KINDS
def test_the_leaves_of_a_distrusted_issuer_are_refused_in_audit(shop: Shop, kind: str) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("stranger", policy=None) as stranger,
        # A channel of gRPC's own: ours would refuse the server first, which has the same issuer.
        grpc.secure_channel(target, **stranger.channel_arguments("server")) as channel,
    ):
        assert get_stock(channel) > 0
        shop.ca.distrust(shop.ca.issuers()[1].key_id)
        shop.bring_trust()
        assert soon(channel, "ISSUER_DISTRUSTED")


@KINDS
def test_another_trust_domain_and_no_certificate_get_no_connection_in_audit(
    shop: Shop, kind: str
) -> None:
    roots = (shop.home / "ca" / "bundle.pem").read_bytes()
    pinned = [("grpc.ssl_target_name_override", "server.shop.internal")]
    with (
        pki.Authority.create(shop.home / "other-ca", "other.internal") as other,
        shop.workload("server") as me,
        shop.server(kind, me) as target,
    ):
        other.issue("caller").save(shop.home / "other")
        foreign = load_credential(shop.home / "other").credential
        key = (shop.home / "other" / "key.pem").read_bytes()
        for shown in ((), (key, to_pem(foreign.chain))):
            credentials = grpc.ssl_channel_credentials(roots, *shown)
            with grpc.secure_channel(target, credentials, pinned) as channel:
                assert refused(partial(get_stock, channel)) == "UNAVAILABLE"


def test_a_policy_that_is_gone_refuses_whatever_it_said(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        shop.policy.unlink()
        assert soon(channel, "POLICY_UNAVAILABLE")


def test_a_server_that_may_not_answer_is_not_called_in_audit(shop: Shop) -> None:
    shop.write_policy(AUDIT.replace("internal/server", "internal/somebody"))
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        assert refused(lambda: get_stock(channel)) == "SERVER_ROLE_MISSING"


# Changes while running


@KINDS
def test_from_audit_to_deny_a_running_stream_ends_within_a_second(shop: Shop, kind: str) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        stream = watch(channel)
        shop.write_policy(POLICY)
        before = time.monotonic()
        assert ended(stream) == ("NO_ROLE" if kind == "aio" else "CANCELLED")
        assert time.monotonic() - before < 5, "a loaded machine may take longer than one second"
        assert refused(lambda: get_stock(channel)) == "NO_ROLE"


@KINDS
def test_a_stream_that_lost_its_grant_in_audit_goes_on_and_is_told_of_once(
    shop: Shop, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("caller", policy=None) as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        stream = watch(channel)
        shop.write_policy(AUDIT.replace("internal/caller", "internal/somebody"))
        assert eventually(lambda: len(decisions(caplog)) == 1)
        assert decisions(caplog)[0]["reason"] == "NO_ROLE"
        assert decisions(caplog)[0]["audited"] is True
        for _ in range(3):
            me.reload()
        assert len(decisions(caplog)) == 1
        shop.write_policy(POLICY.replace("internal/caller", "internal/somebody"))
        assert ended(stream) in {"NO_ROLE", "CANCELLED"}
    assert [line["authorized"] for line in decisions(caplog)] == [True, False]


def test_a_policy_that_is_not_enforced_is_told_loudly_at_start_and_at_reload(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with shop.workload("server") as me:

        def told() -> list[str]:
            return [
                record.getMessage()
                for record in caplog.records
                if record.name == "handfast.credentials" and "NOT ENFORCED" in record.getMessage()
            ]

        assert eventually(lambda: len(told()) == 1)
        assert "for every method" in told()[0]
        shop.write_policy(POLICY)
        me.reload()
        assert eventually(lambda: len(told()) == 1)
        shop.write_policy(only(GET_STOCK))
        me.reload()
        assert len(told()) == 2
        assert GET_STOCK in told()[1]
    assert {item.levelno for item in caplog.records if "NOT ENFORCED" in item.message} == {
        logging.WARNING
    }


@KINDS
def test_a_flood_of_refused_calls_is_cut_and_none_is_lost_silently(
    shop: Shop, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop.write_policy(POLICY)
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        for _ in range(200):
            assert refused(lambda: get_stock(channel)) == "NO_ROLE"
        assert len(decisions(caplog)) < 40
        assert eventually(lambda: accounted_for(decisions(caplog)) == 200, 3)


def test_what_was_left_out_is_told_when_the_workload_closes(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.write_policy(POLICY)
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        for _ in range(30):
            refused(lambda: get_stock(channel))
    assert accounted_for(decisions(caplog)) == 30
