"""The calls that the demo makes: one for each method, over all four RPC kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services._proto.shop.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    gateway_pb2,
    gateway_pb2_grpc,
    inventory_pb2,
    inventory_pb2_grpc,
    orders_pb2,
    orders_pb2_grpc,
    payments_pb2,
    payments_pb2_grpc,
)

_SECONDS = 10.0
Call = Callable[[grpc.aio.Channel], Awaitable[str]]


async def _checkout(channel: grpc.aio.Channel) -> str:
    request = gateway_pb2.CheckoutRequest(sku="tea", quantity=2)
    answer = await gateway_pb2_grpc.GatewayStub(channel).Checkout(request, timeout=_SECONDS)
    return f"{answer.order_id}, {answer.receipt}"


async def _place(channel: grpc.aio.Channel) -> str:
    request = orders_pb2.PlaceOrderRequest(sku="tea", quantity=1)
    answer = await orders_pb2_grpc.OrdersStub(channel).PlaceOrder(request, timeout=_SECONDS)
    return f"{answer.order_id} placed by {answer.placed_by}"


async def _get_order(channel: grpc.aio.Channel) -> str:
    request = orders_pb2.GetOrderRequest(order_id="order-1")
    answer = await orders_pb2_grpc.OrdersStub(channel).GetOrder(request, timeout=_SECONDS)
    return f"{answer.quantity} {answer.sku}"


async def _get_stock(channel: grpc.aio.Channel) -> str:
    request = inventory_pb2.GetStockRequest(sku="tea")
    answer = await inventory_pb2_grpc.InventoryStub(channel).GetStock(request, timeout=_SECONDS)
    return f"{answer.quantity} in stock"


async def _reserve(channel: grpc.aio.Channel) -> str:
    request = inventory_pb2.ReserveRequest(sku="tea", quantity=1)
    answer = await inventory_pb2_grpc.InventoryStub(channel).Reserve(request, timeout=_SECONDS)
    return f"{answer.left} left"


async def _watch(channel: grpc.aio.Channel) -> str:
    request = inventory_pb2.WatchStockRequest(sku="tea")
    stream = inventory_pb2_grpc.InventoryStub(channel).WatchStock(request, timeout=_SECONDS)
    first = await anext(aiter(stream))
    stream.cancel()
    return f"first message: {first.quantity}"


async def _restock(channel: grpc.aio.Channel) -> str:
    async def deliveries() -> AsyncIterator[inventory_pb2.RestockRequest]:
        for quantity in (5, 7):
            yield inventory_pb2.RestockRequest(sku="tea", quantity=quantity)

    stub = inventory_pb2_grpc.InventoryStub(channel)
    answer = await stub.Restock(deliveries(), timeout=_SECONDS)
    return f"{answer.units} units in {answer.deliveries} deliveries"


async def _settle(channel: grpc.aio.Channel) -> str:
    async def payments() -> AsyncIterator[payments_pb2.SettleRequest]:
        for number in (1, 2):
            yield payments_pb2.SettleRequest(
                order_id=f"order-{number}", amount_minor=100 * number, currency_code="EUR"
            )

    stub = payments_pb2_grpc.PaymentsStub(channel)
    receipts = [answer.receipt async for answer in stub.Settle(payments(), timeout=_SECONDS)]
    return f"{len(receipts)} receipts"


async def _report(channel: grpc.aio.Channel) -> str:
    request = audit_pb2.GetReportRequest(order_id="order-1")
    answer = await audit_pb2_grpc.AuditStub(channel).GetReport(request, timeout=_SECONDS)
    return f"{answer.ordered} {answer.sku} ordered"


async def _health(channel: grpc.aio.Channel) -> str:
    request = health_pb2.HealthCheckRequest()
    answer: Any = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=_SECONDS)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


CALLS: Mapping[str, Call] = MappingProxyType(
    {
        "/shop.v1.Gateway/Checkout": _checkout,
        "/shop.v1.Orders/PlaceOrder": _place,
        "/shop.v1.Orders/GetOrder": _get_order,
        "/shop.v1.Inventory/GetStock": _get_stock,
        "/shop.v1.Inventory/Reserve": _reserve,
        "/shop.v1.Inventory/WatchStock": _watch,
        "/shop.v1.Inventory/Restock": _restock,
        "/shop.v1.Payments/Settle": _settle,
        "/shop.v1.Audit/GetReport": _report,
        "/grpc.health.v1.Health/Check": _health,
    }
)
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "/shop.v1.Inventory/WatchStock": "server stream",
        "/shop.v1.Inventory/Restock": "client stream",
        "/shop.v1.Payments/Settle": "bidi stream",
    }
)
