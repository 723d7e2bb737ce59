"""The shop's front door: takes a purchase and calls Orders."""

from __future__ import annotations

import asyncio

import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc

from services._proto.shop.v1 import (
    gateway_pb2,
    gateway_pb2_grpc,
    orders_pb2,
    orders_pb2_grpc,
)
from services.serving import open_workload, read_settings, serve_metrics, serve_until_stopped


class Gateway(gateway_pb2_grpc.GatewayServicer):
    """Answers customers."""

    def __init__(self, orders: grpc.aio.Channel) -> None:
        self._orders = orders_pb2_grpc.OrdersStub(orders)

    async def Checkout(
        self, request: gateway_pb2.CheckoutRequest, context: object
    ) -> gateway_pb2.CheckoutResponse:
        """Place an order."""
        placed = await self._orders.PlaceOrder(
            orders_pb2.PlaceOrderRequest(sku=request.sku, quantity=request.quantity)
        )
        return gateway_pb2.CheckoutResponse(order_id=placed.order_id, receipt=placed.receipt)


async def main() -> None:
    """Run the service."""
    settings = read_settings(__doc__)
    with open_workload(settings) as me:
        async with me.channel(settings.peers["orders"], peer="orders") as orders:
            serve_metrics(me, settings)
            server = me.server(decision_log="both")
            gateway_pb2_grpc.add_GatewayServicer_to_server(Gateway(orders), server)
            state = health.aio.HealthServicer()
            me.report_health(state)
            health_pb2_grpc.add_HealthServicer_to_server(state, server)
            await serve_until_stopped(server, server.add_secure_port(settings.listen))


if __name__ == "__main__":
    asyncio.run(main())
