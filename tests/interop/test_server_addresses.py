"""A name with several addresses: each is judged by itself, and a bad one is left out."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import Any

import grpc
import pytest

import pki
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import (
    SECONDS,
    Shop,
    eventually,
    free_port,
    get_stock,
    reason,
    refused,
    soon,
    watch,
)

ROUND_ROBIN = [("grpc.lb_policy_name", "round_robin")]
Replica = Callable[[Shop, ExitStack], str]


def another_of_it(shop: Shop, stack: ExitStack, **how: Any) -> pki.Workload:
    """Make one more workload of the server's name, with a certificate of its own."""
    folder = shop.home / f"server-{len(list(shop.home.iterdir()))}"
    shop.ca.issue("server", **how).save(folder)
    shop.bring_trust()
    return stack.enter_context(pki.Workload.from_directory(folder, policy=shop.policy))


def good(shop: Shop, stack: ExitStack) -> str:
    return stack.enter_context(shop.sync_server(another_of_it(shop, stack)))


def stopped(shop: Shop, stack: ExitStack) -> str:
    return f"127.0.0.1:{free_port()}"


def another_workload(shop: Shop, stack: ExitStack) -> str:
    return stack.enter_context(shop.sync_server(stack.enter_context(shop.workload("mallory"))))


def revoked(shop: Shop, stack: ExitStack) -> str:
    it = another_of_it(shop, stack)
    address = stack.enter_context(shop.sync_server(it))
    revoke_one(shop, it)
    return address


def silent(shop: Shop, stack: ExitStack) -> str:
    """Take TCP connections and never speak TLS."""
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return f"127.0.0.1:{listening.getsockname()[1]}"


