"""The one service that both sides serve. Its handlers do next to nothing, so that only RPC counts.

The article's name says what a caller wants of a stream: the number of messages, or ``idle`` for one
message and then none.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pki
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc, payments_pb2_grpc
from services._proto.shop.v1 import payments_pb2 as pay

IDLE = "idle"

Record = Callable[[], None]


class CallerSerials:
    """The serial numbers of the callers' certificates, as handlers saw them.

    Args:
        kinds: the kinds of the servers whose handlers record them.
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        self._serials: dict[str, set[int]] = {kind: set() for kind in kinds}
        self._changed = threading.Condition()

    def recorder_of(self, kind: str) -> Record:
        """Return the function by which a server's handlers record their caller."""
        serials = self._serials[kind]

        def record() -> None:
            serial = pki.peer().serial
            if serial not in serials:
                with self._changed:
                    serials.add(serial)
                    self._changed.notify_all()

        return record

    def wait_for(self, serial: int, seconds: float) -> bool:
        """Wait until every server was called with this serial number; then forget earlier ones."""
        everywhere = self._serials.values()
        with self._changed:
            is_everywhere = self._changed.wait_for(
                lambda: all(serial in serials for serials in everywhere), seconds
            )
            for serials in everywhere if is_everywhere else ():
                serials.intersection_update({serial})
            return is_everywhere


def record_nothing() -> None:
    """Record nothing."""


class AioInventory(inventory_pb2_grpc.InventoryServicer):
    """Handlers as coroutines."""

    def __init__(self, record: Record = record_nothing) -> None:
        self._record = record

    async def GetStock(self, request: inv.GetStockRequest, context: object) -> inv.GetStockResponse:
        self._record()
        return inv.GetStockResponse(quantity=1)

    async def WatchStock(
        self, request: inv.WatchStockRequest, context: object
    ) -> AsyncIterator[inv.WatchStockResponse]:
        self._record()
        if request.sku == IDLE:
            yield inv.WatchStockResponse(quantity=1)
            await asyncio.Event().wait()
        for number in range(int(request.sku)):
            yield inv.WatchStockResponse(quantity=number)

    async def Reserve(self, request: inv.ReserveRequest, context: object) -> inv.ReserveResponse:
        return inv.ReserveResponse()

    async def Restock(
        self, request_iterator: AsyncIterator[inv.RestockRequest], context: object
    ) -> inv.RestockResponse:
        return inv.RestockResponse(deliveries=len([item async for item in request_iterator]))


class AioPayments(payments_pb2_grpc.PaymentsServicer):
    """Handlers as coroutines."""

    async def Settle(
        self, request_iterator: AsyncIterator[pay.SettleRequest], context: object
    ) -> AsyncIterator[pay.SettleResponse]:
        async for item in request_iterator:
            yield pay.SettleResponse(order_id=item.order_id)


class SyncInventory(inventory_pb2_grpc.InventoryServicer):
    """Handlers that run in threads."""

    def __init__(self, record: Record = record_nothing) -> None:
        self._record = record

    def GetStock(self, request: inv.GetStockRequest, context: object) -> inv.GetStockResponse:
        self._record()
        return inv.GetStockResponse(quantity=1)

    def WatchStock(
        self, request: inv.WatchStockRequest, context: Any
    ) -> Iterator[inv.WatchStockResponse]:
        self._record()
        if request.sku == IDLE:
            yield inv.WatchStockResponse(quantity=1)
            over = threading.Event()
            if context.add_callback(over.set):
                over.wait()
            return
        for number in range(int(request.sku)):
            yield inv.WatchStockResponse(quantity=number)

    def Reserve(self, request: inv.ReserveRequest, context: object) -> inv.ReserveResponse:
        return inv.ReserveResponse()

    def Restock(
        self, request_iterator: Iterator[inv.RestockRequest], context: object
    ) -> inv.RestockResponse:
        return inv.RestockResponse(deliveries=sum(1 for _ in request_iterator))


class SyncPayments(payments_pb2_grpc.PaymentsServicer):
    """Handlers that run in threads."""

    def Settle(
        self, request_iterator: Iterator[pay.SettleRequest], context: object
    ) -> Iterator[pay.SettleResponse]:
        for item in request_iterator:
            yield pay.SettleResponse(order_id=item.order_id)


def add_to(server: Any, kind: str, record: Record) -> None:
    """Register the handlers of one kind, ``aio`` or ``sync``."""
    aio = kind == "aio"
    inventory = AioInventory(record) if aio else SyncInventory(record)
    payments = AioPayments() if aio else SyncPayments()
    inventory_pb2_grpc.add_InventoryServicer_to_server(inventory, server)
    payments_pb2_grpc.add_PaymentsServicer_to_server(payments, server)
