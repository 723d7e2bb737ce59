"""How many calls of an asyncio server run, and that nothing is left of one that has ended."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

import pki
from pki.rpc.server.dispatcher_aio import _REQUESTED
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.fault.test_failed_servers import call_with_path
from tests.interop.shop import SECONDS, AioInventory, Shop

_MOST = 8
_LONG = 6 * SECONDS
# The most that a server asks gRPC's core for, the last that its loop accepted, and that of the
# server that waits for none.
_WAITING = _REQUESTED + 2


class Ways(AioInventory):
    """Ends each call in the way that the caller names."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.go_on = asyncio.Event()

    async def GetStock(self, request: inv.GetStockRequest, context: Any) -> inv.GetStockResponse:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._end(request.sku, context)
        finally:
            self.running -= 1

    async def _end(self, way: str, context: Any) -> inv.GetStockResponse:
        if way == "abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such item")
        if way == "abort in except":
            try:
                int(way)
            except ValueError:
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such item")
        if way == "abort, and go on":
            with contextlib.suppress(Exception):
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such item")
        if way == "raise":
            raise KeyError(way)
        if way == "callback":
            context.add_done_callback(lambda _: None)
        if way == "wait":
            await self.go_on.wait()
        return inv.GetStockResponse(quantity=1)


@contextlib.asynccontextmanager
async def served(
    me: pki.Workload, inventory: inventory_pb2_grpc.InventoryServicer, **how: Any
) -> AsyncIterator[tuple[grpc.aio.Server, str]]:
    server = me.server(**how)
    inventory_pb2_grpc.add_InventoryServicer_to_server(inventory, server)
    port = server.add_secure_port("127.0.0.1:0")
    await server.start()
    try:
        yield server, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def play(shop: Shop, scene: Callable[[pki.Workload, pki.Workload], Any]) -> None:
    with shop.workload("server") as me, shop.workload("caller") as caller:
        asyncio.run(scene(me, caller))


