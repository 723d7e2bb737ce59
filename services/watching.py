"""How a client reopens a stream that outlived a certificate or a server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable

import grpc
import grpc.aio

import pki
from services._proto.shop.v1 import inventory_pb2, inventory_pb2_grpc

_FIRST_SECONDS, _LONGEST_SECONDS = 0.1, 30.0


async def watch_stock(
    stub: inventory_pb2_grpc.InventoryAsyncStub,
    sku: str,
    reopened: Callable[[str], None] = lambda _: None,
) -> AsyncGenerator[int, None]:
    """Yield the stock of an article, now and after each change, until the caller stops iterating.

    Args:
        stub: of the service.
        sku: the article.
        reopened: called with the reason, each time that the stream has ended.
    """
    failures = 0
    while True:
        try:
            async for message in stub.WatchStock(inventory_pb2.WatchStockRequest(sku=sku)):
                failures = 0
                yield message.quantity
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            reason = pki.reason_of(error)
            failures += 1
            # An expired certificate is no failure: the next connection is there already.
            if reason != "CREDENTIAL_ENDED" or failures > 1:
                pause = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2**failures)
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads load
            reopened(reason or error.code().name)
        else:
            return
