"""A channel's own look at its server: what gRPC would believe, and we don't."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

import pki
from pki.clock import system_clock
from pki.keys import generate_key, private_key_to_pem
from pki.rpc.client import connection
from pki.x509.profiles.builder import Validity
from pki.x509.readers import to_pem
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc, payments_pb2_grpc
from services._proto.shop.v1 import payments_pb2 as pay
from tests.interop.shop import (
    POLICY,
    SECONDS,
    Shop,
    SyncInventory,
    ended,
    eventually,
    free_port,
    get_stock,
    reason,
    refused,
    revoke,
    soon,
    watch,
)
from tests.support import BOTH_USAGES, Extension, Hierarchy, sign_unchecked, with_extension


class Chatty(SyncInventory):
    """Answers whoever asks: a server without a gate has no peer."""

    def GetStock(self, request: object, context: object) -> inv.GetStockResponse:
        return inv.GetStockResponse(quantity=7)

    def WatchStock(self, request: object, context: Any) -> Iterator[inv.WatchStockResponse]:
        yield inv.WatchStockResponse(quantity=1)
        while context.is_active():
            time.sleep(0.02)


@contextmanager
def bare_server(key: bytes, chain: bytes, bundle: bytes, port: int = 0) -> Iterator[str]:
    """Run a server of gRPC alone, which judges nobody."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        server = grpc.server(pool)
        inventory_pb2_grpc.add_InventoryServicer_to_server(Chatty(), server)
        credentials = grpc.ssl_server_credentials([(key, chain)], bundle, True)
        number = server.add_secure_port(f"127.0.0.1:{port}", credentials)
        server.start()
        try:
            yield f"127.0.0.1:{number}"
        finally:
            server.stop(0).wait()


# A server whose certificate gRPC accepts, and the look does not

OURS_BY_DNS = x509.DNSName("orders.shop.internal")
BAD: dict[str, list[Extension]] = {
    "another SPIFFE ID beside the right DNS name": with_extension(
        (
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://shop.internal/mallory"), OURS_BY_DNS]
            ),
            False,
        )
    ),
    "no SPIFFE ID beside the right DNS name": with_extension(
        (x509.SubjectAlternativeName([OURS_BY_DNS]), False)
    ),
    "two SPIFFE IDs": with_extension(
        (
            x509.SubjectAlternativeName(
                [
                    x509.UniformResourceIdentifier("spiffe://shop.internal/orders"),
                    x509.UniformResourceIdentifier("spiffe://shop.internal/mallory"),
                    OURS_BY_DNS,
                ]
            ),
            False,
        )
    ),
    "clientAuth alone": with_extension(
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    ),
    "CA:TRUE": with_extension((x509.BasicConstraints(ca=True, path_length=None), True)),
}


@pytest.mark.parametrize("case", [*BAD, "good"])
def test_a_servers_leaf_made_by_misusing_the_key_is_refused_by_a_live_client(
    case: str,
) -> None:
    now = system_clock().replace(microsecond=0)
    hierarchy = Hierarchy(times=Validity(now - timedelta(days=1), now + timedelta(days=1)))
    times = Validity(now - timedelta(minutes=1), now + timedelta(minutes=30))
    key = generate_key()
    leaf = sign_unchecked(
        hierarchy, BAD.get(case, with_extension(BOTH_USAGES)), key=key, times=times
    )
    bundle = hierarchy.bundle.to_pem()
    chain = to_pem([leaf, hierarchy.issuing])
    with (
        pki.Workload.from_pem(
            key=private_key_to_pem(hierarchy.key),
            chain=to_pem([hierarchy.leaf("caller", times=times), hierarchy.issuing]),
            bundle=bundle,
            revocation="short-lived",
        ) as caller,
        bare_server(private_key_to_pem(key), chain, bundle) as address,
        caller.sync_channel(address, peer="orders") as channel,
        grpc.secure_channel(address, **caller.channel_arguments("orders")) as bare,
    ):
        if case == "good":
            assert get_stock(channel) == 7
            return
        assert refused(lambda: get_stock(channel)) == "SERVER_CERTIFICATE_REJECTED"
        if case not in {"clientAuth alone", "CA:TRUE"}:
            assert get_stock(bare) == 7, "gRPC itself believes it, so the look is what refuses"


