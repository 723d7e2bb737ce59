"""Makes one handshake with a server, and records all that it shows.

In TLS 1.3 a server refuses a client's certificate late: the client completes the handshake before
the server has verified the certificate. So an HTTP/2 preface is sent after the handshake, and its
answer is awaited: HTTP/2 settings or a session ticket mean that the server went on; an alert or a
bare end of file mean that it did not. A server of another protocol is sent what it answers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from cryptography import x509
from OpenSSL import SSL, crypto

from pki.errors import quote_untrusted
from pki.keys import PrivateKey
from pki.tls.connection import (
    Deadline,
    TlsConnection,
    TooManyBytesError,
    connect,
    ssl_error_message,
)
from pki.tls.starttls import PROBES, StartTls, StartTlsRefusedError, request_tls
from pki.tls.target import Target
from pki.x509 import canonical_name, decode_name
from pki.x509.decoding import UNREADABLE

_MOST_BYTES = 512 * 1024
_ANSWER_SECONDS = 1.0
# How long to wait for HTTP/2 settings from a server that went on with TLS.
_SETTINGS_SECONDS = 0.4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_GRPC_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
# First the suites that gRPC offers, then all of OpenSSL's: a weak one is to be observed and named.
_ALL_CIPHERS = _GRPC_CIPHERS + b":ALL:@SECLEVEL=0"
_SETTINGS = 4  # the type of an HTTP/2 frame, RFC 9113 section 6.5
_MOST_ISSUERS = 100
# Times are checked later, from the chain. OpenSSL's codes, include/openssl/x509_vfy.h.
_CHECKED_LATER = {9, 10}


class HandshakeEnd(StrEnum):
    """How a handshake ended."""

    ACCEPTED = "accepted"
    """The server went on after the handshake."""
    SILENT = "silent"
    """The handshake completed, and the server sent nothing after it."""
    CLOSED = "closed"
    """The server closed the connection without an alert."""
    ALERT = "alert"
    """The server sent an alert."""
    TIMED_OUT = "timed out"
    NOT_CONNECTED = "not connected"
    NO_STARTTLS = "no STARTTLS"
    """The server did not begin TLS when it was asked to in its own protocol."""
    NO_TLS = "no TLS"
    """The server's first bytes are none of TLS."""
    FAILED = "failed"
    """TLS failed on this side."""


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    """A certificate chain and its private key, to present in a handshake."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey


@dataclass(frozen=True, slots=True)
class RequestedIssuer:
    """A CA that a server names when it requests a certificate.

    Args:
        name: its distinguished name, in the canonical form of ``pki.x509``.
        text: the same, escaped, for people.
    """

    name: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Handshake:
    """What one handshake showed.

    Args:
        end: how it ended.
        message: how it ended, as a sentence.
        completed: whether the handshake completed, as this side sees it.
        alert: the number of the server's alert (RFC 8446 section 6); None without one.
        error: why the connection failed; None if it did not.
        version: the TLS version, e.g. ``TLSv1.3``; empty before one was agreed on.
        cipher: the cipher suite, in OpenSSL's name.
        group: the group of the key exchange; empty where OpenSSL can't tell.
        alpn: the protocol agreed on; empty without one.
        chain: the certificates that the server presented, in DER, in its order.
        certificate_requested: whether the server requested our certificate.
        requested_issuers: the CAs that the server named in its request; empty if it named none.
        http2: whether the server sent HTTP/2 settings.
        first_bytes: the first bytes from the server, as they came over the wire.
        seconds: how long the handshake took.
    """

    end: HandshakeEnd
    message: str
    completed: bool = False
    alert: int | None = None
    error: OSError | None = None
    version: str = ""
    cipher: str = ""
    group: str = ""
    alpn: str = ""
    chain: tuple[bytes, ...] = ()
    certificate_requested: bool = False
    requested_issuers: tuple[RequestedIssuer, ...] = ()
    http2: bool = False
    first_bytes: bytes = b""
    seconds: float = 0.0

    @property
    def agrees_with_grpc(self) -> bool:
        """Whether the cipher suite is one that gRPC offers; in TLS 1.3 each is."""
        return self.version != "TLSv1.2" or (
            self.cipher.startswith("ECDHE-") and ("GCM" in self.cipher or "CHACHA" in self.cipher)
        )


def make_handshake(
    target: Target,
    server_name: str,
    certified_key: CertifiedKey | None,
    *,
    seconds: float,
    roots: Sequence[x509.Certificate] | None = None,
    starttls: StartTls | None = None,
    only_grpc_ciphers: bool = False,
) -> Handshake:
    """Make a handshake with a server and return what it showed; a failure is part of the result.

    Without roots the server is not verified: our certificate is presented to whoever answers.

    Args:
        target: where the server is.
        server_name: for the server name indication; empty sends none.
        certified_key: the certificate to present if the server requests one.
        seconds: how long all of it may take.
        roots: the server's chain must lead to one of them, or our certificate is not presented.
        starttls: the protocol in which to ask for TLS first; None begins with TLS, for HTTP/2.
        only_grpc_ciphers: whether to offer the cipher suites of gRPC alone, and not OpenSSL's too.
    """
    limit = Deadline(seconds)
    try:
        plain = connect(target, limit)
    except OSError as error:
        end = (
            HandshakeEnd.TIMED_OUT
            if isinstance(error, TimeoutError)
            else HandshakeEnd.NOT_CONNECTED
        )
        return Handshake(end, error.strerror or quote_untrusted(error), error=error)
    events = _HandshakeEvents()
    try:
        if starttls is not None:
            request_tls(starttls, plain, limit.remaining)
        ciphers = _GRPC_CIPHERS if only_grpc_ciphers else _ALL_CIPHERS
        context = _context(certified_key, events, roots, ciphers, alpn=starttls is None)
    except StartTlsRefusedError as error:
        plain.close()
        return Handshake(HandshakeEnd.NO_STARTTLS, str(error))
    except OSError as error:
        plain.close()
        end = HandshakeEnd.TIMED_OUT if isinstance(error, TimeoutError) else HandshakeEnd.CLOSED
        return Handshake(end, error.strerror or quote_untrusted(error))
    except (SSL.Error, crypto.Error, ValueError) as error:
        plain.close()
        message = (
            ssl_error_message(error) if isinstance(error, SSL.Error) else quote_untrusted(error)
        )
        return Handshake(HandshakeEnd.FAILED, f"our certificate can't be presented: {message}")
    with TlsConnection(plain, context, max_bytes=_MOST_BYTES) as connection:
        if server_name:
            connection.tls.set_tlsext_host_name(server_name.encode())
        connection.tls.set_connect_state()
        probe = _PREFACE if starttls is None else PROBES[starttls]
        return _run_handshake(connection, events, limit, probe)


class _HandshakeEvents:
    """What OpenSSL reports during a handshake."""

    def __init__(self) -> None:
        self.alert: int | None = None
        self.certificate_requested = False
        self.ticket = False

    def __call__(self, connection: SSL.Connection, where: int, code: int) -> None:
        if where & SSL.SSL_CB_ALERT:
            if where & SSL.SSL_CB_READ and code & 0xFF:
                self.alert = code & 0xFF
            return
        state = connection.get_state_string()
        # State names of OpenSSL's statem.c; no public constant exists for these two.
        self.certificate_requested = self.certificate_requested or state.endswith(
            b"certificate request"
        )
        self.ticket = self.ticket or state.endswith(b"session ticket")


def _context(
    certified_key: CertifiedKey | None,
    events: _HandshakeEvents,
    roots: Sequence[x509.Certificate] | None,
    ciphers: bytes,
    *,
    alpn: bool,
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_cipher_list(ciphers)
    context.set_info_callback(events)
    if alpn:
        context.set_alpn_protos([b"h2"])
    if roots is not None:
        store = context.get_cert_store()
        assert store is not None
        for root in roots:
            store.add_cert(crypto.X509.from_cryptography(root))
        context.set_verify(
            SSL.VERIFY_PEER, lambda *result: bool(result[4]) or result[2] in _CHECKED_LATER
        )
    if certified_key is not None:
        context.use_certificate(certified_key.chain[0])
        for issuer in certified_key.chain[1:]:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(certified_key.key)
    return context


def _run_handshake(
    connection: TlsConnection, events: _HandshakeEvents, limit: Deadline, probe: bytes
) -> Handshake:
    begun = time.monotonic()
    completed = False
    settings = False
    try:
        connection.do_handshake(limit)
        completed = True
        seconds = time.monotonic() - begun
        settings = _await_answer(connection, events, limit.shortened_to(_ANSWER_SECONDS), probe)
        end, message = HandshakeEnd.ACCEPTED, "the server continues after the handshake"
    except TimeoutError:
        end, message = HandshakeEnd.TIMED_OUT, f"no answer within {limit.seconds:g} s"
        if completed:
            end, message = HandshakeEnd.SILENT, "the server sent nothing after the handshake"
    except TooManyBytesError as error:
        end, message = HandshakeEnd.FAILED, quote_untrusted(error)
    except SSL.Error as error:
        end, message = HandshakeEnd.FAILED, ssl_error_message(error)
        if events.alert is not None:
            end = HandshakeEnd.ALERT
        elif not _is_tls(connection.first_bytes):
            end = HandshakeEnd.NO_TLS
    except OSError as error:
        end, message = (
            HandshakeEnd.CLOSED,
            error.strerror or "it closed the connection without a reason",
        )
    handshake = Handshake(
        end,
        message,
        completed=completed,
        alert=events.alert,
        certificate_requested=events.certificate_requested,
        http2=settings,
        first_bytes=connection.first_bytes[:256],
        seconds=seconds if completed else time.monotonic() - begun,
    )
    return _with_parameters(handshake, connection.tls)


def _await_answer(
    connection: TlsConnection, events: _HandshakeEvents, limit: Deadline, probe: bytes
) -> bool:
    """Wait until the server goes on; return whether it sent HTTP/2 settings.

    Args:
        connection: the connection, after the handshake.
        events: what OpenSSL reported.
        limit: how long to wait.
        probe: what to send; HTTP/2's preface is only sent where HTTP/2 was agreed on.
    """
    is_http2 = connection.tls.get_alpn_proto_negotiated() == b"h2"
    if probe and (is_http2 or probe != _PREFACE):
        connection.write(probe, limit)
    while True:
        try:
            data = connection.read(limit.shortened_to(_SETTINGS_SECONDS))
            break
        except TimeoutError:
            if events.ticket:
                return False
            limit.remaining()
    if not data and not events.ticket:
        raise ConnectionResetError
    return is_http2 and len(data) > 3 and data[3] == _SETTINGS


def _with_parameters(handshake: Handshake, tls: SSL.Connection) -> Handshake:
    cipher = tls.get_cipher_name() or ""
    return replace(
        handshake,
        version=tls.get_protocol_version_name() if cipher else "",
        cipher=cipher,
        group=_group_name(tls) if cipher else "",
        alpn=tls.get_alpn_proto_negotiated().decode("ascii", "replace"),
        chain=tuple(
            crypto.dump_certificate(crypto.FILETYPE_ASN1, item)
            for item in tls.get_peer_cert_chain() or ()
        ),
        requested_issuers=tuple(
            _requested_issuer(name.der())
            for name in (tls.get_client_ca_list() or ())[:_MOST_ISSUERS]
        ),
    )


def _group_name(tls: SSL.Connection) -> str:
    """Return the group of the key exchange; empty if this pyOpenSSL is older than 26 and can't."""
    name = getattr(tls, "get_group_name", None)
    return (name() or "") if name else ""


def _requested_issuer(der: bytes) -> RequestedIssuer:
    try:
        name = decode_name(der)
    except UNREADABLE:
        return RequestedIssuer(der, f"a name that can't be read ({len(der)} bytes)")
    return RequestedIssuer(canonical_name(name), quote_untrusted(name.rfc4514_string()))


def _is_tls(data: bytes) -> bool:
    # A record's type, and the first byte of its version (RFC 8446 section 5.1).
    return not data or (data[0] in range(20, 25) and data[1:2] in {b"\3", b""})
