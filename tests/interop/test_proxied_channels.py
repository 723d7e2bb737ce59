"""A channel through an HTTP proxy: looks and calls go the same way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import pytest

from pki.tls.proxy import Proxy, proxy_for
from tests.interop.shop import Shop, free_port, get_stock, reason, revoke
from tests.interop.test_server_addresses import calls_that_end_well


@contextmanager
def http_proxy(
    leads_to: str, answer: bytes = b"HTTP/1.1 200 OK"
) -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that knows one server by whatever name, and tells what it was asked for."""
    asked: list[str] = []
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
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                head = b""
                while b"\r\n\r\n" not in head and (data := near.recv(4096)):
                    head += data
                asked.append(head.decode())
                near.sendall(answer + b"\r\n\r\n")
                ends.append(near)
                if b" 200 " not in answer:
                    near.shutdown(socket.SHUT_RDWR)
                    continue
                host, _, port = leads_to.partition(":")
                far = socket.create_connection((host, int(port)))
                ends.append(far)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}", asked
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
        for end in ends:
            end.close()


def test_looks_and_calls_go_through_the_proxy_that_grpc_would_take(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        http_proxy(address) as (proxy, asked),
        shop.workload("caller") as caller,
    ):
        monkeypatch.setenv("https_proxy", f"http://me:secret@{proxy}")
        with caller.sync_channel("orders.example:443", peer="server") as channel:
            assert calls_that_end_well(channel) == 6
            assert len(asked) == 2, "one look, and one connection of gRPC's"
            for head in asked:
                assert head.startswith("CONNECT orders.example:443 HTTP/1.")
                assert "Proxy-Authorization: Basic bWU6c2VjcmV0" in head
            revoke(shop, "server")
            caller.reload()
            with pytest.raises(grpc.RpcError) as caught:
                get_stock(channel)
            assert reason(caught.value) == "SERVER_CERTIFICATE_REJECTED"


@pytest.mark.parametrize("way", ["no_proxy", "option", "option in bytes"])
def test_whoever_wants_no_proxy_gets_none(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    options: list[Any] = []
    if way == "no_proxy":
        monkeypatch.setenv("no_proxy", "example.com, 127.0.0.0/8")
    else:
        name = "grpc.enable_http_proxy"
        options = [(name if way == "option" else name.encode(), 0)]
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server", options=options) as channel,
    ):
        assert calls_that_end_well(channel) == 6


def test_a_proxy_that_refuses_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        http_proxy("", b"HTTP/1.1 403 Forbidden") as (proxy, _),
        shop.workload("caller") as caller,
    ):
        monkeypatch.setenv("grpc_proxy", f"http://{proxy}")
        with (
            caller.sync_channel("orders.example:443", peer="server") as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            get_stock(channel)
        assert "the proxy refused CONNECT: 'HTTP/1.1 403 Forbidden'" in (
            caught.value.details() or ""
        )


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, None),
        ({"http_proxy": ""}, None),
        ({"http_proxy": "http://p:1"}, Proxy("p", 1, "a.b:443")),
        ({"http_proxy": "http://p:1", "https_proxy": "http://q"}, Proxy("q", 443, "a.b:443")),
        ({"https_proxy": "http://q:2", "grpc_proxy": "http://r:3"}, Proxy("r", 3, "a.b:443")),
        ({"http_proxy": "http://p:1", "no_proxy": "x, B "}, None),
        (
            {"http_proxy": "http://p:1", "no_proxy": "b", "no_grpc_proxy": "c"},
            Proxy("p", 1, "a.b:443"),
        ),
    ],
)
def test_the_proxy_is_found_as_grpc_finds_it(
    environment: dict[str, str], wanted: Proxy | None
) -> None:
    assert proxy_for("a.b", 443, environment) == wanted


@pytest.mark.parametrize(
    "text", ["p:1", "https://p:1", "socks5://p", "http://", "http://p:x", "http://[::"]
)
def test_a_proxy_that_grpc_passes_by_is_passed_by_and_told_of_without_its_password(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert proxy_for("a.b", 443, {"http_proxy": text.replace("://", "://me:secret@")}) is None
    assert "http_proxy names no proxy" in caplog.text
    assert "secret" not in caplog.text
