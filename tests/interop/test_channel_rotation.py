"""Channels that follow their workload's credential under load, without a failed call."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

import pki
from pki.rpc.client.verification.probe import probe_server
from pki.tls.target import Target
from services._proto.shop.v1 import (
    inventory_pb2 as inv,
)
from services._proto.shop.v1 import (
    inventory_pb2_grpc,
)
from tests.interop.shop import SECONDS, AioInventory, Shop, eventually, get_stock

ROTATIONS = 6


class Recorder(AioInventory):
    """Keeps the serial numbers that callers showed."""

    def __init__(self) -> None:
        self.serials: set[int] = set()

    def saw(self, serial: int) -> bool:
        """Wait until a caller showed this serial number."""
        return eventually(lambda: serial in self.serials)

    async def GetStock(self, request: inv.GetStockRequest, context: object) -> inv.GetStockResponse:
        self.serials.add(pki.peer().serial)
        return inv.GetStockResponse(quantity=1)


def renew(shop: Shop, workload: pki.Workload, name: str) -> int:
    """Renew a credential on disk; wait until it is in force."""
    issued = shop.ca.renew(workload.credential.leaf)
    issued.save(shop.directory(name))
    assert eventually(lambda: workload.credential.leaf == issued.leaf)
    return issued.leaf.serial_number


def test_no_synchronous_call_fails_while_both_sides_rotate(shop: Shop) -> None:
    seen = Recorder()
    failed: list[grpc.RpcError] = []
    calls = [0]
    done = threading.Event()
    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=seen) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):

        def call() -> None:
            while not done.is_set():
                try:
                    get_stock(channel)
                    calls[0] += 1
                except grpc.RpcError as error:
                    failed.append(error)

        stream = inventory_pb2_grpc.InventoryStub(channel).WatchStock(inv.WatchStockRequest())
        next(stream)
        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        shown = set()
        for _ in range(ROTATIONS):
            serial = renew(shop, caller, "caller")
            renew(shop, me, "server")
            shown.add(serial)
            assert seen.saw(serial)
        done.set()
        for thread in threads:
            thread.join()
        assert not failed, [(error.code(), error.details()) for error in failed[:3]]
        assert calls[0] > 50
        assert shown <= seen.serials
        assert stream.is_active(), "a running stream stays where it began"
        stream.cancel()
        rotation = channel.connections.rotation
        assert eventually(lambda: list(rotation) == [rotation.current]), "the old ones are closed"


def test_no_asyncio_call_fails_while_both_sides_rotate(shop: Shop) -> None:
    seen = Recorder()

    async def play(target: str, me: pki.Workload, caller: pki.Workload) -> int:
        calls = 0
        done = asyncio.Event()

        async def call(channel: grpc.aio.Channel) -> None:
            nonlocal calls
            stub = inventory_pb2_grpc.InventoryStub(channel)
            while not done.is_set():
                await stub.GetStock(inv.GetStockRequest(), timeout=SECONDS)
                calls += 1

        async with caller.channel(target, peer="server") as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            stream = stub.WatchStock(inv.WatchStockRequest())
            await stream.read()
            running = [asyncio.create_task(call(channel)) for _ in range(4)]
            for _ in range(ROTATIONS):
                serial = await asyncio.to_thread(renew, shop, caller, "caller")
                await asyncio.to_thread(renew, shop, me, "server")
                assert await asyncio.to_thread(seen.saw, serial)
            done.set()
            await asyncio.gather(*running)
            assert not stream.done(), "a running stream stays where it began"
            stream.cancel()
        return calls

    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=seen) as target,
        shop.workload("caller") as caller,
    ):
        assert asyncio.run(play(target, me, caller)) > 50


class Relay(socketserver.ThreadingTCPServer):
    """Passes bytes on to a server, and counts the connections that were made through it."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        """Listen on a port of its own; begin with :func:`counting_relay`."""
        host, port = target.rsplit(":", 1)
        self.server = host, int(port)
        self.connections = 0
        super().__init__(("127.0.0.1", 0), _Passing)


class _Passing(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        self.server.connections += 1
        with socket.create_connection(self.server.server) as there, suppress(OSError):
            back = threading.Thread(target=_pass_on, args=(there, self.request), daemon=True)
            back.start()
            _pass_on(self.request, there)
            back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def counting_relay(target: str) -> Iterator[Relay]:
    with Relay(target) as relay:
        thread = threading.Thread(target=relay.serve_forever, daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()


@contextmanager
def calling(kind: str, caller: pki.Workload, target: str) -> Iterator[tuple[Any, Any]]:
    """Make a channel of either kind; give it, and what makes one call on it."""
    if kind == "sync":
        with caller.sync_channel(target, peer="server") as channel:
            yield channel, lambda: get_stock(channel)
        return
    with asyncio.Runner() as runner:
        opened = caller.channel(target, peer="server")

        async def call() -> None:
            stub = inventory_pb2_grpc.InventoryStub(opened)
            await stub.GetStock(inv.GetStockRequest(), timeout=SECONDS)

        yield opened, lambda: runner.run(call())
        runner.run(opened.close())


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_when_both_sides_have_rotated_the_caller_connects_once(shop: Shop, kind: str) -> None:
    seen = Recorder()
    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=seen) as target,
        counting_relay(target) as relay,
        shop.workload("caller") as caller,
        calling(kind, caller, f"127.0.0.1:{relay.server_address[1]}") as (channel, call),
    ):
        call()
        before = relay.connections
        rotation = channel.connections.rotation
        renew(shop, me, "server")
        assert eventually(lambda: presented(target, caller) == me.credential.leaf)
        serial = renew(shop, caller, "caller")

        def is_over_to_both() -> bool:
            call()
            leaves = [chain.leaf for chain in rotation.current.verified.values()]
            is_alone = list(rotation) == [rotation.current]
            return serial in seen.serials and leaves == [me.credential.leaf] and is_alone

        assert eventually(is_over_to_both, SECONDS)
        assert relay.connections - before == 2, "a probe, and a connection"


def presented(target: str, caller: pki.Workload) -> x509.Certificate:
    """Return the leaf that the server's port presents now."""
    name, roots = "server.shop.internal", caller.credential.bundle.all_roots()
    return probe_server(Target.parse(target), name, caller.credential, roots, seconds=SECONDS)[0]


