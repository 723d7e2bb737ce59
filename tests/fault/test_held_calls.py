"""Peers without a role who begin calls and send nothing hold neither threads nor places."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.interop.shop import SECONDS, Shop, get_stock, reason, refused, revoke

# Without Reserve: in the asyncio server it is a plain function, for which gRPC itself waits for the
# message, without a thread.
METHODS = ("GetStock", "WatchStock", "Nothing")
HELD = 32


def nothing_until(over: threading.Event) -> Iterator[Any]:
    over.wait()
    yield from ()


@contextlib.contextmanager
def calls_without_a_message(channel: grpc.Channel, over: threading.Event) -> Iterator[list[Any]]:
    """Begin calls whose headers are sent and whose message is not."""
    calls: list[Any] = [
        channel.stream_stream(f"/shop.v1.Inventory/{METHODS[number % len(METHODS)]}")(
            nothing_until(over), timeout=SECONDS
        )
        for number in range(HELD)
    ]
    try:
        yield calls
    finally:
        over.set()
        for call in calls:
            call.cancel()


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_who_has_no_role_is_refused_before_a_message_comes(shop: Shop, kind: str) -> None:
    with (
        shop.workload("server") as me,
        # Eight threads in the one, eight places in the other.
        shop.server(kind, me, maximum_concurrent_rpcs=8 if kind == "aio" else None) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(address, peer="server") as other,
        calls_without_a_message(other, threading.Event()) as calls,
    ):
        found = []
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            found.append(reason(caught.value))
        # In asyncio servers those over the bound are turned away by gRPC itself.
        assert set(found) <= {"NO_ROLE", "RESOURCE_EXHAUSTED"}
        assert found.count("NO_ROLE") >= 8
        assert get_stock(channel) > 0


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_a_unary_call_without_a_message_is_told_so(shop: Shop, kind: str) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        for method in ("GetStock", "WatchStock"):
            call: Any = channel.stream_stream(f"/shop.v1.Inventory/{method}")
            with pytest.raises(grpc.RpcError) as caught:
                next(call(iter(()), timeout=SECONDS))
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "exactly one request" in str(caught.value.details())
        assert get_stock(channel) > 0


@pytest.mark.parametrize("method", ["GetStock", "WatchStock"])
@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_who_is_revoked_between_headers_and_message_is_not_served(
    shop: Shop, kind: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any wait is a long one here.
    monkeypatch.setattr("pki.rpc.server.interceptor_aio.REAUTHORIZE_AFTER_SECONDS", 0.0)
    monkeypatch.setattr("pki.rpc.server.interceptor_sync.REAUTHORIZE_AFTER_SECONDS", 0.0)
    revoked = threading.Event()

    def message_after_revocation() -> Iterator[bytes]:
        revoked.wait()
        yield b""

    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        # One that looks at nothing: a thief has no channel of ours.
        grpc.secure_channel(address, **caller.channel_arguments("server")) as channel,
    ):
        assert get_stock(channel) > 0
        begin: Any = channel.stream_stream(f"/shop.v1.Inventory/{method}")
        call = begin(message_after_revocation(), timeout=SECONDS)
        # Calls come in order on a connection: the headers of the first are judged by then.
        assert get_stock(channel) > 0
        try:
            revoke(shop, "caller")
            me.reload()
            assert refused(lambda: get_stock(channel)) == "CERTIFICATE_REVOKED"
        finally:
            revoked.set()
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        assert reason(caught.value) in {"CERTIFICATE_REVOKED", "CANCELLED"}
