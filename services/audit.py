"""Audit: reads orders and stock for a report, and may not write."""

from __future__ import annotations

import asyncio

import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc

from services._proto.shop.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    inventory_pb2,
    inventory_pb2_grpc,
    orders_pb2,
    orders_pb2_grpc,
)
from services.serving import open_workload, read_settings, serve_metrics, serve_until_stopped


class Audit(audit_pb2_grpc.AuditServicer):
    """Answers from what Orders and Inventory answer."""

    def __init__(self, orders: grpc.aio.Channel, inventory: grpc.aio.Channel) -> None:
        self._orders = orders_pb2_grpc.OrdersStub(orders)
        self._inventory = inventory_pb2_grpc.InventoryStub(inventory)

    async def GetReport(
        self, request: audit_pb2.GetReportRequest, context: object
    ) -> audit_pb2.GetReportResponse:
        """Read an order and the stock of its article."""
        order = await self._orders.GetOrder(orders_pb2.GetOrderRequest(order_id=request.order_id))
        stock = await self._inventory.GetStock(inventory_pb2.GetStockRequest(sku=order.sku))
        return audit_pb2.GetReportResponse(
            order_id=order.order_id,
            sku=order.sku,
            ordered=order.quantity,
            in_stock=stock.quantity,
        )


async def main() -> None:
    """Run the service."""
    settings = read_settings(__doc__)
    with open_workload(settings) as me:
        async with (
            me.channel(settings.peers["orders"], peer="orders") as orders,
            me.channel(settings.peers["inventory"], peer="inventory") as inventory,
        ):
            serve_metrics(me, settings)
            server = me.server(decision_log="both")
            audit_pb2_grpc.add_AuditServicer_to_server(Audit(orders, inventory), server)
            state = health.aio.HealthServicer()
            me.report_health(state)
            health_pb2_grpc.add_HealthServicer_to_server(state, server)
            await serve_until_stopped(server, server.add_secure_port(settings.listen))


if __name__ == "__main__":
    asyncio.run(main())
