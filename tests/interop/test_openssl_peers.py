"""OpenSSL on the other side, in both directions: Python's ``ssl``, HTTP/2 spoken by hand."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from pki.authority import Authority
from tests.interop.shop import (
    SECONDS,
    Shop,
    eventually,
    get_stock,
    reason,
    revoke,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SETTINGS = 4


def context(folder: Path, side: int) -> ssl.SSLContext:
    """Make a context that checks chain and revocation lists, as an operator would set it up."""
    made = ssl.SSLContext(side)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(folder / "bundle.pem")
    made.load_verify_locations(folder / "crl.pem")
    made.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
    made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    made.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    made.set_alpn_protocols(["h2"])
    return made


@contextmanager
def openssl_server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve TLS alone, and note who came and what they said first."""
    told: list[str] = []
    made = context(folder, ssl.PROTOCOL_TLS_SERVER)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                try:
                    plain.settimeout(SECONDS)
                    with made.wrap_socket(plain, server_side=True) as secured:
                        peer: Any = secured.getpeercert()
                        names = [value for kind, value in peer["subjectAltName"] if kind == "URI"]
                        said = secured.recv(len(PREFACE))
                        told.append(f"{names[0]} {'h2' if said == PREFACE else 'looked'}")
                except OSError as error:
                    told.append(str(error))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}", told
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_an_openssl_client_shakes_hands_with_our_server_and_speaks_http2(
    shop: Shop, kind: str
) -> None:
    with shop.workload("server") as me, shop.server(kind, me) as address:
        host, _, port = address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), SECONDS) as plain,
            context(shop.home / "caller", ssl.PROTOCOL_TLS_CLIENT).wrap_socket(plain) as secured,
        ):
            assert secured.selected_alpn_protocol() == "h2"
            assert secured.version() == "TLSv1.3"
            shown = secured.getpeercert()
            assert shown is not None
            assert ("URI", "spiffe://shop.internal/server") in shown["subjectAltName"]
            secured.sendall(PREFACE + EMPTY_SETTINGS)
            assert secured.recv(9)[3] == SETTINGS


def test_an_openssl_client_refuses_our_server_once_it_is_revoked(shop: Shop) -> None:
    with shop.workload("server") as me, shop.aio_server(me) as address:
        revoke(shop, "server")
        host, _, port = address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), SECONDS) as plain,
            pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"),
        ):
            context(shop.home / "caller", ssl.PROTOCOL_TLS_CLIENT).wrap_socket(plain)


def test_our_client_shows_an_openssl_server_who_it_is_and_speaks_http2(shop: Shop) -> None:
    ours = "spiffe://shop.internal/caller"
    with (
        openssl_server(shop.home / "server") as (address, told),
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, "it answers no calls"
        assert reason(caught.value) == "UNAVAILABLE"
        assert eventually(lambda: f"{ours} h2" in told)
        assert f"{ours} looked" in told


def test_our_client_refuses_an_openssl_server_that_is_revoked_or_another(shop: Shop) -> None:
    with (
        openssl_server(shop.home / "server") as (address, told),
        shop.workload("caller") as caller,
    ):
        with caller.sync_channel(address, peer="caller", policy=None) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                get_stock(channel)
            assert reason(caught.value) in {"SERVER_CERTIFICATE_REJECTED", "SERVER_ROLE_MISSING"}
        revoke(shop, "server")
        caller.reload()
        with caller.sync_channel(address, peer="server") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                get_stock(channel)
            assert reason(caught.value) == "SERVER_CERTIFICATE_REJECTED"
        assert not [line for line in told if line.endswith(" h2")], "no call was sent"


def test_an_openssl_server_refuses_our_client_once_it_is_revoked(shop: Shop) -> None:
    revoke(shop, "caller")
    with (
        openssl_server(shop.home / "server") as (address, told),
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert eventually(lambda: any("certificate revoked" in line for line in told))


def test_a_server_of_another_ca_is_not_shown_who_we_are(shop: Shop, tmp_path: Path) -> None:
    with Authority.create(tmp_path / "elsewhere", "shop.internal") as other:
        other.issue("server").save(tmp_path / "impostor")
    # It would take our certificate: it trusts our root beside its own.
    (tmp_path / "impostor" / "bundle.pem").write_bytes((shop.home / "ca/bundle.pem").read_bytes())
    (tmp_path / "impostor" / "crl.pem").write_bytes((shop.home / "ca/crl.pem").read_bytes())
    with (
        openssl_server(tmp_path / "impostor") as (address, told),
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(channel)
        assert reason(caught.value) == "SERVER_CERTIFICATE_REJECTED"
        assert "not in our trust bundle" in (caught.value.details() or "")
        assert eventually(lambda: bool(told))
        assert not any("spiffe" in line for line in told), told