def never_http2(shop: Shop, stack: ExitStack) -> str:
    """Shake hands as the server, and never say a word of HTTP/2."""
    another_of_it(shop, stack)
    folder = max(shop.home.glob("server-*"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def serve() -> None:
        with suppress(OSError):
            while True:
                accepted, _ = listening.accept()
                threading.Thread(target=make_handshake, args=(accepted,), daemon=True).start()

    def make_handshake(accepted: socket.socket) -> None:
        with accepted, suppress(OSError):
            accepted.settimeout(SECONDS)
            with context.wrap_socket(accepted, server_side=True) as talking:
                while talking.recv(4096):
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(listening.shutdown, socket.SHUT_RDWR)
    return f"127.0.0.1:{listening.getsockname()[1]}"


def revoke_one(shop: Shop, it: pki.Workload) -> None:
    shop.ca.revoke(it.credential.leaf.serial_number, reason="key-compromise")
    shop.bring_trust()


@contextmanager
def replicas(shop: Shop, *kinds: Replica) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [kind(shop, stack) for kind in kinds]


def calls_that_end_well(channel: grpc.Channel, number: int = 6) -> int:
    """Make calls one after the other; return how many ended well."""
    count = 0
    for _ in range(number):
        try:
            get_stock(channel)
        except grpc.RpcError as error:
            print(error)
        else:
            count += 1
    return count


@pytest.mark.parametrize("options", [[], ROUND_ROBIN], ids=["pick_first", "round_robin"])
@pytest.mark.parametrize("bad", [stopped, another_workload, revoked, silent, never_http2])
def test_the_first_of_three_addresses_is_bad_and_no_call_fails(
    shop: Shop, bad: Replica, options: list[tuple[str, Any]]
) -> None:
    async def play(caller: pki.Workload, target: str) -> int:
        async with caller.channel(target, peer="server", options=options) as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            answers = [
                await stub.GetStock(inv.GetStockRequest(), timeout=SECONDS) for _ in range(6)
            ]
            return len(answers)

    with (
        replicas(shop, bad, good, good) as addresses,
        shop.workload("caller") as caller,
    ):
        target = "ipv4:" + ",".join(addresses)
        with caller.sync_channel(target, peer="server", options=options) as channel:
            begun = time.monotonic()
            assert calls_that_end_well(channel) == 6
            assert time.monotonic() - begun < 4, "a look at one that is silent takes five seconds"
            current = channel.connections.rotation.current
            assert current.grpc_connections is not None
            connected = {item.address for item in current.grpc_connections.list_connections() or ()}
            assert connected
            assert f"ipv4:{addresses[0]}" not in connected, "gRPC was not told of it"
        assert asyncio.run(play(caller, target)) == 6


def test_a_replica_that_is_revoked_is_left_out_while_the_channel_goes_on(shop: Shop) -> None:
    with ExitStack() as stack:
        bad_one = another_of_it(shop, stack)
        addresses = [stack.enter_context(shop.sync_server(bad_one)), good(shop, stack)]
        caller = stack.enter_context(shop.workload("caller"))
        channel: Any = stack.enter_context(
            caller.sync_channel("ipv4:" + ",".join(addresses), peer="server", options=ROUND_ROBIN)
        )
        assert calls_that_end_well(channel) == 6
        assert len(channel.connections.checks.accepted) == 2
        revoke_one(shop, bad_one)
        caller.reload()
        assert eventually(lambda: len(channel.connections.rotation.current.verified) == 1)
        assert calls_that_end_well(channel) == 6
        (kept,) = channel.connections.rotation.current.verified.values()
        assert kept.leaf.serial_number != bad_one.credential.leaf.serial_number


def test_a_replica_that_comes_back_is_called_again_and_streams_go_on(shop: Shop) -> None:
    port = free_port()
    with ExitStack() as stack:
        first = good(shop, stack)
        caller = stack.enter_context(shop.workload("caller"))
        channel: Any = stack.enter_context(
            caller.sync_channel(
                f"ipv4:127.0.0.1:{port},{first}", peer="server", options=ROUND_ROBIN
            )
        )
        stream = watch(channel)
        assert len(channel.connections.rotation.current.verified) == 1
        stack.enter_context(
            shop.sync_server(another_of_it(shop, stack), address=f"127.0.0.1:{port}")
        )
        assert eventually(lambda: len(channel.connections.rotation.current.verified) == 2, SECONDS)
        assert calls_that_end_well(channel) == 6
        assert stream.is_active()
        assert stream.cancel()


def test_all_addresses_are_bad_until_one_is_good(shop: Shop) -> None:
    port = free_port()
    with (
        replicas(shop, another_workload, stopped) as addresses,
        shop.workload("caller") as caller,
    ):
        target = f"ipv4:{','.join(addresses)},127.0.0.1:{port}"
        with caller.sync_channel(target, peer="server") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                get_stock(channel)
            assert reason(caught.value) in {"SERVER_CERTIFICATE_REJECTED", "SERVER_UNVERIFIED"}
            assert "none of the server's 3 addresses" in (caught.value.details() or "")
            with ExitStack() as stack:
                it = another_of_it(shop, stack)
                stack.enter_context(shop.sync_server(it, address=f"127.0.0.1:{port}"))
                assert soon(channel, "ALLOWED")
                assert calls_that_end_well(channel) == 6


def test_fifty_addresses_some_named_twice_are_each_looked_at_once(shop: Shop) -> None:
    with replicas(shop, good, good) as addresses, shop.workload("caller") as caller:
        dead = [f"127.0.0.1:{free_port()}" for _ in range(48)]
        target = "ipv4:" + ",".join([*dead, *addresses, *addresses])
        with caller.sync_channel(target, peer="server", options=ROUND_ROBIN) as channel:
            assert calls_that_end_well(channel) == 6
            assert len(channel.connections.checks.accepted) == 2


def test_a_name_that_moves_is_followed_and_one_that_fails_to_resolve_is_kept(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the resolver is stood in for: it alone can't be told to change its answers."""
    real, places = socket.getaddrinfo, list[str]()

    def resolve(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host != "replicas.test":
            return real(host, port, *args, **kwargs)
        if not places:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [
            found
            for item in places
            for found in real(item.partition(":")[0], int(item.partition(":")[2]), *args, **kwargs)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with ExitStack() as stack:
        caller = stack.enter_context(shop.workload("caller"))
        channel: Any = stack.enter_context(
            caller.sync_channel("dns:///replicas.test:443", peer="server")
        )
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(channel)
        assert reason(caught.value) == "SERVER_UNVERIFIED"
        assert "Temporary failure in name resolution" in (caught.value.details() or "")
        before = ExitStack()
        with before:
            places[:] = [good(shop, before)]
            assert soon(channel, "ALLOWED")
            places[:] = []
            channel.connections.checks.schedule_probes()
            assert calls_that_end_well(channel) == 6, "the addresses that are known are kept"
            places[:] = [good(shop, stack)]
            shop.ca.issue("caller").save(shop.home / "caller")
            moved = places[0].partition(":")[2]
            assert eventually(
                lambda: (
                    [address[1] for _, address in channel.connections.rotation.current.verified]
                    == [int(moved)]
                ),
                SECONDS,
            )
        assert calls_that_end_well(channel) == 6


def test_localhost_is_found_on_either_loopback_address(shop: Shop) -> None:
    for address in ("127.0.0.1", "[::1]"):
        with ExitStack() as stack:
            it = another_of_it(shop, stack)
            try:
                served = stack.enter_context(shop.sync_server(it, address=f"{address}:0"))
            except (RuntimeError, pki.PkiError):
                pytest.skip("there is no IPv6 here")
            caller = stack.enter_context(shop.workload("caller"))
            port = served.rpartition(":")[2]
            forms = [f"localhost:{port}", f"dns:///localhost:{port}"]
            if address == "[::1]":
                forms += [f"ipv6:%5B::1%5D:{port}", f"ipv6:[::1]:{port}", f"[::1]:{port}"]
            for form in forms:
                with caller.sync_channel(form, peer="server") as channel:
                    assert get_stock(channel) > 0, form


def test_a_wrong_server_at_every_address_is_refused_whatever_the_policy(shop: Shop) -> None:
    with (
        replicas(shop, revoked, revoked) as addresses,
        shop.workload("caller") as caller,
        caller.sync_channel(
            "ipv4:" + ",".join(addresses), peer="server", options=ROUND_ROBIN
        ) as channel,
    ):
        assert refused(lambda: get_stock(channel)) == "SERVER_CERTIFICATE_REJECTED"

        def numbers() -> dict[str, int]:
            return dict(caller._channels.connection_states)

        assert eventually(lambda: numbers() == {"refused": 1})
        channel.close()
        assert eventually(lambda: numbers() == {})


def test_a_replica_whose_leaf_ends_sooner_takes_no_stream_early_and_is_left_out_then(
    shop: Shop,
) -> None:
    with ExitStack() as stack:
        short = another_of_it(shop, stack, lifetime=timedelta(minutes=30))
        addresses = [good(shop, stack), stack.enter_context(shop.sync_server(short))]
        caller = stack.enter_context(shop.workload("caller", shifted=True))
        channel: Any = stack.enter_context(
            caller.sync_channel("ipv4:" + ",".join(addresses), peer="server")
        )
        stream = watch(channel)
        shop.clock.move(minutes=29)
        assert calls_that_end_well(channel) == 6
        assert stream.is_active()
        assert stream.cancel()
        # By our clock it has ended, and gRPC would go on.
        shop.clock.move(minutes=2)
        assert soon(channel, "ALLOWED")
        assert eventually(lambda: len(channel.connections.rotation.current.verified) == 1)
        assert calls_that_end_well(channel) == 6
