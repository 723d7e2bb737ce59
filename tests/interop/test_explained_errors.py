"""Calls that fail in the handshake say why, on channels of a workload."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import pki
from pki.rpc.client.failure_explainer import FailureExplainer
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.seeds import Ca, Made, Scene, pem, scene_in
from tests.interop.shop import SECONDS, Shop, get_stock


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "seeds").mkdir()
    with scene_in(tmp_path / "seeds") as made:
        yield made


def refusing_server(shop: Shop, scene: Scene) -> str:
    """Run a server with the shop's certificate that believes another CA alone."""
    folder = shop.home / "server"
    with shop.workload("server"):
        pass
    made = [(folder / "key.pem").read_bytes(), (folder / "chain.pem").read_bytes()]
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    credentials = grpc.ssl_server_credentials([(made[0], made[1])], pem([scene.ca.root]), True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    scene.on_close(lambda: server.stop(0).wait())
    return f"127.0.0.1:{port}"


def details_of(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    value = error.value
    assert isinstance(value, grpc.Call | grpc.aio.AioRpcError) or hasattr(value, "details")
    return str(value.details())


def test_a_server_that_refuses_our_certificate_is_explained(shop: Shop, scene: Scene) -> None:
    address = refusing_server(shop, scene)
    with (
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(channel)
        words = details_of(caught)
        assert "likely" in words
        assert "bundle" in words
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        stream = inventory_pb2_grpc.InventoryStub(channel).WatchStock(inv.WatchStockRequest())
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert "likely" in details_of(caught)
        assert "likely" in stream.details()


def test_an_asyncio_call_is_explained_too(shop: Shop, scene: Scene) -> None:
    address = refusing_server(shop, scene)

    async def play(caller: pki.Workload) -> None:
        async with caller.channel(address, peer="server") as channel:
            stub = inventory_pb2_grpc.InventoryStub(channel)
            call = stub.GetStock(inv.GetStockRequest(), timeout=SECONDS)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert "likely" in str(caught.value.details())
            assert "likely" in str(await call.details())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in stub.WatchStock(inv.WatchStockRequest()):
                    pass
            assert "likely" in str(caught.value.details())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.WatchStock(inv.WatchStockRequest()).read()
            assert "likely" in str(caught.value.details())

    with shop.workload("caller") as caller:
        asyncio.run(play(caller))


def test_one_option_turns_it_off(shop: Shop, scene: Scene) -> None:
    address = refusing_server(shop, scene)
    with (
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server", explain=False) as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(channel)
        assert "likely" not in details_of(caught)


def test_a_server_in_plaintext_is_explained_before_the_first_call(shop: Shop, scene: Scene) -> None:
    address = scene.plain_grpc_server()
    with (
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        get_stock(channel)
    assert pki.reason_of(caught.value) == "SERVER_UNVERIFIED"
    assert "plaintext" in details_of(caught)


def test_a_server_without_http2_is_explained(shop: Shop, scene: Scene) -> None:
    folder = shop.directory("server")
    made = Made(
        load_pem_private_key((folder / "key.pem").read_bytes(), None),
        x509.load_pem_x509_certificates((folder / "chain.pem").read_bytes()),
    )
    root = x509.load_pem_x509_certificate((folder / "bundle.pem").read_bytes())
    scene.ca.root = root
    address = scene.openssl_server(made, alpn=None)
    with (
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        get_stock(channel)
    assert "HTTP/2" in details_of(caught)


def test_a_server_without_the_name_that_is_pinned_is_explained(scene: Scene) -> None:
    names = [x509.UniformResourceIdentifier("spiffe://seed.internal/server")]
    # gRPC falls back on the common name, so that is another.
    address = scene.grpc_server(scene.ca.leaf("other", names=names))
    with (
        pki.Workload.from_directory(scene.caller()) as caller,
        caller.sync_channel(address, peer="server") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        get_stock(channel)
    assert "server.seed.internal" in details_of(caught)
    assert "issue it with the DNS name" in details_of(caught)


def test_a_stranger_at_the_address_is_not_shown_who_we_are(shop: Shop, scene: Scene) -> None:
    shown: list[object] = []
    stranger = Ca("stranger").leaf()
    address = scene.openssl_server(stranger, came=shown.append)
    with (
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
        pytest.raises(grpc.RpcError),
    ):
        get_stock(channel)
    assert not any(shown)


# The explainer by itself


def test_calls_that_fail_together_ask_once() -> None:
    asked = []

    def ask() -> str:
        asked.append(1)
        return "because"

    explainer = FailureExplainer(ask)
    assert [explainer.explain() for _ in range(5)] == ["because"] * 5
    assert len(asked) == 1


def test_an_inquiry_that_hangs_holds_a_call_up_for_a_moment_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pki.rpc.client.failure_explainer._WAIT_SECONDS", 0.05)
    hanging = threading.Event()
    explainer = FailureExplainer(lambda: str(hanging.wait(SECONDS)))
    begun = time.monotonic()
    assert explainer.explain() == ""
    assert asyncio.run(explainer.explain_async()) == ""
    hanging.set()
    assert time.monotonic() < begun + SECONDS


def test_an_inquiry_that_fails_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def ask() -> str:
        raise RuntimeError("broken")

    assert FailureExplainer(ask).explain() == ""
    assert "broken" in caplog.text


@pytest.mark.parametrize(
    ("code", "details", "concerns"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", True),
        (grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection reset by peer", True),
        (grpc.StatusCode.UNAVAILABLE, "Tls handshake failed (TSI_PROTOCOL_FAILURE)", True),
        (
            grpc.StatusCode.UNAVAILABLE,
            "Cannot check peer: missing selected ALPN property.",
            True,
        ),
        (grpc.StatusCode.UNAVAILABLE, "the kitchen is closed", False),
        (grpc.StatusCode.UNAVAILABLE, "", False),
        (grpc.StatusCode.UNAVAILABLE, None, False),
        (grpc.StatusCode.INTERNAL, "Socket closed", False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", False),
    ],
)
def test_only_failures_of_handshakes_are_asked_about(
    code: grpc.StatusCode, details: str | None, *, concerns: bool
) -> None:
    assert FailureExplainer(lambda: "").concerns(code, details) is concerns
