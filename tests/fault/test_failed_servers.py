"""gRPC's asyncio server falls over a path that is not UTF-8; ours does not, whoever sends it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path
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
    Shop,
    eventually,
    get_stock,
    refused,
    revoke,
    watch,
)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def header(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def call_with_path(address: str, folder: Path, path: bytes) -> None:
    """Make one call over HTTP/2 by hand, with the certificate in a folder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    headers = (
        header(b":method", b"POST")
        + header(b":scheme", b"https")
        + header(b":path", path)
        + header(b":authority", b"server")
        + header(b"content-type", b"application/grpc")
        + header(b"te", b"trailers")
    )
    host, port = address.split(":")
    with (
        socket.create_connection((host, int(port)), SECONDS) as plain,
        context.wrap_socket(plain) as wrapped,
        contextlib.suppress(OSError),
    ):
        wrapped.settimeout(SECONDS)
        wrapped.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(4, 0, 0, b"")
            + frame(1, 4, 1, headers)
            + frame(0, 1, 1, bytes(5))
        )
        # Until the call has its answer: headers that end its stream, whatever is in them.
        received = b""
        while part := wrapped.recv(4096):
            received += part
            if _ends_stream(received):
                return


def _ends_stream(received: bytes) -> bool:
    while len(received) >= 9:
        length, kind, flags = int.from_bytes(received[:3], "big"), received[3], received[4]
        if kind == 1 and flags & 1:
            return True
        received = received[9 + length :]
    return False


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_a_path_that_is_not_utf_8_ends_nothing(
    shop: Shop, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream = watch(channel)
        before = threading.active_count()
        stranger = shop.directory("stranger")
        for _ in range(20):
            call_with_path(address, stranger, b"/shop.v1.Inventory/\xff\xfe")
            assert get_stock(channel) > 0, "no connection was ended"
        revoke(shop, "stranger")
        call_with_path(address, stranger, b"/\xff")
        assert get_stock(channel) > 0
        if kind == "aio":
            line = next(item for item in caplog.messages if "not UTF-8" in item)
            assert "spiffe://shop.internal/stranger" in line
            assert '"NO_ROLE"' in line
        stream.cancel()
        assert threading.active_count() <= before + 2
        # It judges as before, and follows its certificate as before.
        with (
            shop.workload("other", policy=None) as other,
            other.sync_channel(address, peer="server") as foreign,
        ):
            assert refused(lambda: get_stock(foreign, wait_for_ready=True)) == "NO_ROLE"
        fresh = shop.ca.issue("server")
        fresh.save(shop.home / "server")
        assert eventually(lambda: serial_shown(address, stranger) == fresh.leaf.serial_number)


def serial_shown(address: str, folder: Path) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folder / "bundle.pem")
    context.check_hostname = False
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    host, port = address.split(":")
    with (
        socket.create_connection((host, int(port)), SECONDS) as plain,
        context.wrap_socket(plain) as wrapped,
    ):
        found = wrapped.getpeercert()
        assert found is not None
        return int(str(found["serialNumber"]), 16)


class Passing(grpc.aio.ServerInterceptor):
    """An interceptor of the user's own: the gate is one too, then."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        return await continuation(details)


def _failing(_front: object) -> Any:
    raise RuntimeError("no call can be taken")


@pytest.mark.parametrize("interceptors", [[], [Passing()]])
def test_a_server_that_fell_stops_and_is_waited_for_as_any_other(
    shop: Shop, interceptors: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(me: pki.Workload, caller: pki.Workload) -> None:
        server = me.server(interceptors=interceptors)
        inventory_pb2_grpc.add_InventoryServicer_to_server(AioInventory(), server)
        number = server.add_secure_port("127.0.0.1:0")
        await server.start()
        address = f"127.0.0.1:{number}"
        async with caller.channel(address, peer="server") as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            stream: Any = stub.WatchStock(inv.WatchStockRequest())
            assert (await stream.read()).quantity > 0
            # Whatever else it may fall over: its loop asks for the next call, and that fails.
            monkeypatch.setattr("pki.rpc.server.dispatcher_aio._Server.accept_call", _failing)
            await asyncio.to_thread(call_with_path, address, shop.directory("stranger"), b"/a/b")
            monkeypatch.undo()
            assert await server.wait_for_termination(0.5), "it has not stopped"
            asked = inv.GetStockRequest()
            answer = await stub.GetStock(asked, wait_for_ready=True, timeout=SECONDS)
            assert answer.quantity > 0
        waiting = asyncio.create_task(server.wait_for_termination())
        await server.stop(None)
        assert not await asyncio.wait_for(waiting, SECONDS)
        await server.stop(0.1)
        with socket.create_server(("127.0.0.1", number)):
            pass  # nobody listens there any more

    with shop.workload("server") as me, shop.workload("caller") as caller:
        asyncio.run(play(me, caller))
