"""Streams of refused peers end whatever their handler does; nothing is read before judgement."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

import pki
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import (
    SECONDS,
    AioInventory,
    PlainInventory,
    Shop,
    ended,
    eventually,
    get_stock,
    reason,
    refused,
    revoke,
    watch,
)

KINDS = pytest.mark.parametrize("kind", ["aio", "sync"])
ASKED, WATCHED = inv.GetStockRequest(), inv.WatchStockRequest()
STREAMS = 8


class Busy(AioInventory):
    """Gives messages as fast as they go."""

    async def WatchStock(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for number in itertools.count(1):
            yield inv.WatchStockResponse(quantity=number)


class Ticking(AioInventory):
    """Gives a message every few milliseconds."""

    async def WatchStock(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for number in itertools.count(1):
            yield inv.WatchStockResponse(quantity=number)
            await asyncio.sleep(0.005)


class LosingCancellations(AioInventory):
    """Waits as many do: in Python 3.11 ``wait_for`` loses a cancellation that meets an answer."""

    async def WatchStock(self, request: Any, context: Any) -> AsyncIterator[Any]:
        queue: asyncio.Queue[int] = asyncio.Queue()

        async def feed() -> None:
            for number in itertools.count(1):
                queue.put_nowait(number)
                await asyncio.sleep(0.0005)

        feeding = asyncio.ensure_future(feed())
        try:
            while True:
                number = await asyncio.wait_for(queue.get(), 1)
                yield inv.WatchStockResponse(quantity=number)
        finally:
            feeding.cancel()


class Deaf(AioInventory):
    """Takes no cancellation for an answer, and writes by itself."""

    async def WatchStock(self, request: Any, context: Any) -> None:  # type: ignore[override]
        for number in range(1, 200):
            try:
                await context.write(inv.WatchStockResponse(quantity=number))
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue


@pytest.mark.parametrize("inventory", [Busy(), Ticking(), LosingCancellations(), Deaf()])
def test_every_stream_of_a_revoked_peer_ends_with_its_reason(
    shop: Shop, inventory: AioInventory
) -> None:
    found: list[str] = []

    def read(stream: Any) -> None:
        found.append(ended(stream))

    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=inventory) as address,
        shop.workload("caller") as caller,
        # Bare gRPC at the other end: nothing of ours there ends the stream.
        grpc.secure_channel(address, **caller.channel_arguments("server")) as channel,
    ):
        threads = [threading.Thread(target=read, args=(watch(channel),)) for _ in range(STREAMS)]
        for thread in threads:
            thread.start()
        revoke(shop, "caller")
        for thread in threads:
            thread.join(SECONDS)
        assert found == ["CERTIFICATE_REVOKED"] * STREAMS


def test_a_stream_that_is_ended_twice_at_once_ends_with_its_reason(shop: Shop) -> None:
    class Revoking(AioInventory):
        """Has streams judged again twice, before any of their tasks goes on."""

        async def GetStock(self, request: Any, context: Any) -> Any:
            revoke(shop, "caller")
            me.reload()
            me._provider._recheck()
            return await super().GetStock(request, context)

    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=Revoking()) as address,
        shop.workload("caller") as caller,
        grpc.secure_channel(address, **caller.channel_arguments("server")) as channel,
        shop.workload("reader", policy=None) as reader,
        reader.sync_channel(address, peer="server") as other,
    ):
        streams = [watch(channel) for _ in range(STREAMS)]
        assert get_stock(other) > 0
        assert [ended(stream) for stream in streams] == ["CERTIFICATE_REVOKED"] * STREAMS


def test_a_generator_is_closed_when_its_stream_is_ended(shop: Shop) -> None:
    closed = threading.Event()

    class Tidy(AioInventory):
        async def WatchStock(self, request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                yield inv.WatchStockResponse(quantity=1)
                await asyncio.sleep(SECONDS)
            finally:
                closed.set()

    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=Tidy()) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream = watch(channel)
        revoke(shop, "caller")
        assert ended(stream) == "CERTIFICATE_REVOKED"
        assert closed.wait(SECONDS)


def test_a_plain_function_reads_no_more_of_a_revoked_peer(shop: Shop) -> None:
    taken: list[float] = []

    class Greedy(PlainInventory):
        def Restock(self, request_iterator: Any, context: Any) -> inv.RestockResponse:
            for _ in request_iterator:
                taken.append(time.monotonic())
            return inv.RestockResponse(units=len(taken))

    over = threading.Event()

    def requests() -> Iterator[inv.RestockRequest]:
        while not over.wait(0.01):
            yield inv.RestockRequest(quantity=1)

    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=Greedy()) as address,
        shop.workload("caller") as caller,
        grpc.secure_channel(address, **caller.channel_arguments("server")) as channel,
    ):
        call = inventory_pb2_grpc.InventoryStub(channel).Restock.future(requests())
        assert eventually(lambda: len(taken) > 3)
        revoke(shop, "caller")
        assert refused(lambda: call.result(SECONDS)) == "CERTIFICATE_REVOKED"
        over.set()


# What a caller sends is read once it was judged


class Raw:
    """Messages that are no protobuf."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def send(self, method: str, *, stream: bool = False) -> bytes:
        make: Any = self._channel.unary_stream if stream else self._channel.unary_unary
        call: Any = make(f"/shop.v1.Inventory/{method}")(b"\xff" * 64, timeout=SECONDS)
        return next(call) if stream else call  # type: ignore[no-any-return]


