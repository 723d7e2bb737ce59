"""What the spans of real servers are told of each call."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from opentelemetry.semconv._incubating.attributes import tls_attributes

from pki.files import load_credential
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc, payments_pb2_grpc
from services._proto.shop.v1 import payments_pb2 as pay
from tests.interop.shop import POLICY, SECONDS, Shop, eventually, get_stock, reason, refused
from tests.interop.spans import GRPC, SERVER, Spans

KINDS = pytest.mark.parametrize("kind", ["aio", "sync"])
PAGE = (Path(__file__).parents[2] / "docs" / "tracing.md").read_text(encoding="utf-8")


@pytest.fixture
def spans() -> Spans:
    return Spans()


@KINDS
def test_an_allowed_call_tells_who_called_and_what_let_it_through(
    shop: Shop, spans: Spans, kind: str
) -> None:
    leaf = load_credential(shop.directory("caller")).credential.leaf
    with (
        shop.workload("server") as me,
        shop.server(kind, me, observers=[spans.observer(kind)]) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        found = spans.one()
    assert found["handfast.peer.spiffe_id"] == "spiffe://shop.internal/caller"
    assert found["handfast.peer.roles"] == ("caller",)
    assert found["handfast.verdict"] == "ALLOWED"
    assert found["handfast.audited"] is False
    assert found["handfast.rule"] == "grant at policy.toml:6"
    assert found["tls.client.subject"] == "CN=caller,O=shop.internal"
    assert found["tls.client.issuer"] == leaf.issuer.rfc4514_string()
    assert datetime.fromisoformat(found["tls.client.not_before"]) == leaf.not_valid_before_utc
    assert datetime.fromisoformat(found["tls.client.not_after"]) == leaf.not_valid_after_utc
    assert found["tls.client.hash.sha256"] == leaf.fingerprint(SHA256()).hex().upper()
    assert found["tls.resumed"] is False


@KINDS
def test_a_refused_call_tells_who_was_refused_and_why(shop: Shop, spans: Spans, kind: str) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me, observers=[spans.observer(kind)]) as target,
        shop.workload("stranger") as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        assert refused(lambda: get_stock(channel)) == "NO_ROLE"
        found = spans.one()
    assert found["handfast.verdict"] == "NO_ROLE"
    assert found["handfast.peer.spiffe_id"] == "spiffe://shop.internal/stranger"
    assert found["handfast.peer.roles"] == ()
    assert found["tls.client.subject"] == "CN=stranger,O=shop.internal"
    assert found["rpc.grpc.status_code"] == grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert "handfast.rule" not in found


@KINDS
def test_a_caller_whose_certificate_is_refused_has_no_roles(
    shop: Shop, spans: Spans, kind: str
) -> None:
    with (
        shop.workload("server", shifted=True) as me,
        shop.server(kind, me, observers=[spans.observer(kind)]) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        shop.clock.move(hours=2)
        assert refused(lambda: get_stock(channel)) == "CERTIFICATE_EXPIRED"
        found = spans.one()
    assert found["handfast.verdict"] == "CERTIFICATE_EXPIRED"
    assert found["tls.client.subject"] == "CN=caller,O=shop.internal"
    assert "handfast.peer.roles" not in found


@KINDS
def test_an_unknown_method_is_seen_as_refused(shop: Shop, spans: Spans, kind: str) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me, observers=[spans.observer(kind)]) as target,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        call: Any = channel.unary_unary("/shop.v1.Unknown/Guess")
        assert refused(lambda: call(b"", timeout=SECONDS)) == "NO_ROLE"
        assert spans.one()["handfast.verdict"] == "NO_ROLE"


def test_a_call_that_is_only_audited_says_so(shop: Shop, spans: Spans) -> None:
    shop.write_policy('enforce = "audit"\n' + POLICY)
    with (
        shop.workload("server") as me,
        shop.sync_server(me, observers=[spans.observer("sync")]) as target,
        shop.workload("stranger") as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        found = spans.one()
    assert (found["handfast.verdict"], found["handfast.audited"]) == ("NO_ROLE", True)
    assert found["handfast.rule"].startswith("audit at policy.toml:")


@KINDS
def test_streams_of_every_kind_work_under_an_observer(shop: Shop, spans: Spans, kind: str) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me, observers=[spans.observer(kind)]) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        stub = inventory_pb2_grpc.InventoryStub(channel)
        stream = stub.WatchStock(inv.WatchStockRequest())
        assert next(stream).quantity > 0
        stream.cancel()
        assert stub.Restock(iter([inv.RestockRequest(quantity=2)])).units == 2
        # In asyncio this one is a coroutine that writes to the context.
        settle = payments_pb2_grpc.PaymentsStub(channel).Settle
        assert [item.order_id for item in settle(iter([pay.SettleRequest(order_id="1")]))] == ["1"]
        assert eventually(lambda: len(spans.of(SERVER)) == 3)
        for span in spans.of(SERVER):
            assert span.attributes
            assert span.attributes["handfast.verdict"] == "ALLOWED"


def ended_stream(shop: Shop, spans: Spans, kind: str) -> dict[str, Any]:
    """End a stream by a policy that lets it go on no more; give what its span was told."""
    with (
        shop.workload("server") as me,
        shop.server(kind, me, observers=[spans.observer(kind)]) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        stream = inventory_pb2_grpc.InventoryStub(channel).WatchStock(inv.WatchStockRequest())
        assert next(stream).quantity > 0
        shop.write_policy(
            POLICY.replace("spiffe://shop.internal/caller", "spiffe://shop.internal/x")
        )
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert reason(caught.value) == ("NO_ROLE" if kind == "aio" else "CANCELLED")
        return spans.one()


@KINDS
def test_a_stream_that_is_ended_says_why(shop: Shop, spans: Spans, kind: str) -> None:
    found = ended_stream(shop, spans, kind)
    assert found["handfast.verdict"] == "ALLOWED", "it was, when it began"
    assert found["handfast.stream.ended"] == "NO_ROLE"


def test_names_are_those_of_the_conventions_and_each_is_told_on_the_page(
    shop: Shop, spans: Spans
) -> None:
    told = ended_stream(shop, spans, "sync")
    ours = {item for item in told if item.startswith(("tls.", "handfast."))}
    conventions = {value for name, value in vars(tls_attributes).items() if name.startswith("TLS_")}
    assert {item for item in ours if item.startswith("tls.")} <= conventions
    assert sorted(ours) == sorted(re.findall(r"^\| `([a-z0-9._]+)` \|", PAGE, re.MULTILINE))


@KINDS
def test_an_interceptor_behind_the_gate_sees_allowed_calls_alone(
    shop: Shop, spans: Spans, kind: str
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me, interceptors=[spans.observer(kind)]) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
        shop.workload("stranger") as stranger,
        stranger.sync_channel(target, peer="server") as other,
    ):
        assert refused(lambda: get_stock(other)) == "NO_ROLE"
        assert get_stock(channel) > 0
        assert not [key for key in spans.one() if key.startswith("handfast.")]


@KINDS
def test_servers_that_are_instrumented_globally_tell_the_same(
    shop: Shop, spans: Spans, kind: str
) -> None:
    all_of_them: Any = (
        GRPC.GrpcAioInstrumentorServer() if kind == "aio" else GRPC.GrpcInstrumentorServer()
    )
    all_of_them.instrument(tracer_provider=spans.provider)
    try:
        with (
            shop.workload("server") as me,
            shop.server(kind, me) as target,
            shop.workload("stranger") as stranger,
            stranger.sync_channel(target, peer="server") as channel,
        ):
            assert refused(lambda: get_stock(channel)) == "NO_ROLE"
            assert spans.one()["handfast.verdict"] == "NO_ROLE"
    finally:
        all_of_them.uninstrument()


def test_without_a_span_that_records_nothing_is_told(shop: Shop, spans: Spans) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        assert spans.of(SERVER) == []