def test_a_revoked_server_is_refused_before_the_first_call(shop: Shop) -> None:
    with shop.workload("server") as me, shop.sync_server(me) as address:
        revoke(shop, "server")
        with (
            shop.workload("caller") as caller,
            caller.sync_channel(address, peer="server") as channel,
            grpc.secure_channel(address, **caller.channel_arguments("server")) as bare,
        ):
            assert get_stock(bare) > 0
            with pytest.raises(grpc.RpcError) as caught:
                get_stock(channel)
            assert reason(caught.value) == "SERVER_CERTIFICATE_REJECTED"
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "was revoked" in (caught.value.details() or "")


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_a_server_revoked_under_a_channel_is_gone_within_a_second_and_back_when_renewed(
    shop: Shop, kind: str
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream = watch(channel)
        begun = time.monotonic()
        revoke(shop, "server")
        assert ended(stream) == "SERVER_CERTIFICATE_REJECTED"
        assert time.monotonic() - begun < 5, "a loaded machine may take longer than one second"
        assert refused(lambda: get_stock(channel)) == "SERVER_CERTIFICATE_REJECTED"
        shop.ca.issue("server").save(shop.home / "server")
        assert soon(channel, "ALLOWED")
        assert watch(channel).cancel()


# The server keeps its role's grants: what a client takes from it is its word as a server.
TAKEN_FROM_SERVER = POLICY.replace(
    'service = "shop.v1.Inventory"\nrole = "server"',
    'service = "shop.v1.Inventory"\nrole = "caller"',
)


def test_a_role_taken_from_a_server_ends_its_callers_streams_and_refuses_their_calls(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream = watch(channel)
        cancelled = watch(channel)
        assert cancelled.cancel()
        over = threading.Event()

        def units() -> Iterator[inv.RestockRequest]:
            over.wait(SECONDS)
            yield inv.RestockRequest(quantity=4)

        future: Any = inventory_pb2_grpc.InventoryStub(channel).Restock.future(units())

        def orders() -> Iterator[pay.SettleRequest]:
            yield pay.SettleRequest(order_id="1")
            over.wait(SECONDS)

        neighbour = payments_pb2_grpc.PaymentsStub(channel).Settle(orders())
        assert next(neighbour).order_id == "1"
        begun = time.monotonic()
        shop.write_policy(TAKEN_FROM_SERVER)
        assert ended(stream) == "SERVER_ROLE_MISSING"
        assert time.monotonic() - begun < 5, "a loaded machine may take longer than one second"
        assert stream.code() is grpc.StatusCode.PERMISSION_DENIED
        assert not stream.cancelled(), "the channel ended it, not its caller"
        assert cancelled.cancelled(), "its caller did that, before the policy changed"
        assert refused(future.result) == "SERVER_ROLE_MISSING"
        assert reason(future.exception()) == "SERVER_ROLE_MISSING"
        assert future.traceback() is None
        assert not future.cancelled()
        assert "may not answer shop.v1.Inventory" in stream.details()
        assert refused(lambda: get_stock(channel)) == "SERVER_ROLE_MISSING"
        assert "calls of '/shop.v1.Inventory/GetStock' are refused" in caplog.text
        assert neighbour.is_active(), "another service of the same server is not meant"
        shop.write_policy(POLICY)
        assert soon(channel, "ALLOWED")
        assert watch(channel).cancel()
        assert neighbour.is_active()
        over.set()
        assert not list(neighbour)


def test_an_asyncio_channels_streams_end_when_their_servers_role_is_taken_away(shop: Shop) -> None:
    async def play(caller: pki.Workload, address: str) -> None:
        async with caller.channel(address, peer="server") as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            stream: Any = stub.WatchStock(inv.WatchStockRequest())
            cancelled: Any = stub.WatchStock(inv.WatchStockRequest())
            assert (await stream.read()).quantity > 0
            assert (await cancelled.read()).quantity > 0
            waiting = asyncio.create_task(stream.read())
            cancelled.cancel()
            await asyncio.to_thread(shop.write_policy, TAKEN_FROM_SERVER)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(waiting, SECONDS)
            assert reason(caught.value) == "SERVER_ROLE_MISSING"
            assert await stream.code() is grpc.StatusCode.PERMISSION_DENIED
            assert not stream.cancelled()
            assert cancelled.cancelled(), "its caller did that, before the policy changed"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetStock(inv.GetStockRequest())
            assert reason(caught.value) == "SERVER_ROLE_MISSING"
            assert not channel.connections.streams, "what has ended is not kept"

    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller") as caller,
    ):
        asyncio.run(play(caller, address))


def test_an_asyncio_channels_stream_ends_with_its_revoked_server_and_says_why(shop: Shop) -> None:
    async def play(caller: pki.Workload, address: str) -> None:
        async with caller.channel(address, peer="server") as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            reading: Any = stub.WatchStock(inv.WatchStockRequest())
            iterating: Any = stub.WatchStock(inv.WatchStockRequest())
            assert (await reading.read()).quantity > 0
            waiting = asyncio.create_task(reading.read())

            async def iterate() -> None:
                async for _ in iterating:
                    pass

            running = asyncio.create_task(iterate())
            await asyncio.to_thread(revoke, shop, "server")
            for task in (waiting, running):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await asyncio.wait_for(task, SECONDS)
                assert reason(caught.value) == "SERVER_CERTIFICATE_REJECTED"
            assert await reading.code() is grpc.StatusCode.UNAVAILABLE
            assert "was revoked" in await reading.details()
            assert (await reading.trailing_metadata())["grpc-status-details-bin"]
            assert not reading.cancelled()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetStock(inv.GetStockRequest())
            assert reason(caught.value) == "SERVER_CERTIFICATE_REJECTED"

    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller") as caller,
    ):
        asyncio.run(play(caller, address))


