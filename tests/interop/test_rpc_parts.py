"""Servers and channels that users make themselves, with just the parts of ours."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import pki
from pki.errors import InputError, NotPermittedError, StateError
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import (
    SECONDS,
    AioInventory,
    Shop,
    SyncInventory,
    eventually,
    free_port,
    get_stock,
    refused,
)


@contextmanager
def own_sync_server(me: pki.Workload, *gates: grpc.ServerInterceptor) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    with ThreadPoolExecutor(max_workers=4) as pool:
        server = grpc.server(pool, interceptors=list(gates))
        inventory_pb2_grpc.add_InventoryServicer_to_server(SyncInventory(), server)
        server.add_secure_port(address, me.server_credentials(address))
        server.start()
        try:
            yield address
        finally:
            server.stop(0.2).wait()


@contextmanager
def own_aio_server(
    me: pki.Workload, make_gate: Callable[[], grpc.aio.ServerInterceptor]
) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> grpc.aio.Server:
        server = grpc.aio.server(interceptors=[make_gate()])
        inventory_pb2_grpc.add_InventoryServicer_to_server(AioInventory(), server)
        server.add_secure_port(address, me.server_credentials(address))
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(SECONDS)
    try:
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(0.2), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def bare_channel(caller: pki.Workload, address: str, peer: str = "server") -> grpc.Channel:
    return grpc.secure_channel(address, **caller.channel_arguments(peer))


def test_a_synchronous_server_of_ones_own_takes_credentials_and_gate(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        own_sync_server(me, me.sync_interceptor()) as address,
        shop.workload("caller") as caller,
        shop.workload("stranger") as stranger,
        bare_channel(caller, address) as channel,
        bare_channel(stranger, address) as without_role,
    ):
        assert get_stock(channel) == len("spiffe://shop.internal/caller")
        assert refused(lambda: get_stock(without_role)) == "NO_ROLE"


def test_an_asyncio_server_of_ones_own_takes_credentials_and_gate(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        own_aio_server(me, me.interceptor) as address,
        shop.workload("caller") as caller,
        shop.workload("stranger") as stranger,
        bare_channel(caller, address) as channel,
        bare_channel(stranger, address) as without_role,
    ):
        assert get_stock(channel) == len("spiffe://shop.internal/caller")
        assert refused(lambda: get_stock(without_role)) == "NO_ROLE"


def test_credentials_without_the_gate_ask_for_a_certificate_and_judge_nothing(shop: Shop) -> None:
    with shop.workload("server") as me, shop.workload("stranger") as stranger:
        address = f"127.0.0.1:{free_port()}"
        with ThreadPoolExecutor(max_workers=2) as pool:
            server = grpc.server(pool)
            handlers: dict[str, Any] = {
                "Ping": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"here")
            }
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler("plain.Echo", handlers),)
            )
            server.add_secure_port(address, me.server_credentials(address))
            server.start()
            with bare_channel(stranger, address) as channel:
                ping: Any = channel.unary_unary("/plain.Echo/Ping")
                assert ping(b"", timeout=SECONDS) == b"here"
            nobody = grpc.ssl_channel_credentials((shop.home / "ca" / "bundle.pem").read_bytes())
            pinned = [("grpc.ssl_target_name_override", "server.shop.internal")]
            with grpc.secure_channel(address, nobody, pinned) as channel:
                ping = channel.unary_unary("/plain.Echo/Ping")
                assert refused(lambda: ping(b"", timeout=SECONDS)) == "UNAVAILABLE"
            server.stop(0).wait()


def test_the_certificate_of_a_server_of_ones_own_rotates_too(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        own_sync_server(me, me.sync_interceptor()) as address,
        shop.workload("caller") as caller,
    ):
        route = caller.sync_channel(address, peer="server")
        get_stock(route)
        before = seen_serial(route)
        shop.ca.renew(me.credential.leaf).save(shop.home / "server")
        assert eventually(lambda: me.credential.leaf.serial_number != before)

        def shows_the_new_one() -> bool:
            with caller.sync_channel(address, peer="server") as channel:
                get_stock(channel)
                return seen_serial(channel) == me.credential.leaf.serial_number

        assert eventually(shows_the_new_one)
        route.close()


def seen_serial(channel: Any) -> int:
    serial: int = next(iter(channel.connections.checks.accepted.values())).leaf.serial_number
    return serial


def test_an_address_whose_port_is_open_is_refused(shop: Shop) -> None:
    with shop.workload("server") as me:
        for address in ("127.0.0.1:0", "127.0.0.1", "[::]:", "host:http", "h:70000"):
            with pytest.raises(InputError, match="names no fixed port number"):
                me.server_credentials(address)


def test_a_gate_without_a_policy_is_not_to_be_had(shop: Shop) -> None:
    with shop.workload("server", policy=None) as me:
        for make in (me.interceptor, me.sync_interceptor, me.server, me.sync_server):
            with pytest.raises(StateError, match="needs a policy"):
                make()


def test_channel_arguments_hold_the_pin_and_refuse_to_drop_it(shop: Shop) -> None:
    with shop.workload("caller") as caller:
        made = caller.channel_arguments("server", options=[("grpc.keepalive_time_ms", 1000)])
        assert ("grpc.ssl_target_name_override", "server.shop.internal") in made["options"]
        assert ("grpc.keepalive_time_ms", 1000) in made["options"]
        with pytest.raises(NotPermittedError, match="would undo the pin"):
            caller.channel_arguments(
                "server", options=[("grpc.ssl_target_name_override", "other.shop.internal")]
            )
        with pytest.raises(InputError, match="not in the trust bundle"):
            caller.channel_arguments("spiffe://elsewhere.test/server")


def test_channels_and_servers_of_both_kinds_refuse_options_that_undo_a_promise(shop: Shop) -> None:
    with shop.workload("server") as me:
        for make in (me.channel, me.sync_channel):
            for key in ("grpc.ssl_session_cache", b"grpc.ssl_session_cache"):
                options: Any = [("grpc.max_metadata_size", 9000), (key, 1)]
                with pytest.raises(NotPermittedError, match="keeps TLS sessions"):
                    make("127.0.0.1:1", peer="server", options=options)
            with pytest.raises(InputError, match="no pair"):
                make("127.0.0.1:1", peer="server", options=["grpc.x"])  # type: ignore[list-item]
        for serve in (me.server, me.sync_server):
            with pytest.raises(NotPermittedError, match="gRPC's own"):
                serve(options=[("grpc.internal.server_credentials", 1)])


def test_bare_channel_arguments_refuse_another_server_in_tls(shop: Shop) -> None:
    with (
        shop.workload("other") as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        bare_channel(caller, address) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        get_stock(channel)
    # The second is what gRPC says before 1.80.
    assert re.search(
        "Hostname Verification Check failed|Peer name .* is not in peer certificate",
        caught.value.details() or "",
    )


class Watching(grpc.ServerInterceptor):
    """A user's own interceptor."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        self.seen.append(handler_call_details.method)
        return continuation(handler_call_details)


