"""A handshake of our own with a server, to see the certificate that gRPC doesn't show.

gRPC for Python checks a server's chain and one DNS name, and shows no call what it saw. So the
channel connects beside it, as gRPC would: the same address, name indication, protocol and client
certificate. A chain that leads to none of the roots ends the handshake before we show who we are,
as it does in gRPC. All else is judged by the caller; the handshake proves that the server holds the
key of the leaf that it shows.
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

# Times are judged by our own clock, afterwards. OpenSSL's codes, include/openssl/x509_vfy.h.
_JUDGED_LATER = {9, 10}
_MOST_BYTES = 256 * 1024  # a handshake of a chain of the longest that is taken needs a part of it


class ProbeError(Exception):
    """No chain was seen.

    Args:
        verdict: the handshake result name of gRFC A118.
        words: what happened.
    """

    def __init__(self, verdict: str, words: str) -> None:
        super().__init__(words)
        self.verdict = verdict
        self.words = words


def look(
    target: Target,
    server_name: str,
    credential: Credential,
    roots: Sequence[x509.Certificate],
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[x509.Certificate, ...]:
    """Shake hands with a server, and give the chain that it showed: the leaf first.

    Args:
        target: where it is; the first address that takes the connection counts.
        server_name: for the name indication.
        credential: what we show.
        roots: those that its chain must lead to one of, or it is shown nothing.
        seconds: how long all of it may take.
        clock: gives seconds that only grow.

    Raises:
        ProbeError: if no handshake came about.
        VerificationError: if its chain leads to none of the roots.
    """
    limit = Deadline(seconds, clock)
    try:
        with connect(target, limit) as plain:
            return _shake_hands(plain, credential, roots, server_name, limit)
    except TimeoutError:
        raise ProbeError("HANDSHAKE_TIMEOUT", f"no answer within {seconds:g} s") from None
    except TooManyBytesError as error:
        raise ProbeError("CERTIFICATE_MALFORMED", f"in its handshake {error}") from None
    except OSError as error:
        raise ProbeError("PEER_CONNECTION_CLOSED", _words(error)) from error
    except SSL.Error as error:
        raise ProbeError("HANDSHAKE_FAILURE", f"TLS failed: {ssl_error_message(error)}") from error


class _FirstWord:
    """OpenSSL's word on the chain in the handshake: whether we show who we are."""

    def __init__(self) -> None:
        self.refusal: VerificationError | None = None

    def __call__(
        self, _connection: SSL.Connection, _cert: crypto.X509, code: int, depth: int, good: int
    ) -> bool:
        if not good and code not in _JUDGED_LATER and self.refusal is None:
            self.refusal = openssl_error(code, depth, f"OpenSSL error {code}")
        return self.refusal is None


def _context(
    credential: Credential, roots: Sequence[x509.Certificate], first_word: _FirstWord
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    store = context.get_cert_store()
    assert store is not None
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))
    context.set_verify(SSL.VERIFY_PEER, first_word)
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
    limit: Deadline,
) -> tuple[x509.Certificate, ...]:
    first_word = _FirstWord()
    with TlsConnection(
        plain, _context(credential, roots, first_word), max_bytes=_MOST_BYTES
    ) as talk:
        talk.tls.set_tlsext_host_name(server_name.encode())
        talk.tls.set_connect_state()
        try:
            talk.shake_hands(limit)
        except SSL.Error:
            if first_word.refusal is not None:
                raise first_word.refusal from None
            raise
        return _chain(talk.tls)


def _chain(connection: SSL.Connection) -> tuple[x509.Certificate, ...]:
    found = connection.get_peer_cert_chain() or []
    if not 1 <= len(found) <= MAX_CHAIN_LENGTH:
        raise ProbeError("CERTIFICATE_MALFORMED", f"the server showed {len(found)} certificates")
    try:
        return tuple(item.to_cryptography() for item in found)
    except ValueError as error:
        raise ProbeError("CERTIFICATE_MALFORMED", quote_untrusted(error)) from None


def _words(error: OSError) -> str:
    return error.strerror or quote_untrusted(error)
