"""A handshake of our own with a server, to get the certificate chain that gRPC does not expose.

gRPC for Python verifies a server's chain and one DNS name, and gives a call no access to the chain.
So the channel makes a handshake beside gRPC, in the same way: the same address, server name,
protocol and client certificate. A chain that leads to none of the roots ends the handshake before
we present our certificate, as in gRPC. The caller verifies the rest; the handshake proves that the
server holds the key of its leaf.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from cryptography import x509
from OpenSSL import SSL, crypto

from pki.errors import VerificationError, quote_untrusted
from pki.tls.connection import (
    Deadline,
    TlsConnection,
    TooManyBytesError,
    connect,
    ssl_error_message,
)
from pki.tls.target import Target
from pki.x509 import Credential
from pki.x509.path import openssl_error
from pki.x509.readers import MAX_CHAIN_LENGTH

# Times are checked afterwards, by our own clock. OpenSSL's codes, include/openssl/x509_vfy.h.
_CHECKED_LATER = {9, 10}
_MOST_BYTES = 256 * 1024  # more than a handshake with the longest chain needs


class ProbeError(Exception):
    """No handshake was possible.

    Args:
        result: the handshake result name of gRFC A118.
        message: what happened.
    """

    def __init__(self, result: str, message: str) -> None:
        super().__init__(message)
        self.result = result
        self.message = message


def probe_server(
    target: Target,
    server_name: str,
    credential: Credential,
    roots: Sequence[x509.Certificate],
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[x509.Certificate, ...]:
    """Make a handshake with a server; return the chain that it presented: the leaf first.

    Args:
        target: where the server is; the first address that accepts the connection is used.
        server_name: the name for server name indication.
        credential: our credential.
        roots: the roots for the server's chain; without a path to one of them we present nothing.
        seconds: how long all of it may take.
        clock: returns seconds that only grow.

    Raises:
        ProbeError: if no handshake was possible.
        VerificationError: if the chain leads to none of the roots.
    """
    deadline = Deadline(seconds, clock)
    try:
        with connect(target, deadline) as plain:
            return _shake_hands(plain, credential, roots, server_name, deadline)
    except TimeoutError:
        raise ProbeError("HANDSHAKE_TIMEOUT", f"no answer within {seconds:g} s") from None
    except TooManyBytesError as error:
        raise ProbeError("CERTIFICATE_MALFORMED", f"in its handshake {error}") from None
    except OSError as error:
        raise ProbeError("PEER_CONNECTION_CLOSED", _message_of(error)) from error
    except SSL.Error as error:
        raise ProbeError("HANDSHAKE_FAILURE", f"TLS failed: {ssl_error_message(error)}") from error


class _VerifyCallback:
    """OpenSSL's callback for the server's chain: whether we present our certificate."""

    def __init__(self) -> None:
        self.refusal: VerificationError | None = None

    def __call__(
        self, _connection: SSL.Connection, _cert: crypto.X509, code: int, depth: int, good: int
    ) -> bool:
        if not good and code not in _CHECKED_LATER and self.refusal is None:
            self.refusal = openssl_error(code, depth, f"OpenSSL error {code}")
        return self.refusal is None


def _context(
    credential: Credential, roots: Sequence[x509.Certificate], callback: _VerifyCallback
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    store = context.get_cert_store()
    assert store is not None
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))
    context.set_verify(SSL.VERIFY_PEER, callback)
    context.set_alpn_protos([b"h2"])
    context.use_certificate(credential.leaf)
    for issuer in credential.chain[1:]:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(credential.key)
    return context


def _shake_hands(
    plain: socket.socket,
    credential: Credential,
    roots: Sequence[x509.Certificate],
    server_name: str,
    deadline: Deadline,
) -> tuple[x509.Certificate, ...]:
    callback = _VerifyCallback()
    with TlsConnection(
        plain, _context(credential, roots, callback), max_bytes=_MOST_BYTES
    ) as connection:
        connection.tls.set_tlsext_host_name(server_name.encode())
        connection.tls.set_connect_state()
        try:
            connection.do_handshake(deadline)
        except SSL.Error:
            if callback.refusal is not None:
                raise callback.refusal from None
            raise
        return _chain(connection.tls)


def _chain(connection: SSL.Connection) -> tuple[x509.Certificate, ...]:
    chain = connection.get_peer_cert_chain() or []
    if not 1 <= len(chain) <= MAX_CHAIN_LENGTH:
        raise ProbeError(
            "CERTIFICATE_MALFORMED",
            f"the server presented {len(chain)} certificates; 1 to {MAX_CHAIN_LENGTH} are allowed",
        )
    try:
        return tuple(item.to_cryptography() for item in chain)
    except ValueError as error:
        raise ProbeError("CERTIFICATE_MALFORMED", quote_untrusted(error)) from None


def _message_of(error: OSError) -> str:
    return error.strerror or quote_untrusted(error)
