"""Calls whose connection is ended between the moment they chose it and the moment they begin."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import pki
from pki.access.refusal import CREDENTIAL_ENDED
from pki.rpc.client.channel_sync import SyncChannel
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc, payments_pb2_grpc
from services._proto.shop.v1 import payments_pb2 as pay
from tests.interop.shop import SECONDS, AioInventory, Shop, eventually, free_port, get_stock

ROOT = Path(__file__).parents[2]
CALLS: dict[str, Callable[[grpc.Channel], object]] = {
    "unary": get_stock,
    "with_call": lambda channel: inventory_pb2_grpc.InventoryStub(channel).GetStock.with_call(
        inv.GetStockRequest(), timeout=SECONDS
    ),
    "future": lambda channel: (
        inventory_pb2_grpc.InventoryStub(channel)
        .GetStock.future(inv.GetStockRequest(), timeout=SECONDS)
        .result()
    ),
    "stream of responses": lambda channel: next(
        inventory_pb2_grpc.InventoryStub(channel).WatchStock(
            inv.WatchStockRequest(), timeout=SECONDS
        )
    ),
    "stream of requests": lambda channel: inventory_pb2_grpc.InventoryStub(channel).Restock(
        iter([inv.RestockRequest(quantity=1)]), timeout=SECONDS
    ),
    "streams both ways": lambda channel: next(
        payments_pb2_grpc.PaymentsStub(channel).Settle(
            iter([pay.SettleRequest(order_id="1")]), timeout=SECONDS
        )
    ),
}


def end_after_choice(channel: SyncChannel) -> list[str]:
    """Let the present connection end, as another thread might, once the next call has chosen it.

    A call that has chosen a connection looks whether it was made anew, which is that moment.
    """
    connection = channel.connections.rotation.current
    check_ready = connection.check_ready
    ended: list[str] = []

    def end_and_check(connect: bool) -> bool:
        if not connect and not ended and connection._running:
            ended.append("ended")
            connection.end(CREDENTIAL_ENDED)
        return check_ready(connect)

    connection.check_ready = end_and_check
    channel.connections._look_again_at = 0.0
    return ended


@pytest.mark.parametrize("is_known", [True, False], ids=["known method", "new method"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_that_lost_its_connection_before_it_was_sent_takes_the_next_one(
    shop: Shop, call: Callable[[grpc.Channel], object], is_known: bool
) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        if is_known:
            call(channel)
        else:
            grpc.channel_ready_future(channel).result(SECONDS)
            channel.connections.checks.request_round()
            assert eventually(lambda: bool(channel.connections.checks.accepted))
            channel.connections.advance()
        ended = end_after_choice(channel)
        call(channel)
        assert ended, "the call was to lose its connection"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_channel_that_its_owner_closes_meanwhile_is_reported_as_grpc_reports_it(
    shop: Shop, call: Callable[[grpc.Channel], object]
) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        call(channel)
        connection = channel.connections.rotation.current
        check_ready = connection.check_ready

        def close_and_check(connect: bool) -> bool:
            connection.check_ready = check_ready
            channel.close()
            return check_ready(connect)

        connection.check_ready = close_and_check
        channel.connections._look_again_at = 0.0
        with pytest.raises(ValueError, match="closed"):
            call(channel)


class Serials(AioInventory):
    """Keeps the serial numbers that callers showed."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def saw(self, serial: int) -> bool:
        """Wait until a caller showed this serial number."""
        return eventually(lambda: serial in self.seen, SECONDS)

    async def GetStock(self, request: inv.GetStockRequest, context: object) -> inv.GetStockResponse:
        self.seen.add(pki.peer().serial)
        return inv.GetStockResponse(quantity=1)


@contextmanager
def crowd(shop: Shop, target: str, drain: str) -> Iterator[tuple[Any, dict[str, int]]]:
    """Run a process with many threads that call; its outcomes are there at the end."""
    outcomes: dict[str, int] = {}
    command = [sys.executable, "-m", "tests.interop.crowded_channel", target]
    with subprocess.Popen(
        [*command, str(shop.directory("caller")), str(shop.policy), drain],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "calling\n"
        yield process, outcomes
        output, _ = process.communicate()
    assert process.returncode == 0
    outcomes.update(json.loads(output))


@pytest.mark.parametrize(
    ("drain", "allowed"),
    [("none", {"answered"}), ("0", {"answered", "CREDENTIAL_ENDED"})],
)
def test_no_call_of_many_threads_is_lost_while_the_credential_rotates_without_rest(
    shop: Shop, drain: str, allowed: set[str]
) -> None:
    seen = Serials()
    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=seen) as target,
        crowd(shop, target, drain) as (process, outcomes),
    ):
        leaf = shop.ca.issue("caller")
        for _ in range(25):
            leaf.save(shop.directory("caller"))
            assert seen.saw(leaf.leaf.serial_number)
            assert process.poll() is None
            leaf = shop.ca.renew(leaf.leaf)
    assert outcomes["answered"] > 100
    assert set(outcomes) <= allowed


@pytest.mark.parametrize("watch", ["channel_ready", "wait_for_state_change"])
def test_who_waits_for_a_server_that_is_down_waits_on_while_the_credential_changes(
    shop: Shop, watch: str
) -> None:
    target = f"127.0.0.1:{free_port()}"

    async def play(caller: pki.Workload, me: pki.Workload) -> None:
        async with caller.channel(target, peer="server") as channel:
            with shop.sync_server(me, target):
                await channel.channel_ready()
            waiting = asyncio.create_task(
                channel.channel_ready() if watch == "channel_ready" else see_ready(channel)
            )
            begun_on = channel.connections.rotation.current
            await asyncio.to_thread(change_credential, shop, caller)
            async with asyncio.timeout(SECONDS):
                while not begun_on.is_over:
                    await asyncio.sleep(0.01)
                    channel.connections.advance()
            await asyncio.sleep(0.1)
            assert not waiting.done(), waiting.exception()
            with shop.sync_server(me, target):
                await asyncio.wait_for(waiting, 2 * SECONDS)
        with pytest.raises(grpc.aio.UsageError, match="closed"):
            await channel.channel_ready()
        assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN

    with shop.workload("caller") as caller, shop.workload("server") as me:
        asyncio.run(play(caller, me))


async def see_ready(channel: grpc.aio.Channel) -> None:
    await asyncio.sleep(0.1)  # until gRPC has noticed that the server has gone
    while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
        assert state is not grpc.ChannelConnectivity.SHUTDOWN
        await channel.wait_for_state_change(state)


def change_credential(shop: Shop, caller: pki.Workload) -> None:
    issued = shop.ca.renew(caller.credential.leaf)
    issued.save(shop.directory("caller"))
    assert eventually(lambda: caller.credential.leaf == issued.leaf)


def test_a_future_of_readiness_is_kept_while_the_credential_changes(shop: Shop) -> None:
    target = f"127.0.0.1:{free_port()}"
    with (
        shop.workload("caller") as caller,
        shop.workload("server") as me,
        caller.sync_channel(target, peer="server") as channel,
    ):
        ready = grpc.channel_ready_future(channel)
        begun_on = channel.connections.rotation.current
        change_credential(shop, caller)
        assert eventually(lambda: channel.connections.rotation.current is not begun_on)
        with shop.aio_server(me, target):
            ready.result(2 * SECONDS)
