"""gRPC's own connections are judged by the certificate that each was shown."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import grpc
import grpc.aio
import pytest

import pki
from pki.files import load_credential
from pki.keys import private_key_to_pem
from pki.rpc.client.verification import channelz
from pki.x509 import Credential
from pki.x509.readers import to_pem
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import SECONDS, Shop, eventually, free_port, get_stock, reason
from tests.interop.test_server_addresses import ROUND_ROBIN, calls_that_end_well, good
from tests.interop.test_server_verification import bare_server

BAD = 7  # what the bare server answers


def revoked_one(shop: Shop) -> Credential:
    """Issue one more certificate for the server, and revoke it."""
    folder = shop.home / "revoked"
    shop.ca.issue("server").save(folder)
    found = load_credential(folder).credential
    shop.ca.revoke(found.leaf.serial_number, reason="key-compromise")
    shop.bring_trust()
    return found


def serving(credential: Credential, port: int = 0) -> Any:
    return bare_server(
        private_key_to_pem(credential.key),
        to_pem(credential.chain),
        credential.bundle.to_pem(),
        port,
    )


def answer(channel: grpc.Channel) -> object:
    try:
        return get_stock(channel)
    except grpc.RpcError as error:
        return reason(error)


@pytest.mark.parametrize("others", [0, 2])
def test_a_process_that_takes_the_address_of_a_replica_gets_no_calls_for_long(
    shop: Shop, others: int
) -> None:
    bad, port = revoked_one(shop), free_port()
    with ExitStack() as stack:
        me = stack.enter_context(shop.workload("server"))
        caller = stack.enter_context(shop.workload("caller"))
        rest = [good(shop, stack) for _ in range(others)]
        with shop.sync_server(me, address=f"127.0.0.1:{port}"):
            channel: Any = stack.enter_context(
                caller.sync_channel(
                    "ipv4:" + ",".join([f"127.0.0.1:{port}", *rest]),
                    peer="server",
                    options=ROUND_ROBIN,
                )
            )
            assert calls_that_end_well(channel) == 6
        stack.enter_context(serving(bad, port))
        accepted = channel.connections.checks

        def is_found_out() -> bool:
            return answer(channel) != BAD and len(accepted.accepted) == others

        assert eventually(is_found_out)
        answers = [answer(channel) for _ in range(12)]
        assert BAD not in answers
        assert ("SERVER_CERTIFICATE_REJECTED" in answers) is (others == 0)


@contextmanager
def relay(first: str, then: str) -> Iterator[str]:
    """Lead the first connection to one place, and all that come after it to another."""
    ends: list[socket.socket] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        where = first
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                host, _, port = where.partition(":")
                far = socket.create_connection((host, int(port)))
                where = then
                ends.extend([near, far])
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
        for end in ends:
            end.close()


def test_a_relay_that_leads_looks_to_a_good_server_and_calls_to_another_is_found_out(
    shop: Shop,
) -> None:
    bad = revoked_one(shop)
    with ExitStack() as stack:
        honest = good(shop, stack)
        caller = stack.enter_context(shop.workload("caller"))
        address = stack.enter_context(relay(honest, stack.enter_context(serving(bad))))
        channel: Any = stack.enter_context(caller.sync_channel(address, peer="server"))
        assert answer(channel) == BAD, "the look met the good one"
        assert eventually(lambda: answer(channel) == "SERVER_CERTIFICATE_REJECTED")
        assert answer(channel) != BAD


def test_an_asyncio_channel_finds_such_a_relay_out_too(shop: Shop) -> None:
    async def play(caller: pki.Workload, address: str) -> None:
        async with caller.channel(address, peer="server") as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)

            async def call_on() -> None:
                while True:
                    await stub.GetStock(inv.GetStockRequest(), timeout=SECONDS)
                    await asyncio.sleep(0.01)

            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(call_on(), SECONDS)
            assert reason(caught.value) == "SERVER_CERTIFICATE_REJECTED"

    bad = revoked_one(shop)
    with ExitStack() as stack:
        honest = good(shop, stack)
        caller = stack.enter_context(shop.workload("caller"))
        address = stack.enter_context(relay(honest, stack.enter_context(serving(bad))))
        asyncio.run(play(caller, address))


def test_a_good_server_that_no_look_met_is_taken_by_its_own_certificate(shop: Shop) -> None:
    """Several servers stand behind one address: each connection is judged by what it was shown."""
    with ExitStack() as stack:
        addresses = good(shop, stack), good(shop, stack)
        caller = stack.enter_context(shop.workload("caller"))
        address = stack.enter_context(relay(*addresses))
        channel: Any = stack.enter_context(caller.sync_channel(address, peer="server"))
        assert calls_that_end_well(channel) == 6
        current = channel.connections.rotation.current
        assert eventually(lambda: len(current.presented) == 1)
        (shown,), (seen,) = current.presented.values(), current.verified.values()
        assert shown.leaf != seen.leaf
        assert calls_that_end_well(channel) == 6
        shop.ca.revoke(shown.leaf.serial_number, reason="key-compromise")
        shop.bring_trust()
        caller.reload()
        assert eventually(lambda: bool(current.is_over)), "no look has met the one that is revoked"


def test_where_grpc_tells_nothing_of_its_connections_channels_go_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str, number: int) -> Any:
        raise AttributeError(name)

    monkeypatch.setattr(channelz, "_query", missing)
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        assert calls_that_end_well(channel) == 6
        caller.reload()
        assert calls_that_end_well(channel) == 6


def test_a_channel_is_found_among_others_to_the_same_place(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        ExitStack() as stack,
    ):
        them = []
        for _ in range(3):
            name = channelz.NAMES.of(f"ipv4:{address}")
            connections = channelz.GrpcConnections(name)
            arguments = caller.channel_arguments("server")
            channel = stack.enter_context(grpc.secure_channel(name, **arguments))
            them.append(connections)
            assert connections.list_connections() == []
            assert get_stock(channel) > 0
        numbers = [item.number for one in them for item in one.list_connections() or ()]
        assert len(set(numbers)) == 3
        leaf = me.credential.leaf
        assert {item.leaf for one in them for item in one.list_connections() or ()} == {
            to_pem([leaf])
        }
