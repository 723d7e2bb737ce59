"""A workload that was closed follows nothing more, so nothing goes through what was made of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest

import pki
from pki.errors import StateError
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import (
    SECONDS,
    Shop,
    ended,
    eventually,
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
        assert ended(stream) == "SERVER_UNVERIFIED"
        wanted = "POLICY_UNAVAILABLE" if policy else "SERVER_UNVERIFIED"
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
                assert reason(caught.value) == "SERVER_UNVERIFIED"

    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller", policy=None) as caller,
    ):
        asyncio.run(play(caller, address))


async def _answer(stub: Any) -> Any:
    return await stub.GetStock(inv.GetStockRequest())


def pem_of(shop: Shop, name: str) -> dict[str, Any]:
    folder = shop.directory(name)
    return {
        "key": (folder / "key.pem").read_bytes(),
        "chain": (folder / "chain.pem").read_bytes(),
        "bundle": (folder / "bundle.pem").read_bytes(),
        "crls": (folder / "crl.pem").read_bytes(),
    }


def test_what_was_closed_stays_closed_whatever_is_brought_to_it(shop: Shop) -> None:
    source = pki.PemSource(**pem_of(shop, "server"))
    with (
        pki.Workload.from_source(source, policy=shop.policy) as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        me.close()
        assert refused(lambda: get_stock(channel)) == "POLICY_UNAVAILABLE"
        source.replace(**pem_of(shop, "server"))
        with pytest.raises(StateError, match="is closed"):
            me.reload()
        assert refused(lambda: get_stock(channel)) == "POLICY_UNAVAILABLE"


MADE: dict[str, Callable[[pki.Workload], object]] = {
    "server": lambda me: me.server(),
    "sync_server": lambda me: me.sync_server(),
    "interceptor": lambda me: me.interceptor(),
    "sync_interceptor": lambda me: me.sync_interceptor(),
    "server_credentials": lambda me: me.server_credentials("127.0.0.1:8443"),
    "channel": lambda me: me.channel("127.0.0.1:1", peer="server"),
    "sync_channel": lambda me: me.sync_channel("127.0.0.1:1", peer="server"),
    "channel_arguments": lambda me: me.channel_arguments("server"),
    "credential": lambda me: me.credential,
    "reload": lambda me: me.reload(),
    "server with a policy of its own": lambda me: me.server(policy="policy.toml"),
    "sync_server with an interceptor": lambda me: me.sync_server(interceptors=[]),
}


@pytest.mark.parametrize("made", MADE)
def test_nothing_is_made_of_a_closed_workload(shop: Shop, made: str) -> None:
    async def play(me: pki.Workload) -> None:
        with pytest.raises(StateError, match="this Workload is closed"):
            MADE[made](me)

    with shop.workload("server") as me:
        pass
    asyncio.run(play(me))


def test_a_server_that_was_not_started_in_time_does_not_start(shop: Shop) -> None:
    async def play(me: pki.Workload) -> None:
        server = me.server()
        me.close()
        with pytest.raises(StateError, match="this Workload is closed"):
            server.add_secure_port("127.0.0.1:0")
        with pytest.raises(StateError, match="this Workload is closed"):
            await server.start()

    with shop.workload("server") as me:
        server = me.sync_server()
        asyncio.run(play(me))
        with pytest.raises(StateError, match="this Workload is closed"):
            server.start()
        with pytest.raises(StateError, match="this Workload is closed"):
            server.add_secure_port("127.0.0.1:0")


def test_what_needs_no_open_workload_says_so(shop: Shop) -> None:
    with shop.workload("server") as me:
        assert me.problems == ()
    me.close()
    assert "is closed" in " ".join(me.problems)
    assert str(me.spiffe_id) == "spiffe://shop.internal/server"


def test_a_closed_channel_looks_at_its_server_no_more(shop: Shop) -> None:
    def looks(caller: pki.Workload) -> int:
        return sum(caller._counters.verifications().values())

    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
    ):
        channel = caller.sync_channel(address, peer="server")
        assert get_stock(channel) > 0
        channel.close()
        before = looks(caller)
        fresh = shop.ca.issue("caller")
        fresh.save(shop.home / "caller")
        assert eventually(lambda: caller.credential.leaf == fresh.leaf)
        with caller.sync_channel(address, peer="server") as other:
            assert get_stock(other) > 0
            # A second rotation, and the open channel's look after it: the closed one had its time.
            shop.ca.issue("caller").save(shop.home / "caller")
            assert eventually(lambda: looks(caller) >= before + 2)
        assert not channel.connections.checks.accepted
        with pytest.raises(ValueError, match="closed"):
            get_stock(channel)


def test_closing_a_channel_gives_its_calls_their_grace_on_old_connections_too(shop: Shop) -> None:
    async def play(caller: pki.Workload, address: str) -> None:
        channel = caller.channel(address, peer="server")
        stub = inventory_pb2_grpc.InventoryStub(channel)
        stream: Any = stub.WatchStock(inv.WatchStockRequest())
        assert (await stream.read()).quantity > 0
        rotation = channel.connections.rotation
        shop.ca.issue("caller").save(shop.home / "caller")
        for _ in range(500):
            await asyncio.sleep(0.02)
            if "draining" in rotation.states():
                break
        assert "draining" in rotation.states()
        begun = time.monotonic()
        await channel.close(0.5)
        assert time.monotonic() - begun >= 0.4, "the stream had its grace"
        assert stream.done()

    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller") as caller,
    ):
        asyncio.run(play(caller, address))