def test_short_calls_that_run_when_the_server_is_revoked_end_well(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough for a busy machine; what is shown is that the call is let end, not for how long.
    monkeypatch.setattr(connection, "_GRACE_SECONDS", SECONDS)
    begun, finish = threading.Event(), threading.Event()

    class Slow(SyncInventory):
        def GetStock(self, request: object, context: object) -> inv.GetStockResponse:
            begun.set()
            finish.wait(SECONDS)
            return inv.GetStockResponse(quantity=3)

    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=Slow()) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stub = inventory_pb2_grpc.InventoryStub(channel)
        running = stub.GetStock.future(inv.GetStockRequest())
        assert begun.wait(SECONDS)
        revoke(shop, "server")
        caller.reload()
        assert refused(lambda: get_stock(channel)) == "SERVER_CERTIFICATE_REJECTED"
        finish.set()
        assert running.result(SECONDS).quantity == 3


# Time


def test_a_stream_ends_with_the_leaf_of_the_server_that_it_began_with(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller", shifted=True) as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream = watch(channel)
        # The caller's own is renewed, so that only the server's can end.
        ends = move_to_end(shop, me.credential.leaf.not_valid_after_utc)
        assert ended(stream) == "CREDENTIAL_ENDED"
        assert ends > system_clock()


def move_to_end(shop: Shop, end: datetime) -> datetime:
    shop.clock.move(seconds=(end - shop.clock()).total_seconds() + 2)
    return end


def test_new_calls_follow_a_server_that_renewed_and_old_streams_end_with_its_old_leaf(
    shop: Shop,
) -> None:
    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller", shifted=True) as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream = watch(channel)
        shop.ca.issue("caller", lifetime=timedelta(hours=5)).save(shop.home / "caller")
        shop.ca.issue("server", lifetime=timedelta(hours=5)).save(shop.home / "server")
        old = me.credential.leaf
        assert eventually(lambda: me.credential.leaf != old)
        # Eight tenths of the leaf's life at the latest: the channel has looked again.
        shop.clock.move(minutes=55)

        def has_seen_the_new_one() -> bool:
            good = next(iter(channel.connections.checks.accepted.values()), None)
            return good is not None and bool(good.leaf == me.credential.leaf)

        assert eventually(has_seen_the_new_one)
        assert get_stock(channel) > 0
        assert stream.is_active()
        move_to_end(shop, old.not_valid_after_utc)
        assert ended(stream) == "CREDENTIAL_ENDED"
        assert get_stock(channel) > 0


def test_with_our_own_leaf_at_its_end_nothing_goes_out(shop: Shop) -> None:
    shop.ca.issue("server", lifetime=timedelta(hours=5)).save(shop.home / "server")
    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller", shifted=True) as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream = watch(channel)
        move_to_end(shop, caller.credential.leaf.not_valid_after_utc)
        assert ended(stream) == "CREDENTIAL_ENDED"
        assert soon(channel, "CREDENTIAL_ENDED")
        shop.ca.issue("caller", lifetime=timedelta(hours=5)).save(shop.home / "caller")
        assert soon(channel, "ALLOWED")


def test_lists_that_ended_leave_no_server_to_be_believed(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller", shifted=True) as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        get_stock(channel)
        crls = caller.credential.crls
        assert crls is not None
        end = min(item.next_update for item in crls.crls.values())
        shop.ca.issue("caller", lifetime=timedelta(hours=24)).save(shop.home / "caller")
        shop.ca.issue("server", lifetime=timedelta(hours=24)).save(shop.home / "server")
        move_to_end(shop, end)
        refusals = {"SERVER_CERTIFICATE_REJECTED", "CREDENTIAL_ENDED"}
        assert eventually(lambda: refused_or_none(channel) in refusals)


def refused_or_none(channel: grpc.Channel) -> str:
    try:
        get_stock(channel)
    except grpc.RpcError as error:
        return reason(error)
    return ""


# No server to be seen


def test_nobody_at_the_address_is_told_so_and_calls_may_wait_for_one(shop: Shop) -> None:
    port = free_port()
    with (
        shop.workload("caller") as caller,
        caller.sync_channel(f"127.0.0.1:{port}", peer="server") as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(channel)
        assert reason(caught.value) == "SERVER_UNVERIFIED"
        assert "refused" in (caught.value.details() or "")
        with ThreadPoolExecutor(max_workers=1) as pool:
            waiting = pool.submit(lambda: get_stock(channel, wait_for_ready=True))
            with (
                shop.workload("server") as me,
                shop.sync_server(me, address=f"127.0.0.1:{port}"),
            ):
                assert waiting.result(SECONDS) > 0


def test_a_server_that_says_nothing_keeps_a_call_no_longer_than_its_deadline(shop: Shop) -> None:
    async def play(caller: pki.Workload, address: str) -> None:
        async with caller.channel(address, peer="server") as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            call = stub.GetStock(inv.GetStockRequest(), timeout=0.3)
            assert not call.done()
            assert 0 < (call.time_remaining() or 0) <= 0.3
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert call.done()

    with socket.create_server(("127.0.0.1", 0)) as silent, shop.workload("caller") as caller:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with caller.sync_channel(address, peer="server") as channel:
            begun = time.monotonic()
            stub = inventory_pb2_grpc.InventoryStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetStock(inv.GetStockRequest(), timeout=0.3)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert time.monotonic() - begun < 4, "the look itself would take five seconds"
        asyncio.run(play(caller, address))


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x03\xff\xff" + b"x" * 300_000]
)
def test_what_is_no_tls_server_is_not_seen(shop: Shop, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, shop.workload("caller") as caller:

        def serve() -> None:
            try:
                while True:
                    accepted, _ = listening.accept()
                    with accepted:
                        accepted.recv(4096)
                        accepted.sendall(answer)
            except OSError:
                return

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with caller.sync_channel(address, peer="server") as channel:
            assert refused(lambda: get_stock(channel)) == "SERVER_UNVERIFIED"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_another_server_that_takes_the_place_is_noticed(shop: Shop, tmp_path: Path) -> None:
    """gRPC would go on: the names that it looks at are right."""
    now = system_clock().replace(microsecond=0)
    hierarchy = Hierarchy(times=Validity(now - timedelta(days=1), now + timedelta(days=1)))
    times = Validity(now - timedelta(minutes=1), now + timedelta(minutes=30))
    bundle = hierarchy.bundle.to_pem()
    key = private_key_to_pem(hierarchy.key)
    good = to_pem([sign_unchecked(hierarchy, times=times), hierarchy.issuing])
    bad_names = BAD["another SPIFFE ID beside the right DNS name"]
    bad = to_pem([sign_unchecked(hierarchy, bad_names, times=times), hierarchy.issuing])
    port = free_port()
    with (
        pki.Workload.from_pem(
            key=key,
            chain=to_pem([hierarchy.leaf("caller", times=times), hierarchy.issuing]),
            bundle=bundle,
            revocation="short-lived",
        ) as caller,
        caller.sync_channel(f"127.0.0.1:{port}", peer="orders") as channel,
    ):
        with bare_server(key, good, bundle, port):
            assert get_stock(channel) == 7
        with bare_server(key, bad, bundle, port):
            assert soon(channel, "SERVER_CERTIFICATE_REJECTED")
        with bare_server(key, good, bundle, port):
            assert soon(channel, "ALLOWED")


# Calls of an asyncio channel that wait for the look


def test_asyncio_calls_of_all_kinds_wait_for_the_look(shop: Shop) -> None:
    async def play(caller: pki.Workload, address: str) -> None:
        async with caller.channel(address, peer="server") as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            unary = stub.GetStock(inv.GetStockRequest())
            told: list[object] = []
            unary.add_done_callback(told.append)
            streaming = stub.WatchStock(inv.WatchStockRequest())
            sending: Any = stub.Restock()
            assert (await unary).quantity > 0
            assert told == [unary]
            assert await unary.code() is grpc.StatusCode.OK
            assert await unary.details() == ""
            assert unary.done()
            assert not unary.cancelled()
            await sending.write(inv.RestockRequest(quantity=4))
            await sending.done_writing()
            assert (await sending).units == 4
            async for item in streaming:
                assert item.quantity > 0
                break
            assert streaming.cancel()
            assert streaming.cancelled()

    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller") as caller,
    ):
        asyncio.run(play(caller, address))


def test_an_asyncio_call_may_be_cancelled_while_it_waits(shop: Shop) -> None:
    async def play(caller: pki.Workload, address: str) -> None:
        async with caller.channel(address, peer="server") as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            call = stub.GetStock(inv.GetStockRequest())
            await asyncio.sleep(0.05)
            told: list[object] = []
            call.add_done_callback(told.append)
            assert call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await call.code() is grpc.StatusCode.CANCELLED
            assert call.cancelled()
            assert told == [call]
            running = asyncio.create_task(_await(stub.GetStock(inv.GetStockRequest())))
            await asyncio.sleep(0.05)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    with socket.create_server(("127.0.0.1", 0)) as silent, shop.workload("caller") as caller:
        asyncio.run(play(caller, f"127.0.0.1:{silent.getsockname()[1]}"))


async def _await(call: Any) -> Any:
    return await call


def test_a_channel_is_ready_once_its_server_was_seen(shop: Shop) -> None:
    async def play(caller: pki.Workload, address: str) -> None:
        async with caller.channel(address, peer="server") as channel:
            await asyncio.wait_for(channel.channel_ready(), SECONDS)
            assert channel.get_state() is grpc.ChannelConnectivity.READY
        async with caller.channel(address, peer="caller") as channel:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(channel.channel_ready(), 0.5)

    with (
        shop.workload("server") as me,
        shop.aio_server(me) as address,
        shop.workload("caller") as caller,
    ):
        asyncio.run(play(caller, address))


@pytest.mark.parametrize(
    "target",
    [
        *("xds:///orders", "http://orders:1", "127.0.0.1:port", "", ":1", "[::1", "ipv4:x:1"),
        # gRPC's path ends there, and the look's would not.
        *("unix:/tmp/a#b", "unix:///tmp/a?b", "unix-abstract:a#b"),
    ],
)
def test_a_target_that_cant_be_looked_at_is_refused_when_the_channel_is_made(
    shop: Shop, target: str
) -> None:
    with shop.workload("caller") as caller, pytest.raises(pki.PkiError, match="target"):
        caller.sync_channel(target, peer="server")


@pytest.mark.parametrize("form", ["{}", "dns:{}", "dns:///{}", "ipv4:{}", "ipv4:127.0.0.1:1,{}"])
def test_targets_are_looked_at_where_grpc_goes(shop: Shop, form: str) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(form.format(address), peer="server") as channel,
    ):
        assert get_stock(channel) > 0


def test_a_unix_socket_is_looked_at_too(shop: Shop) -> None:
    for form in ("unix:{}", "unix://{}"):
        path = shop.home / f"{len(form)}.sock"
        with (
            shop.workload("server") as me,
            shop.sync_server(me, address=f"unix:{path}"),
            shop.workload("caller") as caller,
            caller.sync_channel(form.format(path), peer="server") as channel,
        ):
            assert get_stock(channel) > 0


def test_an_address_that_does_not_answer_keeps_nobody_from_the_next(shop: Shop) -> None:
    with socket.socket() as hole, ExitStack() as stack:
        hole.bind(("127.0.0.2", 0))
        hole.listen(0)
        port = hole.getsockname()[1]
        for _ in range(4):
            # Whoever comes after these waits in vain: the queue is full.
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(("127.0.0.2", port))
        with (
            shop.workload("server") as me,
            shop.sync_server(me, address=f"127.0.0.1:{port}"),
            shop.workload("caller") as caller,
            caller.sync_channel(
                f"ipv4:127.0.0.2:{port},127.0.0.1:{port}", peer="server"
            ) as channel,
        ):
            begun = time.monotonic()
            assert get_stock(channel) > 0
            assert time.monotonic() - begun < 4, "all of the look's five seconds"