class AioWatching(grpc.aio.ServerInterceptor):
    """The same for asyncio servers."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        return await continuation(handler_call_details)


def test_a_gate_may_stand_first_among_ones_own_interceptors(shop: Shop) -> None:
    mine = Watching()
    with (
        shop.workload("server", policy=None) as me,
        shop.sync_server(me, interceptors=[me.sync_interceptor(shop.policy), mine]) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        assert mine.seen == ["/shop.v1.Inventory/GetStock"]


def test_an_interceptor_before_the_gate_is_refused(shop: Shop) -> None:
    with shop.workload("server") as me:
        with pytest.raises(NotPermittedError, match="comes before the authorizing one"):
            me.sync_server(interceptors=[Watching(), me.sync_interceptor()])
        with pytest.raises(NotPermittedError, match="comes before the authorizing one"):
            me.server(interceptors=[AioWatching(), me.interceptor()])
        with pytest.raises(NotPermittedError, match="comes before the authorizing one"):
            me.sync_server(interceptors=[me.sync_interceptor(), me.sync_interceptor()])


def test_a_gate_for_the_other_kind_of_server_is_refused(shop: Shop) -> None:
    with shop.workload("server") as me:
        with pytest.raises(InputError, match="other kind"):
            me.sync_server(interceptors=[me.interceptor()])  # type: ignore[list-item]
        with pytest.raises(InputError, match="other kind"):
            me.server(interceptors=[me.sync_interceptor()])  # type: ignore[list-item]


def test_settings_that_an_interceptor_of_ones_own_replaces_are_not_read(
    shop: Shop, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.toml"
    with shop.workload("server") as me:
        me.sync_server(
            interceptors=[me.sync_interceptor()],
            policy=missing,
            decision_log="nonsense",
            health="nonsense",
        )
        asyncio.run(_aio_server(me, missing))
        assert [item.file.path for item in me._provider.policies] == [shop.policy]


async def _aio_server(me: pki.Workload, policy: Path) -> None:
    me.server(
        interceptors=[me.interceptor()], policy=policy, decision_log="nonsense", health="nonsense"
    )


def test_a_channel_that_is_refused_leaves_no_policy_behind(shop: Shop, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(shop.policy.read_text())
    with shop.workload("caller") as me:
        before = len(me._provider.policies)
        with pytest.raises(InputError):
            me.sync_channel("127.0.0.1:1", peer="Not A Name", policy=other)
        with pytest.raises(NotPermittedError):
            me.sync_channel(
                "127.0.0.1:1",
                peer="server",
                policy=other,
                options=[("grpc.ssl_target_name_override", "x")],
            )
        assert len(me._provider.policies) == before


def test_metrics_can_be_collected_while_servers_are_made(shop: Shop) -> None:
    with shop.workload("server") as me:
        collector = me.collector()
        made = [me.sync_interceptor() for _ in range(100)]
        over = threading.Event()

        def make() -> None:
            while not over.is_set():
                made.append(me.sync_interceptor())
                del made[0]

        maker = threading.Thread(target=make)
        maker.start()
        try:
            for _ in range(50):
                assert list(collector.collect())
        finally:
            over.set()
            maker.join()