@pytest.mark.parametrize("serving", ["aio", "plain functions", "sync"])
def test_what_a_stranger_sends_is_not_even_decoded(
    shop: Shop, serving: str, caplog: pytest.LogCaptureFixture
) -> None:
    how = {"inventory": PlainInventory()} if serving == "plain functions" else {}
    with (
        shop.workload("server") as me,
        shop.server("sync" if serving == "sync" else "aio", me, **how) as address,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(address, peer="server") as channel,
    ):
        raw = Raw(channel)
        told = {
            refused(lambda: raw.send("GetStock")),
            refused(lambda: raw.send("WatchStock", stream=True)),
            refused(lambda: raw.send("NoSuchMethod")),
        }
        assert told == {"NO_ROLE"}
        assert "decode" not in caplog.text


@KINDS
def test_what_a_friend_sends_wrong_is_told_as_grpc_tells_it(shop: Shop, kind: str) -> None:
    expected = {"aio": grpc.StatusCode.UNKNOWN, "sync": grpc.StatusCode.INTERNAL}[kind]
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        for method, stream in (("GetStock", False), ("WatchStock", True)):
            with pytest.raises(grpc.RpcError) as caught:
                Raw(channel).send(method, stream=stream)
            assert caught.value.code() is expected
        assert get_stock(channel) > 0


class AioFailing(grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        raise ValueError("secret of the app")


class SyncFailing(grpc.ServerInterceptor):
    def intercept_service(self, continuation: Any, details: Any) -> Any:
        raise ValueError("secret of the app")


@KINDS
def test_an_interceptor_that_fails_tells_a_stranger_nothing(shop: Shop, kind: str) -> None:
    failing: object = AioFailing() if kind == "aio" else SyncFailing()
    with (
        shop.workload("server") as me,
        shop.server(kind, me, interceptors=[failing]) as address,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(address, peer="server") as foreign,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(foreign)
        assert reason(caught.value) == "NO_ROLE"
        assert "secret" not in (caught.value.details() or "")
        assert refused(lambda: get_stock(channel)) == "UNKNOWN"


# Streams that nobody holds


def test_a_stream_that_its_caller_drops_is_cancelled_as_with_grpc(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        get_stock(channel)
        for _ in range(3):
            for message in inventory_pb2_grpc.InventoryStub(channel).WatchStock(WATCHED):
                assert message.quantity > 0
                break
        gc.collect()
        assert eventually(lambda: running(me) == 0)
        assert eventually(lambda: not channel.connections.streams)


def running(me: pki.Workload) -> int:
    """Return how many streams run in a workload's servers."""
    return me._servers.running_streams