@pytest.fixture(autouse=True)
def no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest keeps what is logged, and with an error the frames that hold its call."""
    monkeypatch.setattr(logging.getLogger("grpc._cython.cygrpc"), "disabled", True)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is left over stays, for the test to count."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def states() -> int:
    return sum(type(item).__name__ == "RPCState" for item in gc.get_objects())


async def code_of(call: Any) -> grpc.StatusCode:
    """Wait for a call; give the code that it ended with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so that nobody tells."""
    async with asyncio.timeout(_LONG):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def idle() -> None:
    """Wait until no call runs: the last one ends a little after its caller has the answer."""
    await until(lambda: all(task.get_name() != "rpc_task" for task in asyncio.all_tasks()))


def ask(stub: Any, way: str = "", seconds: float = _LONG) -> Any:
    return stub.GetStock(inv.GetStockRequest(sku=way), timeout=seconds)


async def hold(stub: Any, number: int) -> list[Any]:
    """Begin streams that go on."""
    streams = [stub.WatchStock(inv.WatchStockRequest()) for _ in range(number)]
    for stream in streams:
        assert (await stream.read()).quantity > 0
    return streams


async def give_up(stub: Any, streams: list[Any]) -> None:
    """End streams; return when the server can take a call again."""
    for stream in streams:
        stream.cancel()
    async with asyncio.timeout(_LONG):
        while await code_of(ask(stub)) is grpc.StatusCode.RESOURCE_EXHAUSTED:
            pass


_WAYS = {
    "": grpc.StatusCode.OK,
    "abort": grpc.StatusCode.NOT_FOUND,
    "abort in except": grpc.StatusCode.NOT_FOUND,
    "abort, and go on": grpc.StatusCode.NOT_FOUND,
    "raise": grpc.StatusCode.UNKNOWN,
    "callback": grpc.StatusCode.OK,
}


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"maximum_concurrent_rpcs": _MOST},
        {"maximum_concurrent_rpcs": _MOST, "options": [("grpc.max_concurrent_streams", 10)]},
    ],
    ids=["no limit", "calls", "calls and streams"],
)
def test_nothing_is_left_of_a_call_that_has_ended(
    shop: Shop, way: str, limits: dict[str, Any]
) -> None:
    """grpcio 1.76 counted the stream of an aborted call until the garbage collector came.

    From 1.81 on it does not, and leaves the rest of such a call to the collector. So do we, if
    there is no limit for which we have to know when a call ends.
    """

    async def scene(me: pki.Workload, caller: pki.Workload) -> None:
        async with (
            served(me, Ways(), **limits) as (_, address),
            caller.channel(address, peer="server") as channel,
        ):
            stub = inventory_pb2_grpc.InventoryStub(channel)
            for _ in range(200):
                assert await code_of(ask(stub, way)) is _WAYS[way]
            await idle()
            if limits or not way.startswith(("abort", "callback")):
                assert states() <= before + _WAITING

    before = states()
    play(shop, scene)


def test_thousands_of_calls_within_the_limit_are_answered(shop: Shop) -> None:
    async def scene(me: pki.Workload, caller: pki.Workload) -> None:
        ways = Ways()
        async with (
            served(me, ways, maximum_concurrent_rpcs=_MOST) as (_, address),
            caller.channel(address, peer="server") as channel,
        ):
            stub = inventory_pb2_grpc.InventoryStub(channel)
            before = states()

            async def many() -> None:
                for _ in range(250):
                    for way, code in _WAYS.items():
                        assert await code_of(ask(stub, way)) is code

            # Half of them: a call ends at the server a little after its caller has the answer.
            await asyncio.gather(*(many() for _ in range(_MOST // 2)))
            assert ways.most <= _MOST
            await idle()
            gc.collect()
            assert states() <= before + _WAITING

    play(shop, scene)


def test_the_limit_is_the_same_after_thousands_of_calls_over_it(shop: Shop) -> None:
    """With grpcio 1.76 alone, each call that was refused let in one more."""

    async def scene(me: pki.Workload, caller: pki.Workload) -> None:
        ways = Ways()
        async with (
            served(me, ways, maximum_concurrent_rpcs=_MOST) as (_, address),
            caller.channel(address, peer="server") as channel,
        ):
            stub = inventory_pb2_grpc.InventoryStub(channel)
            for _ in range(3):
                streams = await hold(stub, _MOST)
                for _ in range(10):
                    ends = await asyncio.gather(*(code_of(ask(stub)) for _ in range(100)))
                    assert set(ends) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
                await give_up(stub, streams)
            calls = [ask(stub, "wait") for _ in range(200)]
            await until(lambda: ways.running >= _MOST)
            late = await asyncio.gather(*(code_of(ask(stub)) for _ in range(50)))
            assert set(late) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            ways.go_on.set()
            ends = await asyncio.gather(*(code_of(call) for call in calls))
            assert ends.count(grpc.StatusCode.OK) == ways.most == _MOST
            assert ends.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 200 - _MOST

    play(shop, scene)


def test_a_call_after_the_limit_was_reached_is_answered(shop: Shop) -> None:
    """Up to grpcio 1.83, gRPC decided on a call before it came."""

    async def scene(me: pki.Workload, caller: pki.Workload) -> None:
        async with (
            served(me, Ways(), maximum_concurrent_rpcs=1) as (_, address),
            caller.channel(address, peer="server") as channel,
        ):
            stub = inventory_pb2_grpc.InventoryStub(channel)
            for _ in range(20):
                [stream] = await hold(stub, 1)
                assert await code_of(ask(stub)) is grpc.StatusCode.RESOURCE_EXHAUSTED
                stream.cancel()
                await idle()
                assert await code_of(ask(stub)) is grpc.StatusCode.OK
                await idle()

    play(shop, scene)


def test_calls_that_their_callers_cancel_give_their_places_back(shop: Shop) -> None:
    async def scene(me: pki.Workload, caller: pki.Workload) -> None:
        ways = Ways()
        async with (
            served(me, ways, maximum_concurrent_rpcs=_MOST) as (_, address),
            caller.channel(address, peer="server") as channel,
        ):
            stub = inventory_pb2_grpc.InventoryStub(channel)
            for number in range(200):
                calls = [ask(stub, "wait") for _ in range(2 * _MOST)]
                for _ in range(number % 10):
                    await asyncio.sleep(0.001)
                for call in calls:
                    call.cancel()
            await give_up(stub, [])
            await until(lambda: ways.running == 0)
            assert ways.most <= _MOST
            await hold(stub, _MOST)
            assert await code_of(ask(stub)) is grpc.StatusCode.RESOURCE_EXHAUSTED

    play(shop, scene)


def test_paths_that_are_not_utf_8_do_not_raise_the_limit(shop: Shop) -> None:
    """Each makes a new dispatcher with grpcio 1.85.1; it must not begin to count anew."""

    async def scene(me: pki.Workload, caller: pki.Workload) -> None:
        async with (
            served(me, Ways(), maximum_concurrent_rpcs=_MOST) as (_, address),
            caller.channel(address, peer="server") as channel,
        ):
            stub = inventory_pb2_grpc.InventoryStub(channel)
            stranger = shop.directory("stranger")
            streams = await hold(stub, _MOST - 1)
            for _ in range(20):
                await asyncio.to_thread(call_with_path, address, stranger, b"/\xff")
            await give_up(stub, [])
            streams += await hold(stub, 1)
            assert await code_of(ask(stub)) is grpc.StatusCode.RESOURCE_EXHAUSTED
            await give_up(stub, streams)
            await hold(stub, _MOST)
            assert await code_of(ask(stub)) is grpc.StatusCode.RESOURCE_EXHAUSTED

    play(shop, scene)


def test_paths_that_are_not_utf_8_cost_no_other_call_its_answer(shop: Shop) -> None:
    async def scene(me: pki.Workload, caller: pki.Workload) -> None:
        async with (
            served(me, Ways()) as (_, address),
            caller.channel(address, peer="server") as channel,
        ):
            stub = inventory_pb2_grpc.InventoryStub(channel)
            stranger, done = shop.directory("stranger"), asyncio.Event()

            async def many() -> int:
                calls = 0
                while not done.is_set():
                    assert await code_of(ask(stub)) is grpc.StatusCode.OK
                    calls += 1
                return calls

            callers = [asyncio.create_task(many()) for _ in range(30)]
            for _ in range(50):
                await asyncio.to_thread(call_with_path, address, stranger, b"/\xff")
            done.set()
            assert min(await asyncio.gather(*callers)) > 0

    play(shop, scene)


def test_a_thousand_streams_that_begin_at_once_are_all_answered(shop: Shop) -> None:
    async def scene(me: pki.Workload, caller: pki.Workload) -> None:
        async with (
            served(me, Ways()) as (_, address),
            caller.channel(address, peer="server") as channel,
        ):
            stub = inventory_pb2_grpc.InventoryStub(channel)
            await hold(stub, 1000)

    play(shop, scene)


@pytest.mark.parametrize("limits", [{}, {"maximum_concurrent_rpcs": _MOST}])
def test_a_server_that_is_stopped_leaves_nothing(
    shop: Shop, limits: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Not the calls that it had asked gRPC's core for, and no error of theirs."""
    told: list[dict[str, Any]] = []

    async def scene(me: pki.Workload, caller: pki.Workload) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        for _ in range(5):
            async with (
                served(me, Ways(), **limits) as (_, address),
                caller.channel(address, peer="server") as channel,
            ):
                stub = inventory_pb2_grpc.InventoryStub(channel)
                for way in _WAYS:
                    await code_of(ask(stub, way))
                await hold(stub, 3)
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    gc.collect()
    before = states()
    play(shop, scene)
    gc.collect()
    assert states() <= before
    assert not told
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_calls_that_have_begun_are_answered_when_the_server_stops(shop: Shop) -> None:
    async def scene(me: pki.Workload, caller: pki.Workload) -> None:
        ways = Ways()
        async with (
            served(me, ways) as (server, address),
            caller.channel(address, peer="server") as channel,
        ):
            stub = inventory_pb2_grpc.InventoryStub(channel)
            begun = [asyncio.create_task(code_of(ask(stub, "wait"))) for _ in range(100)]
            await until(lambda: ways.running == len(begun))
            late = [asyncio.create_task(code_of(ask(stub, "wait"))) for _ in range(100)]
            stopping = asyncio.create_task(server.stop(_LONG))
            await asyncio.sleep(0)
            ways.go_on.set()
            assert set(await asyncio.gather(*begun)) == {grpc.StatusCode.OK}
            # Those that had not begun are answered or refused, as by gRPC's own server.
            refused = {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
            assert set(await asyncio.gather(*late)) <= {grpc.StatusCode.OK, *refused}
            await asyncio.wait_for(stopping, _LONG)

    play(shop, scene)
