"""A workload that was closed follows nothing more, so nothing goes through what was made of it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

import pki
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import (
    SECONDS,
    Shop,
    ended,
    get_stock,
    reason,
    refused,
)


@pytest.mark.parametrize(("kind", "words"), [("aio", "POLICY_UNAVAILABLE"), ("sync", "CANCELLED")])
def test_its_servers_refuse_every_call_and_end_what_runs(shop: Shop, kind: str, words: str) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream = inventory_pb2_grpc.InventoryStub(channel).WatchStock(inv.WatchStockRequest())
        next(stream)
        me.close()
        assert ended(stream) == words
        assert refused(lambda: get_stock(channel)) == "POLICY_UNAVAILABLE"


@pytest.mark.parametrize("policy", [True, False])
def test_its_synchronous_channels_let_nothing_through(shop: Shop, policy: bool) -> None:
    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller", policy=shop.policy if policy else None) as caller,
        caller.sync_channel(address, peer="server") as channel,
        caller.sync_channel(address, peer="server") as unused,
    ):
        stream = inventory_pb2_grpc.InventoryStub(channel).WatchStock(inv.WatchStockRequest())
        next(stream)
        caller.close()
        assert ended(stream) == "SERVER_NOT_SEEN"
        wanted = "POLICY_UNAVAILABLE" if policy else "SERVER_NOT_SEEN"
        assert refused(lambda: get_stock(channel)) == wanted
        assert refused(lambda: get_stock(unused)) == wanted


def test_its_asyncio_channels_let_nothing_through(shop: Shop) -> None:
    async def play(caller: pki.Workload, address: str) -> None:
        async with caller.channel(address, peer="server") as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            stream: Any = stub.WatchStock(inv.WatchStockRequest())
            await stream.read()
            caller.close()
            for call in (stream.read(), _answer(stub)):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await asyncio.wait_for(call, SECONDS)
                assert reason(caught.value) == "SERVER_NOT_SEEN"

    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller", policy=None) as caller,
    ):
        asyncio.run(play(caller, address))


async def _answer(stub: Any) -> Any:
    return await stub.GetStock(inv.GetStockRequest())