def test_a_channel_made_before_a_renewal_and_used_after_it_shows_the_new_leaf(shop: Shop) -> None:
    seen = Recorder()

    async def play(target: str, caller: pki.Workload) -> None:
        async with caller.channel(target, peer="server") as channel:
            serial = await asyncio.to_thread(renew, shop, caller, "caller")
            stub = inventory_pb2_grpc.InventoryStub(channel)
            await stub.GetStock(inv.GetStockRequest(), timeout=SECONDS)
            assert seen.serials == {serial}

    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=seen) as target,
        shop.workload("caller") as caller,
    ):
        asyncio.run(play(target, caller))


def test_connectivity_is_told_across_a_rotation(shop: Shop) -> None:
    states: list[grpc.ChannelConnectivity] = []
    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=Recorder()) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        channel.subscribe(states.append, try_to_connect=True)
        get_stock(channel)
        before = len(states)
        renew(shop, caller, "caller")
        assert eventually(lambda: len(states) > before)
        channel.unsubscribe(states.append)
        channel.unsubscribe(states.append)
        time.sleep(0.1)
        get_stock(channel)


def test_a_channel_keeps_its_credential_if_its_peer_is_trusted_no_more(
    shop: Shop, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=Recorder()) as target,
        shop.workload("caller") as caller,
    ):
        with pki.Authority.create(tmp_path / "elsewhere", "other.test") as other:
            bundle = (shop.home / "ca" / "bundle.pem").read_bytes()
            both = bundle + (other.path / "bundle.pem").read_bytes()
        folder = shop.directory("caller")
        (folder / "bundle.pem").write_bytes(both)
        caller.reload()
        with caller.sync_channel(target, peer="spiffe://other.test/server", policy=shop.policy):
            (folder / "bundle.pem").write_bytes(bundle)
            caller.reload()
            assert eventually(lambda: "keeps its old connection and credential" in caplog.text)
