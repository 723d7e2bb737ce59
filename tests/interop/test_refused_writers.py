"""A caller that still writes when the server ends its call reads the server's status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc, payments_pb2_grpc
from services._proto.shop.v1 import payments_pb2 as pay
from tests.interop.shop import SECONDS, AioInventory, Shop, reason
from tests.interop.spans import GRPC, Spans

KINDS = pytest.mark.parametrize("kind", ["aio", "sync"])
# Nine calls in ten lost the status with so many messages, and one in fifteen with two.
MESSAGES, CALLS = 50, 60
NO_GRANT = """\
trust_domain = "shop.internal"
[roles]
caller = ["spiffe://shop.internal/caller"]
server = ["spiffe://shop.internal/server"]
[[served_by]]
service = "shop.v1.Inventory"
role = "server"
[[served_by]]
service = "shop.v1.Payments"
role = "server"
"""

Send = Callable[[grpc.aio.Channel], Awaitable[object]]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, "server", "caller")


async def messages(kind: Callable[[], Any]) -> AsyncIterator[Any]:
    for _ in range(MESSAGES):
        yield kind()


async def send_stream(channel: grpc.aio.Channel) -> object:
    stub = inventory_pb2_grpc.InventoryStub(channel)
    return await stub.Restock(messages(inv.RestockRequest), timeout=SECONDS)


async def send_both_ways(channel: grpc.aio.Channel) -> object:
    stub = payments_pb2_grpc.PaymentsStub(channel)
    settled = stub.Settle(messages(pay.SettleRequest), timeout=SECONDS)
    return [item async for item in settled]


async def write_both_ways(channel: grpc.aio.Channel) -> object:
    settled = payments_pb2_grpc.PaymentsStub(channel).Settle(timeout=SECONDS)
    try:
        for _ in range(MESSAGES):
            await settled.write(pay.SettleRequest())
    except asyncio.InvalidStateError:
        pass  # what gRPC raises if the call has ended before the write
    return await settled.read()


SENDS = pytest.mark.parametrize("send", [send_stream, send_both_ways, write_both_ways])


async def reasons(send: Send, caller: Any, target: str, **how: Any) -> set[str]:
    async with caller, caller.channel(target, peer="server", **how) as channel:

        async def one() -> str:
            try:
                return f"allowed: {await send(channel)}"
            except grpc.aio.AioRpcError as error:
                return reason(error)

        return set(await asyncio.gather(*(one() for _ in range(CALLS))))


@KINDS
@SENDS
def test_a_refused_call_that_still_writes_tells_why(shop: Shop, kind: str, send: Send) -> None:
    shop.write_policy(NO_GRANT)
    with shop.workload("server") as me, shop.server(kind, me) as target:
        assert asyncio.run(reasons(send, shop.workload("caller"), target)) == {"METHOD_NOT_GRANTED"}


@SENDS
def test_it_tells_why_through_interceptors_too(shop: Shop, send: Send) -> None:
    shop.write_policy(NO_GRANT)
    how = {"interceptors": GRPC.aio_client_interceptors(Spans().provider)}
    with shop.workload("server") as me, shop.aio_server(me) as target:
        found = asyncio.run(reasons(send, shop.workload("caller"), target, **how))
    assert found == {"METHOD_NOT_GRANTED"}


class Hasty(AioInventory):
    """Answers, or refuses, without reading what is sent."""

    async def Restock(self, request_iterator: Any, context: Any) -> inv.RestockResponse:
        metadata = dict(context.invocation_metadata())
        if "full" in metadata:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the warehouse is full")
        return inv.RestockResponse(units=7)


def test_an_answer_or_an_error_of_the_handler_arrives_though_the_caller_still_writes(
    shop: Shop,
) -> None:
    async def story(target: str) -> None:
        async with (
            shop.workload("caller") as caller,
            caller.channel(target, peer="server") as channel,
        ):
            stub = inventory_pb2_grpc.InventoryStub(channel)
            for _ in range(CALLS):
                answer = await stub.Restock(messages(inv.RestockRequest), timeout=SECONDS)
                assert answer.units == 7
                with pytest.raises(grpc.aio.AioRpcError, match="the warehouse is full"):
                    await stub.Restock(
                        messages(inv.RestockRequest), timeout=SECONDS, metadata=(("full", "1"),)
                    )

    with shop.workload("server") as me, shop.aio_server(me, inventory=Hasty()) as target:
        asyncio.run(story(target))
