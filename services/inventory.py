"""Inventory: the stock, also as a stream of its changes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc

from services._proto.shop.v1 import inventory_pb2, inventory_pb2_grpc
from services.serving import open_workload, read_settings, serve_metrics, serve_until_stopped


class Inventory(inventory_pb2_grpc.InventoryServicer):
    """Keeps the stock in memory."""

    def __init__(self) -> None:
        self._stock: Counter[str] = Counter({"tea": 1000})
        self._changed = asyncio.Condition()

    async def GetStock(
        self, request: inventory_pb2.GetStockRequest, context: object
    ) -> inventory_pb2.GetStockResponse:
        """Read the stock of one article."""
        return inventory_pb2.GetStockResponse(quantity=self._stock[request.sku])

    async def Reserve(
        self,
        request: inventory_pb2.ReserveRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> inventory_pb2.ReserveResponse:
        """Take some out of stock."""
        if request.quantity > self._stock[request.sku]:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not enough in stock")
        await self._add(request.sku, -request.quantity)
        return inventory_pb2.ReserveResponse(left=self._stock[request.sku])

    async def WatchStock(
        self, request: inventory_pb2.WatchStockRequest, context: object
    ) -> AsyncIterator[inventory_pb2.WatchStockResponse]:
        """Send the stock now and after each change."""
        while True:
            sent = self._stock[request.sku]
            yield inventory_pb2.WatchStockResponse(quantity=sent)
            async with self._changed:
                await self._changed.wait_for(lambda: self._stock[request.sku] != sent)  # noqa: B023

    async def Restock(
        self, request_iterator: AsyncIterator[inventory_pb2.RestockRequest], context: object
    ) -> inventory_pb2.RestockResponse:
        """Take deliveries in."""
        deliveries = units = 0
        async for delivery in request_iterator:
            deliveries, units = deliveries + 1, units + delivery.quantity
            await self._add(delivery.sku, delivery.quantity)
        return inventory_pb2.RestockResponse(deliveries=deliveries, units=units)

    async def _add(self, sku: str, quantity: int) -> None:
        async with self._changed:
            self._stock[sku] += quantity
            self._changed.notify_all()


async def main() -> None:
    """Run the service."""
    settings = read_settings(__doc__)
    with open_workload(settings) as me:
        serve_metrics(me, settings)
        server = me.server(decision_log="both")
        inventory_pb2_grpc.add_InventoryServicer_to_server(Inventory(), server)
        state = health.aio.HealthServicer()
        me.report_health(state)
        health_pb2_grpc.add_HealthServicer_to_server(state, server)
        await serve_until_stopped(server, server.add_secure_port(settings.listen))


if __name__ == "__main__":
    asyncio.run(main())
