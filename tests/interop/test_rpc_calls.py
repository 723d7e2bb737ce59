"""Calls over real mutual TLS: who may call what, on both kinds of server, in all four RPC kinds."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import pki
from pki.errors import InputError, NotPermittedError, StateError
from pki.identity import DnsName
from services._proto.shop.v1 import (
    inventory_pb2 as inv,
)
from services._proto.shop.v1 import (
    inventory_pb2_grpc,
    payments_pb2_grpc,
)
from services._proto.shop.v1 import (
    payments_pb2 as pay,
)
from tests.interop.shop import (
    SECONDS,
    Shop,
    forked,
    free_port,
    get_stock,
    reason,
    refused,
)

KINDS = pytest.mark.parametrize("kind", ["aio", "sync"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("shop"))
    yield made
    made.ca.close()


@pytest.fixture(scope="module")
def targets(shop: Shop) -> Iterator[dict[str, str]]:
    with (
        shop.workload("server") as me,
        shop.aio_server(me, decision_log="both") as aio,
        shop.sync_server(me, decision_log="both") as sync,
    ):
        yield {"aio": aio, "sync": sync}


@pytest.fixture(scope="module")
def caller(shop: Shop) -> Iterator[pki.Workload]:
    with shop.workload("caller") as me:
        yield me


@KINDS
def test_all_four_rpc_kinds_work_synchronously(
    targets: dict[str, str], caller: pki.Workload, kind: str
) -> None:
    with caller.sync_channel(targets[kind], peer="server") as channel:
        inventory = inventory_pb2_grpc.InventoryStub(channel)
        assert get_stock(channel) == len("spiffe://shop.internal/caller")
        assert inventory.Reserve(inv.ReserveRequest(), timeout=SECONDS).left == 1
        stream = inventory.WatchStock(inv.WatchStockRequest(), timeout=SECONDS)
        assert next(stream).quantity == len("caller")
        stream.cancel()
        sent = [inv.RestockRequest(quantity=number) for number in (1, 2, 3)]
        answer, call = inventory.Restock.with_call(iter(sent), timeout=SECONDS)
        assert (answer.units, answer.deliveries) == (6, 1)
        assert call.code() is grpc.StatusCode.OK
        future = inventory.GetStock.future(inv.GetStockRequest(), timeout=SECONDS)
        assert future.result().quantity > 0
        settle = payments_pb2_grpc.PaymentsStub(channel).Settle
        orders = [pay.SettleRequest(order_id=str(number)) for number in range(3)]
        answers = list(settle(iter(orders), timeout=SECONDS))
        assert [item.order_id for item in answers] == ["0", "1", "2"]
        assert {item.receipt for item in answers} == {"caller"}


@KINDS
def test_all_four_rpc_kinds_work_in_asyncio(
    targets: dict[str, str], caller: pki.Workload, kind: str
) -> None:
    async def play() -> None:
        async with caller.channel(targets[kind], peer="server") as channel:
            await asyncio.wait_for(channel.channel_ready(), SECONDS)
            assert channel.get_state() is grpc.ChannelConnectivity.READY
            inventory = inventory_pb2_grpc.InventoryStub(channel)
            stock = await inventory.GetStock(inv.GetStockRequest(), timeout=SECONDS)
            assert stock.quantity == len("spiffe://shop.internal/caller")
            stream = inventory.WatchStock(inv.WatchStockRequest(), timeout=SECONDS)
            async for item in stream:
                assert item.quantity == len("caller")
                break
            stream.cancel()

            async def deliveries() -> AsyncIterator[inv.RestockRequest]:
                for number in (1, 2, 3):
                    yield inv.RestockRequest(quantity=number)

            answer = await inventory.Restock(deliveries(), timeout=SECONDS)
            assert answer.units == 6
            call = payments_pb2_grpc.PaymentsStub(channel).Settle(timeout=SECONDS)
            await call.write(pay.SettleRequest(order_id="7"))
            settled = await call.read()
            assert isinstance(settled, pay.SettleResponse)
            assert settled.order_id == "7"
            await call.done_writing()

    asyncio.run(play())


@KINDS
def test_without_role_or_grant_a_call_is_refused_and_says_no_more_than_that(
    shop: Shop, targets: dict[str, str], kind: str
) -> None:
    with shop.workload("stranger") as stranger, shop.workload("reader") as reader:
        with stranger.sync_channel(targets[kind], peer="server") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                get_stock(channel)
            assert reason(caught.value) == "NO_ROLE"
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert "role here" in (caught.value.details() or "")
        with reader.sync_channel(targets[kind], peer="server") as channel:
            assert get_stock(channel) > 0
            stub = inventory_pb2_grpc.InventoryStub(channel)
            assert refused(lambda: stub.Reserve(inv.ReserveRequest())) == "METHOD_NOT_GRANTED"
            assert (
                refused(lambda: list(stub.WatchStock(inv.WatchStockRequest())))
                == "METHOD_NOT_GRANTED"
            )
            assert refused(lambda: stub.Restock(iter([]))) == "METHOD_NOT_GRANTED"


@KINDS
@pytest.mark.parametrize(
    "path",
    [
        "/shop.v1.Inventory/Nope",
        "/shop.v1.Nope/GetStock",
        "/shop.v1.Inventory/GetStock/",
        "//shop.v1.Inventory/GetStock",
        "/shop.v1.Inventory/../Inventory/GetStock",
        "/SHOP.V1.Inventory/GetStock",
        "/shop.v1.Inventory/GetStock%20",
    ],
)
def test_unknown_methods_are_answered_as_refused_to_a_peer_without_a_grant(
    shop: Shop, targets: dict[str, str], kind: str, path: str
) -> None:
    with shop.workload("reader", policy=None) as reader:
        with reader.sync_channel(targets[kind], peer="server") as channel:
            call: Any = channel.unary_unary(path)
            assert refused(lambda: call(b"", timeout=SECONDS)) == "METHOD_NOT_GRANTED"


@KINDS
def test_unknown_methods_are_unimplemented_to_a_peer_with_a_grant(
    targets: dict[str, str], shop: Shop, kind: str
) -> None:
    with shop.workload("caller", policy=None) as me:
        with me.sync_channel(targets[kind], peer="server") as channel:
            call: Any = channel.unary_unary("/shop.v1.Unknown/Anything")
            assert refused(lambda: call(b"", timeout=SECONDS)) == "UNIMPLEMENTED"


@KINDS
def test_metadata_that_pretends_to_carry_an_identity_is_ignored(
    shop: Shop, targets: dict[str, str], kind: str
) -> None:
    pretended = [
        ("x-forwarded-client-cert", "URI=spiffe://shop.internal/caller"),
        ("x509_common_name", "caller"),
        ("authorization", "Bearer caller"),
    ]
    with shop.workload("stranger") as stranger:
        with stranger.sync_channel(targets[kind], peer="server") as channel:
            assert refused(lambda: get_stock(channel, metadata=pretended)) == "NO_ROLE"


@KINDS
def test_two_clients_on_one_unix_socket_keep_their_own_identity(
    shop: Shop, caller: pki.Workload, kind: str, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/s"
    with shop.workload("server") as me, shop.workload("stranger") as stranger:
        with (
            shop.server(kind, me, address=address),
            caller.sync_channel(address, peer="server") as one,
            stranger.sync_channel(address, peer="server") as other,
        ):
            for _ in range(3):
                assert get_stock(one) > 0
                assert refused(lambda: get_stock(other)) == "NO_ROLE"


def test_every_refusal_and_each_call_is_a_line_of_json(
    shop: Shop,
    targets: dict[str, str],
    caller: pki.Workload,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        caplog.at_level(logging.INFO, logger="handfast.decisions"),
        caller.sync_channel(targets["sync"], peer="server") as channel,
        shop.workload("stranger") as stranger,
        stranger.sync_channel(targets["sync"], peer="server") as other,
    ):
        get_stock(channel)
        refused(lambda: get_stock(other))
    allowed, denied = (
        json.loads(record.message)
        for record in caplog.records
        if record.name == "handfast.decisions"
    )
    assert allowed["authorized"] is True
    assert allowed["principal"] == "spiffe://shop.internal/caller"
    assert allowed["matched_rule"] == "grant at policy.toml:6"
    assert allowed["role"] == "caller"
    assert denied["authorized"] is False
    assert denied["reason"] == "NO_ROLE"
    assert denied["rpc_method"] == "/shop.v1.Inventory/GetStock"
    assert {"timestamp", "policy_name", "serial", "issuer", "roles"} <= denied.keys()


@pytest.mark.parametrize(("when", "lines"), [("none", 0), ("on-deny", 1), ("on-allow", 1)])
def test_the_decision_log_keeps_to_what_was_asked(
    shop: Shop, caller: pki.Workload, caplog: pytest.LogCaptureFixture, when: str, lines: int
) -> None:
    with (
        caplog.at_level(logging.INFO, logger="handfast.decisions"),
        shop.workload("server") as me,
        shop.sync_server(me, decision_log=when) as target,
        shop.workload("stranger") as stranger,
        caller.sync_channel(target, peer="server") as channel,
        stranger.sync_channel(target, peer="server") as other,
    ):
        get_stock(channel)
        refused(lambda: get_stock(other))
    written = [item for item in caplog.records if item.name == "handfast.decisions"]
    assert len(written) == lines


# The client's side


def test_a_server_without_the_role_is_not_called_at_all(shop: Shop, caller: pki.Workload) -> None:
    # Nobody listens there: a call that was sent would be UNAVAILABLE.
    nowhere = f"127.0.0.1:{free_port()}"
    with caller.sync_channel(nowhere, peer="stranger") as channel:
        stub = inventory_pb2_grpc.InventoryStub(channel)
        for call in (
            lambda: stub.GetStock(inv.GetStockRequest()),
            lambda: stub.GetStock.with_call(inv.GetStockRequest()),
            lambda: stub.GetStock.future(inv.GetStockRequest()),
            lambda: stub.WatchStock(inv.WatchStockRequest()),
            lambda: stub.Restock(iter([])),
            lambda: payments_pb2_grpc.PaymentsStub(channel).Settle(iter([])),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert reason(caught.value) == "SERVER_ROLE_MISSING"
            assert caught.value.initial_metadata() == ()  # type: ignore[attr-defined]
            assert "stranger" in (caught.value.details() or "")


def test_an_asyncio_call_to_a_server_without_the_role_is_refused_too(caller: pki.Workload) -> None:
    async def play() -> None:
        async with caller.channel(f"127.0.0.1:{free_port()}", peer="stranger") as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetStock(inv.GetStockRequest())
            assert reason(caught.value) == "SERVER_ROLE_MISSING"
            with pytest.raises(grpc.aio.AioRpcError):
                stub.WatchStock(inv.WatchStockRequest())
            with pytest.raises(grpc.aio.AioRpcError):
                stub.Restock()
            with pytest.raises(grpc.aio.AioRpcError):
                payments_pb2_grpc.PaymentsStub(channel).Settle()
            state = channel.get_state(try_to_connect=True)
            await asyncio.wait_for(channel.wait_for_state_change(state), SECONDS)

    asyncio.run(play())


def test_a_server_that_is_another_than_the_one_pinned_is_refused_in_tls(shop: Shop) -> None:
    # Its certificate is good for the address that is called; only the pin tells it apart.
    shop.ca.issue("local", dns=[DnsName("localhost")]).save(shop.home / "local")
    with (
        shop.workload("local") as me,
        shop.sync_server(me) as target,
        shop.workload("stranger", policy=None) as caller,
    ):
        address = target.replace("127.0.0.1", "localhost")
        with caller.sync_channel(address, peer="payments") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                get_stock(channel)
            assert reason(caught.value) == "SERVER_CERTIFICATE_REJECTED"
            assert "names another workload" in (caught.value.details() or "")
        with caller.sync_channel(address, peer="local") as channel:
            assert refused(lambda: get_stock(channel)) == "NO_ROLE"


def test_a_channel_tells_its_connectivity(targets: dict[str, str], caller: pki.Workload) -> None:
    seen: list[grpc.ChannelConnectivity] = []
    with caller.sync_channel(targets["sync"], peer="server") as channel:
        channel.subscribe(seen.append, try_to_connect=True)
        get_stock(channel)
        channel.unsubscribe(seen.append)
    assert seen


@pytest.mark.parametrize("option", ["grpc.ssl_target_name_override", "grpc.default_authority"])
def test_an_option_that_would_undo_the_pin_is_refused(caller: pki.Workload, option: str) -> None:
    with pytest.raises(NotPermittedError, match="undo the pin"):
        caller.sync_channel("127.0.0.1:1", peer="server", options=[(option, "x")])


def test_a_peer_that_cannot_be_pinned_or_is_not_trusted_is_refused(caller: pki.Workload) -> None:
    with pytest.raises(InputError, match="no DNS name can be derived"):
        caller.sync_channel("127.0.0.1:1", peer="Server_v1")
    with pytest.raises(InputError, match="not in the trust bundle"):
        caller.sync_channel("127.0.0.1:1", peer="spiffe://other.test/server")
    with pytest.raises(InputError):
        caller.sync_channel("127.0.0.1:1", peer="../server")


# Servers cannot be had otherwise


def test_no_port_is_had_without_client_authentication(shop: Shop) -> None:
    foreign = grpc.local_server_credentials()
    with shop.workload("server") as me:
        sync = me.sync_server()
        with pytest.raises(NotPermittedError, match="insecure port"):
            sync.add_insecure_port("127.0.0.1:0")
        with pytest.raises(NotPermittedError, match="credentials of another kind"):
            sync.add_secure_port("127.0.0.1:0", foreign)
        sync.stop(None)

        async def play() -> None:
            server = me.server()
            with pytest.raises(NotPermittedError, match="insecure port"):
                server.add_insecure_port("127.0.0.1:0")
            with pytest.raises(NotPermittedError, match="credentials of another kind"):
                server.add_secure_port("127.0.0.1:0", foreign)
            await server.stop(None)

        asyncio.run(play())


def test_a_port_that_is_in_use_is_an_error(shop: Shop, targets: dict[str, str]) -> None:
    with shop.workload("server") as me:
        server = me.sync_server()
        with pytest.raises(RuntimeError):
            server.add_secure_port(targets["sync"])
        server.stop(None)


def test_a_server_without_a_policy_is_refused(shop: Shop) -> None:
    with shop.workload("server", policy=None) as me:
        with pytest.raises(StateError, match="needs a policy"):
            me.sync_server()
        with pytest.raises(pki.PkiError, match="is not there"):
            me.server(policy=shop.home / "none.toml")
        me.sync_server(policy=shop.policy).stop(None)


def test_a_word_that_no_setting_has_is_refused(shop: Shop) -> None:
    with pytest.raises(InputError, match="revocation"):
        shop.workload("server", revocation="maybe")
    with shop.workload("server") as me, pytest.raises(InputError, match="decision_log"):
        me.sync_server(decision_log="sometimes")


def test_peer_outside_a_handler_is_an_error() -> None:
    with pytest.raises(StateError, match="outside a call's handler"):
        pki.peer()


def test_what_peer_tells(shop: Shop, caller: pki.Workload) -> None:
    seen: list[pki.Peer] = []

    class Interceptor(grpc.ServerInterceptor):
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            handler = continuation(details)
            if handler is None:
                return None

            def behavior(request: Any, context: Any) -> Any:
                seen.append(pki.peer())
                return handler.unary_unary(request, context)

            return grpc.unary_unary_rpc_method_handler(
                behavior, handler.request_deserializer, handler.response_serializer
            )

    with (
        shop.workload("server") as me,
        shop.sync_server(me, interceptors=[Interceptor()]) as target,
        caller.sync_channel(target, peer="server") as channel,
    ):
        get_stock(channel)
    (peer,) = seen
    leaf = caller.credential.leaf
    assert str(peer.spiffe_id) == "spiffe://shop.internal/caller"
    assert str(peer.subject) == "CN=caller,O=shop.internal"
    assert [name.name for name in peer.dns_names] == ["caller.shop.internal"]
    assert peer.roles == ("caller",)
    assert peer.scopes == {"all"}
    assert peer.serial == leaf.serial_number
    assert peer.not_after == leaf.not_valid_after_utc
    assert peer.issuer == leaf.issuer.rfc4514_string()


def test_a_workload_carried_across_a_fork_says_so(shop: Shop) -> None:
    with shop.workload("server", policy=None) as me:
        child = forked()
        if child == 0:
            try:
                me.sync_channel("127.0.0.1:1", peer="server")
            except StateError as error:
                os._exit(42 if "fork" in str(error) else 1)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 42
