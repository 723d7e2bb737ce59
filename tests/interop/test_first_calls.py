"""A channel's first calls, side by side with those of a channel of gRPC's own."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import grpc.aio
import pytest

import pki
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc, payments_pb2_grpc
from services._proto.shop.v1 import payments_pb2 as pay
from tests.interop.shop import SECONDS, Shop, eventually, free_port

RETRY = {
    "retryPolicy": {
        "maxAttempts": 5,
        "initialBackoff": "1s",
        "maxBackoff": "3s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
}
OTHER_CODES = {"retryPolicy": {**RETRY["retryPolicy"], "retryableStatusCodes": ["ABORTED"]}}
PATIENT = {"waitForReady": True}
SERVICES = [{"service": "shop.v1.Inventory"}, {"service": "shop.v1.Payments"}]


def options_of(said: dict[str, Any] | None, key: Any = "grpc.service_config") -> list[Any]:
    if said is None:
        return []
    config = {"methodConfig": [{"name": [{}], "waitForReady": False}, {"name": SERVICES, **said}]}
    return [(key, json.dumps(config))]


def sync_calls(channel: grpc.Channel, **how: Any) -> list[Callable[[], object]]:
    """Return one call of each kind."""
    inventory = inventory_pb2_grpc.InventoryStub(channel)
    payments = payments_pb2_grpc.PaymentsStub(channel)
    items = [inv.RestockRequest(quantity=4)]
    orders = [pay.SettleRequest(order_id="1")]
    return [
        lambda: inventory.GetStock(inv.GetStockRequest(), **how),
        lambda: inventory.GetStock.future(inv.GetStockRequest(), **how).result(),
        lambda: next(inventory.WatchStock(inv.WatchStockRequest(), **how)),
        lambda: inventory.Restock(iter(items), **how),
        lambda: list(payments.Settle(iter(orders), **how)),
    ]


def aio_calls(channel: grpc.aio.Channel, **how: Any) -> list[Awaitable[object]]:
    """Return one call of each kind."""
    inventory: Any = inventory_pb2_grpc.InventoryStub(channel)
    payments: Any = payments_pb2_grpc.PaymentsStub(channel)

    async def first(stream: Any) -> object:
        async for item in stream:
            return item
        return None

    return [
        inventory.GetStock(inv.GetStockRequest(), **how),
        first(inventory.WatchStock(inv.WatchStockRequest(), **how)),
        inventory.Restock(iter([inv.RestockRequest(quantity=4)]), **how),
        first(payments.Settle(iter([pay.SettleRequest(order_id="1")]), **how)),
    ]


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


async def outcome_of(call: Awaitable[object]) -> str:
    try:
        await asyncio.wait_for(call, SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


class Late:
    """A server that comes once a look has found nobody."""

    def __init__(self, shop: Shop, stack: ExitStack) -> None:
        self._shop, self._stack = shop, stack
        self.me = stack.enter_context(shop.workload("server"))
        self.caller: pki.Workload = stack.enter_context(shop.workload("caller"))
        self.address = f"127.0.0.1:{free_port()}"

    def come(self, channel: Any) -> None:
        assert eventually(lambda: channel.connections.checks.refusal is not None, SECONDS)
        self._stack.enter_context(self._shop.sync_server(self.me, address=self.address))


CASES: list[Any] = [
    pytest.param(RETRY, {}, "OK", id="retryPolicy"),
    pytest.param(OTHER_CODES, {}, "UNAVAILABLE", id="retryPolicy for other codes"),
    pytest.param(PATIENT, {}, "OK", id="waitForReady"),
    pytest.param(PATIENT, {"wait_for_ready": False}, "UNAVAILABLE", id="the call says otherwise"),
    pytest.param(None, {"wait_for_ready": True}, "OK", id="the call says it"),
    pytest.param(None, {}, "UNAVAILABLE", id="nobody says anything"),
    pytest.param(
        {**PATIENT, "timeout": "0.3s"}, {}, "DEADLINE_EXCEEDED", id="timeout of the config"
    ),
]


@pytest.mark.parametrize(("said", "how", "wanted"), CASES)
def test_the_service_config_counts_for_the_first_calls_as_with_bare_grpc(
    shop: Shop, said: dict[str, Any] | None, how: dict[str, Any], wanted: str
) -> None:
    how = {"timeout": SECONDS, **how}
    options = options_of(said)
    with ExitStack() as stack:
        late = Late(shop, stack)
        pool = stack.enter_context(ThreadPoolExecutor(16))
        bare = stack.enter_context(
            grpc.secure_channel(
                late.address, **late.caller.channel_arguments("server", options=options)
            )
        )
        channel = stack.enter_context(
            late.caller.sync_channel(late.address, peer="server", options=options)
        )
        outcomes: list[Future[str]] = [
            pool.submit(outcome, call) for one in (channel, bare) for call in sync_calls(one, **how)
        ]
        if wanted == "OK":
            late.come(channel)
        found = [item.result(2 * SECONDS) for item in outcomes]
        assert found == [wanted] * 10


@pytest.mark.parametrize(("said", "how", "wanted"), CASES)
def test_the_service_config_counts_for_the_first_asyncio_calls_too(
    shop: Shop, said: dict[str, Any] | None, how: dict[str, Any], wanted: str
) -> None:
    how = {"timeout": SECONDS, **how}
    options = options_of(said)

    async def play(late: Late) -> list[str]:
        arguments = late.caller.channel_arguments("server", options=options)
        async with (
            late.caller.channel(late.address, peer="server", options=options) as channel,
            grpc.aio.secure_channel(late.address, **arguments) as bare,
        ):
            calls = [call for one in (channel, bare) for call in aio_calls(one, **how)]
            outcomes = [asyncio.create_task(outcome_of(call)) for call in calls]
            if wanted == "OK":
                await asyncio.to_thread(late.come, channel)
            return await asyncio.gather(*outcomes)

    with ExitStack() as stack:
        assert asyncio.run(play(Late(shop, stack))) == [wanted] * 8


@pytest.mark.parametrize("timeout", [math.inf, -math.inf, math.nan, -1, 1e12, 1e300])
def test_seconds_that_nobody_can_wait_are_over_at_once_as_with_bare_grpc(
    shop: Shop, timeout: float
) -> None:
    async def play(caller: pki.Workload, address: str) -> list[str]:
        async with caller.channel(address, peer="server") as channel:
            return [await outcome_of(call) for call in aio_calls(channel, timeout=timeout)]

    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
        grpc.secure_channel(address, **caller.channel_arguments("server")) as bare,
    ):
        for one in (channel, bare):
            found = [outcome(call) for call in sync_calls(one, timeout=timeout)]
            assert found == ["DEADLINE_EXCEEDED"] * 5
        assert asyncio.run(play(caller, address)) == ["DEADLINE_EXCEEDED"] * 4


def test_a_century_is_no_limit(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        assert [outcome(call) for call in sync_calls(channel, timeout=3e9)] == ["OK"] * 5


@pytest.mark.parametrize("kind", ["stream", "future"])
def test_a_first_call_that_waits_for_a_server_is_cancelled_as_with_bare_grpc(
    shop: Shop, kind: str
) -> None:
    with ExitStack() as stack:
        late = Late(shop, stack)
        bare = stack.enter_context(
            grpc.secure_channel(late.address, **late.caller.channel_arguments("server"))
        )
        channel = stack.enter_context(late.caller.sync_channel(late.address, peer="server"))
        for one in (channel, bare):
            stub = inventory_pb2_grpc.InventoryStub(one)
            call: Any = (
                stub.WatchStock(inv.WatchStockRequest(), wait_for_ready=True)
                if kind == "stream"
                else stub.GetStock.future(inv.GetStockRequest(), wait_for_ready=True)
            )
            assert call.cancel()
            assert call.code() is grpc.StatusCode.CANCELLED
            assert call.cancelled()


def test_without_retries_in_grpc_there_are_none_before_it(shop: Shop) -> None:
    with ExitStack() as stack:
        late = Late(shop, stack)
        for key, off in (("grpc.enable_retries", 0), (b"grpc.enable_retries", 0)):
            options = [*options_of(RETRY, b"grpc.service_config"), (key, off)]
            channel = stack.enter_context(
                late.caller.sync_channel(late.address, peer="server", options=options)
            )
            assert outcome(sync_calls(channel)[0]) == "UNAVAILABLE"


def test_a_call_on_a_closed_asyncio_channel_is_told_so_and_ends_no_process(shop: Shop) -> None:
    """gRPC's own channel, asked for a new callable after that, reads memory that was freed."""

    async def play(caller: pki.Workload, address: str) -> None:
        for used in (False, True):
            channel: Any = caller.channel(address, peer="server")
            stub = inventory_pb2_grpc.InventoryStub(channel)
            if used:
                await stub.GetStock(inv.GetStockRequest())
            waiting = [stub.GetStock(inv.GetStockRequest()) for _ in range(3)]
            await channel.close()
            for call in waiting:
                with pytest.raises(
                    (grpc.aio.UsageError, grpc.aio.AioRpcError, asyncio.CancelledError)
                ):
                    await call
            for method in (stub.GetStock, stub.WatchStock):
                with pytest.raises(grpc.aio.UsageError, match="closed"):
                    await method(inv.GetStockRequest())

    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
    ):
        asyncio.run(play(caller, address))
