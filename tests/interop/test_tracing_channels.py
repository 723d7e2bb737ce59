"""Channels under OpenTelemetry's instrumentation: spans of every call, rotations or not."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry import trace

from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc, payments_pb2_grpc
from services._proto.shop.v1 import payments_pb2 as pay
from tests.interop.shop import POLICY, SECONDS, Shop, eventually, get_stock, reason, refused
from tests.interop.spans import CLIENT, GRPC, GRPCEXT, SERVER, Spans

INVENTORY = "/shop.v1.Inventory/"


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
def of_all(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Have the process's own provider record: clients that are instrumented globally ask it."""
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: spans.provider)
    return spans


def all_kinds(channel: grpc.Channel) -> None:
    """Make a call of each kind that a span is recorded of."""
    stub = inventory_pb2_grpc.InventoryStub(channel)
    assert get_stock(channel) > 0
    assert stub.GetStock.future(inv.GetStockRequest()).result(SECONDS).quantity > 0
    assert next(iter(stub.WatchStock(inv.WatchStockRequest()))).quantity > 0
    assert stub.Restock(iter([inv.RestockRequest(quantity=2)])).units == 2
    settle = payments_pb2_grpc.PaymentsStub(channel).Settle
    assert [item.order_id for item in settle(iter([pay.SettleRequest(order_id="1")]))] == ["1"]


CALLED = sorted(
    [INVENTORY + name for name in ("GetStock", "GetStock", "WatchStock", "Restock")]
    + ["/shop.v1.Payments/Settle"]
)


def rotate(shop: Shop, channel: Any) -> None:
    """Renew the caller's certificate, and wait until its channel uses it and no other."""
    before = channel.connections.rotation.current
    shop.ca.issue("caller").save(shop.directory("caller"))

    def done() -> bool:
        rotation = channel.connections.rotation
        return rotation.current is not before and rotation.states() == ["in_use"]

    assert eventually(done), "no call that has ended holds the old connection"


def test_spans_of_a_sync_channel_that_is_instrumented_go_on_after_a_rotation(
    shop: Shop, of_all: Spans
) -> None:
    GRPC.GrpcInstrumentorClient().instrument()
    try:
        with (
            shop.workload("server") as me,
            shop.sync_server(me) as target,
            shop.workload("caller") as caller,
            caller.sync_channel(target, peer="server") as channel,
        ):
            for _ in range(2):
                all_kinds(channel)
                assert eventually(lambda: sorted(of_all.names(CLIENT)) == CALLED)
                of_all.exporter.clear()
                rotate(shop, channel)
    finally:
        GRPC.GrpcInstrumentorClient().uninstrument()


def test_a_sync_stream_that_is_cut_off_is_read_as_ended_under_instrumentation(
    shop: Shop, of_all: Spans
) -> None:
    GRPC.GrpcInstrumentorClient().instrument()
    try:
        with (
            shop.workload("server") as me,
            shop.aio_server(me) as target,
            shop.workload("caller") as caller,
            caller.sync_channel(target, peer="server") as channel,
        ):
            stub = inventory_pb2_grpc.InventoryStub(channel)
            stream = iter(stub.WatchStock(inv.WatchStockRequest()))
            assert next(stream).quantity > 0
            shop.write_policy(POLICY.replace("internal/caller", "internal/x"))
            with pytest.raises(grpc.RpcError) as caught:
                next(stream)
            assert reason(caught.value) == "NO_ROLE"
            span = of_all.one(CLIENT)
            assert span["rpc.grpc.status_code"] == grpc.StatusCode.PERMISSION_DENIED.value[0]
    finally:
        GRPC.GrpcInstrumentorClient().uninstrument()


def test_a_sync_channel_takes_the_instrumentations_interceptor_around_it(
    shop: Shop, spans: Spans
) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        traced = GRPCEXT.intercept_channel(channel, GRPC.client_interceptor(spans.provider))
        for _ in range(2):
            all_kinds(traced)
            assert eventually(lambda: sorted(spans.names(CLIENT)) == CALLED)
            spans.exporter.clear()
            rotate(shop, channel)
        call: Any = traced.unary_unary("/shop.v1.Other/X")
        assert refused(lambda: call(b"")) == "SERVER_ROLE_MISSING"
        (span,) = spans.of(CLIENT)
        assert span.status.status_code is trace.StatusCode.ERROR


async def all_kinds_aio(channel: grpc.aio.Channel) -> None:
    inventory: Any = inventory_pb2_grpc.InventoryStub(channel)
    payments: Any = payments_pb2_grpc.PaymentsStub(channel)
    for _ in range(2):
        assert (await inventory.GetStock(inv.GetStockRequest(), timeout=SECONDS)).quantity > 0
    stream = inventory.WatchStock(inv.WatchStockRequest())
    async for item in stream:
        assert item.quantity > 0
        break
    stream.cancel()
    assert (await inventory.Restock(iter([inv.RestockRequest(quantity=2)]))).units == 2
    async for item in payments.Settle(iter([pay.SettleRequest(order_id="1")])):
        assert item.order_id == "1"


@pytest.mark.parametrize("globally", [True, False])
def test_spans_of_an_asyncio_channel_go_on_after_a_rotation(
    shop: Shop, of_all: Spans, globally: bool
) -> None:
    interceptors = [] if globally else GRPC.aio_client_interceptors(of_all.provider)

    async def story(target: str) -> None:
        async with shop.workload("caller") as caller:
            async with caller.channel(target, peer="server", interceptors=interceptors) as channel:
                for _ in range(2):
                    await all_kinds_aio(channel)
                    await asyncio.to_thread(rotate, shop, channel)

    if globally:
        GRPC.GrpcAioInstrumentorClient().instrument()
    try:
        with shop.workload("server") as me, shop.aio_server(me) as target:
            asyncio.run(story(target))
    finally:
        if globally:
            GRPC.GrpcAioInstrumentorClient().uninstrument()
    assert eventually(lambda: sorted(of_all.names(CLIENT)) == sorted(2 * CALLED))


def test_a_trace_goes_on_from_the_caller_to_the_server(shop: Shop, spans: Spans) -> None:
    with (
        shop.workload("server") as me,
        shop.aio_server(me, observers=[spans.observer("aio")]) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        assert (
            get_stock(GRPCEXT.intercept_channel(channel, GRPC.client_interceptor(spans.provider)))
            > 0
        )
        assert eventually(lambda: len(spans.exporter.get_finished_spans()) == 2)
    (client,), (server,) = spans.of(CLIENT), spans.of(SERVER)
    assert client.context
    assert server.context
    assert server.parent
    assert server.context.trace_id == client.context.trace_id
    assert server.parent.span_id == client.context.span_id
