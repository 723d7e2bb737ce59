"""Orders: reserves stock in Inventory, settles in Payments, and keeps the orders."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc

import pki
from services._proto.shop.v1 import (
    inventory_pb2,
    inventory_pb2_grpc,
    orders_pb2,
    orders_pb2_grpc,
    payments_pb2,
    payments_pb2_grpc,
)
from services.serving import open_workload, read_settings, serve_metrics, serve_until_stopped

_PRICE_MINOR = 1999


class Orders(orders_pb2_grpc.OrdersServicer):
    """Answers the gateway, and callers who may read."""

    def __init__(self, inventory: grpc.aio.Channel, payments: grpc.aio.Channel) -> None:
        self._inventory = inventory_pb2_grpc.InventoryStub(inventory)
        self._payments = payments_pb2_grpc.PaymentsStub(payments)
        self._placed: dict[str, orders_pb2.PlaceOrderRequest] = {}
        self._numbers = itertools.count(1)

    async def PlaceOrder(
        self,
        request: orders_pb2.PlaceOrderRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> orders_pb2.PlaceOrderResponse:
        """Reserve, settle, record."""
        order_id = f"order-{next(self._numbers)}"
        await self._inventory.Reserve(
            inventory_pb2.ReserveRequest(sku=request.sku, quantity=request.quantity)
        )
        settling = self._payments.Settle()
        await settling.write(
            payments_pb2.SettleRequest(
                order_id=order_id,
                amount_minor=_PRICE_MINOR * request.quantity,
                currency_code="EUR",
            )
        )
        settled = await settling.read()
        await settling.done_writing()
        if not isinstance(settled, payments_pb2.SettleResponse):
            await context.abort(grpc.StatusCode.INTERNAL, "payments gave no receipt")
        self._placed[order_id] = request
        return orders_pb2.PlaceOrderResponse(
            order_id=order_id, receipt=settled.receipt, placed_by=str(pki.peer().spiffe_id)
        )

    async def GetOrder(
        self,
        request: orders_pb2.GetOrderRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> orders_pb2.GetOrderResponse:
        """Read one order."""
        placed = self._placed.get(request.order_id)
        if placed is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no order {request.order_id!r}")
        return orders_pb2.GetOrderResponse(
            order_id=request.order_id, sku=placed.sku, quantity=placed.quantity
        )


async def main() -> None:
    """Run the service."""
    settings = read_settings(__doc__)
    with open_workload(settings) as me:
        async with (
            me.channel(settings.peers["inventory"], peer="inventory") as inventory,
            me.channel(settings.peers["payments"], peer="payments") as payments,
        ):
            serve_metrics(me, settings)
            server = me.server(decision_log="both")
            orders_pb2_grpc.add_OrdersServicer_to_server(Orders(inventory, payments), server)
            state = health.aio.HealthServicer()
            me.report_health(state)
            health_pb2_grpc.add_HealthServicer_to_server(state, server)
            await serve_until_stopped(server, server.add_secure_port(settings.listen))


if __name__ == "__main__":
    asyncio.run(main())
