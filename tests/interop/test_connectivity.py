"""Whether a synchronous channel is connected: asked, or watched where it can't be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from pki.rpc.client.connectivity import Connectivity
from tests.interop.shop import eventually


class WatchedOnly:
    """A channel that tells watchers alone, as a later gRPC's may."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.subscribe = channel.subscribe
        self.unsubscribe = channel.unsubscribe


class Passing(grpc.UnaryUnaryClientInterceptor):
    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details, request)


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        server = grpc.server(pool)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(0).wait()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda channel: channel,
        lambda channel: grpc.intercept_channel(channel, Passing(), Passing()),
        WatchedOnly,
    ],
    ids=["asked", "asked beneath interceptors", "watched"],
)
def test_a_channel_is_ready_once_it_was_told_to_connect(
    address: str, wrap: Callable[[Any], Any]
) -> None:
    with grpc.insecure_channel(address) as channel:
        found = Connectivity(wrap(channel))
        assert not found.check_ready(False)
        assert eventually(lambda: found.check_ready(True))
        assert found.check_ready(False)
        found.close()


def test_a_channel_of_this_grpc_can_be_asked_so_nothing_watches_it(address: str) -> None:
    """If this fails, gRPC has moved what is asked: short breaks go unseen until it is found."""
    with grpc.insecure_channel(address) as channel:
        found = Connectivity(channel)
        assert found._query is not None
        found.check_ready(True)
        assert not found._watching


def test_a_closed_channel_is_not_ready(address: str) -> None:
    channel = grpc.insecure_channel(address)
    found = Connectivity(channel)
    channel.close()
    assert not found.check_ready(True)
    found.close()
