"""Calls that run while something is done to the files, the clock or the processes."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

import pki
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import SECONDS, eventually, get_stock


class Load:
    """Calls over a synchronous and an asyncio channel, until it is stopped.

    Args:
        caller: whose channels.
        address: of the server.
        peer: who answers there.
        streams: reads short streams too, beside the unary calls.
    """

    def __init__(
        self, caller: pki.Workload, address: str, peer: str = "server", *, streams: bool = False
    ) -> None:
        self._streams = streams
        self._caller = caller
        self._address = address
        self._peer = peer
        self._done = threading.Event()
        self.failed: list[str] = []
        self.calls = 0
        self._threads = [
            threading.Thread(target=self._call_synchronously),
            threading.Thread(target=lambda: asyncio.run(self._call())),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        assert self.goes_on()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(SECONDS)

    def goes_on(self, calls: int = 20) -> bool:
        """Wait until so many more calls have been answered."""
        at = self.calls
        return eventually(lambda: self.calls >= at + calls, SECONDS)

    def _call_synchronously(self) -> None:
        with self._caller.sync_channel(self._address, peer=self._peer) as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            while not self._done.is_set():
                try:
                    get_stock(channel)
                    if self._streams:
                        assert list(stub.WatchStock(inv.WatchStockRequest()))
                    self.calls += 1
                except grpc.RpcError as error:
                    self.failed.append(f"{error.code()} {error.details()}")

    async def _call(self) -> None:
        async with self._caller.channel(self._address, peer=self._peer) as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            while not self._done.is_set():
                try:
                    await stub.GetStock(inv.GetStockRequest(sku="tea"), timeout=SECONDS)
                    if self._streams:
                        assert [item async for item in stub.WatchStock(inv.WatchStockRequest())]
                    self.calls += 1
                except grpc.RpcError as error:
                    self.failed.append(f"{error.code()} {error.details()}")
