"""An asyncio server accepts what waits: not one call in each turn of its event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator

from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import SECONDS, AioInventory, Shop, eventually

_CALLS = 50


class Turns(AioInventory):
    """Counts how many streams begin in each turn of the event loop."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._turn = 0

    async def WatchStock(
        self, request: inv.WatchStockRequest, context: object
    ) -> AsyncIterator[inv.WatchStockResponse]:
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
            self._count()
        self.begun[self._turn] += 1
        async for item in super().WatchStock(request, context):
            yield item

    def _count(self) -> None:
        assert self.loop is not None
        self._turn += 1
        self.loop.call_soon(self._count)


def test_calls_that_came_in_one_long_turn_are_accepted_together(shop: Shop) -> None:
    inventory, go_on = Turns(), threading.Event()
    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=inventory) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stub = inventory_pb2_grpc.InventoryStub(channel)
        calls = [stub.WatchStock(inv.WatchStockRequest(sku="tea"))]
        next(calls[0])
        assert inventory.loop is not None
        inventory.loop.call_soon_threadsafe(go_on.wait, SECONDS)
        calls += [stub.WatchStock(inv.WatchStockRequest(sku="tea")) for _ in range(_CALLS)]
        # They are on their way; a few that come later do not matter.
        time.sleep(1)
        go_on.set()
        assert eventually(lambda: sum(inventory.begun.values()) == 1 + _CALLS)
        assert max(inventory.begun.values()) > 1
        for call in calls:
            call.cancel()
