"""Servers that nobody trusts yet, and that hold up or disturb whoever asks them for bundles."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.name import _ASN1Type
from OpenSSL import SSL

from pki._proto.handfast.ca.v1 import enrollment_pb2
from pki.authority import Authority
from pki.ca_client import bundles
from pki.ca_client.bundles import Anchor, meet_ca, newest_bundle, newest_bundle_at
from pki.clock import system_clock
from pki.errors import CaRefusedError, CaUnreachableError, CertificateError
from pki.identity import TrustDomain
from pki.keys import generate_key
from pki.x509.bundle_chain import SignedBundle

DOMAIN = TrustDomain.parse("shop.internal")


def chain_without_end() -> Iterator[bytes]:
    """Return bundles that anybody can make: of the right form, and signed by nobody."""
    with Authority.ephemeral("shop.internal") as authority:
        content = authority.bundles()[0].content
    while True:
        yield SignedBundle(content, ()).encode()
        content = content.next(content.roots, created=content.created)


class LateError(grpc.RpcError):
    """The end of a call whose time is over."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.DEADLINE_EXCEEDED


class SlowServer:
    """Answers each call with one bundle, just in time."""

    def __init__(self) -> None:
        self.calls = 0
        self.now = 0.0
        self._chain = chain_without_end()

    def GetBundle(self, request: Any, timeout: float) -> enrollment_pb2.GetBundleResponse:
        del request
        self.calls += 1
        self.now += min(timeout, 9.9)
        if timeout < 9.9:
            raise LateError
        return enrollment_pb2.GetBundleResponse(bundles=[next(self._chain)], more=True)


def test_a_server_that_sends_one_bundle_at_a_time_is_left_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server: Any = SlowServer()
    monkeypatch.setattr(bundles, "time", type("Time", (), {"monotonic": lambda: server.now}), False)
    with pytest.raises(CaUnreachableError):
        newest_bundle(server, Anchor(DOMAIN, fingerprint=bytes(32)), now=system_clock())
    assert server.calls < 10


def test_more_than_a_chain_may_have_is_not_even_parsed() -> None:
    numbers = count(1)

    class Server:
        def GetBundle(self, request: Any, timeout: float) -> enrollment_pb2.GetBundleResponse:
            del request, timeout
            next(numbers)
            return enrollment_pb2.GetBundleResponse(bundles=[bytes(1024)] * 15_000, more=True)

    server: Any = Server()
    with pytest.raises(CertificateError, match="without an end"):
        newest_bundle(server, Anchor(DOMAIN, fingerprint=bytes(32)), now=system_clock())
    assert next(numbers) == 2


@contextmanager
def presenting(certificate: x509.Certificate, key: Any) -> Iterator[str]:
    """Make handshakes with a certificate; yield the address."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    context.set_alpn_select_callback(lambda *_: b"h2")

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                plain, _ = listening.accept()
                with plain:
                    connection = SSL.Connection(context, plain)
                    connection.set_accept_state()
                    connection.do_handshake()
                    connection.recv(1)
            except SSL.Error:
                continue
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_name_that_cant_be_decoded_is_a_refusal() -> None:
    key, now = generate_key(), system_clock()
    common_name = x509.NameAttribute(
        x509.oid.NameOID.COMMON_NAME, "AAAAAAAA", _type=_ASN1Type.T61String
    )
    name = x509.Name([common_name])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    der = made.public_bytes(serialization.Encoding.DER).replace(b"AAAAAAAA", b"\xff\xfeAAAAAA")
    anchor = Anchor(DOMAIN, fingerprint=bytes(32))
    with presenting(x509.load_der_x509_certificate(der), key) as address:
        with pytest.raises(CaRefusedError, match="presented no root"):
            newest_bundle_at(address, anchor, now=now)
        with pytest.raises(CaRefusedError):
            meet_ca(address, anchor, now=now)
