"""One handshake with a server, and all that it shows: nothing is judged here.

A server that refuses a client's certificate says so late in TLS 1.3: the client is done with the
handshake before its certificate was looked at. So an HTTP/2 preface is sent behind it, and the
answer waited for: HTTP/2 settings or a session ticket say that the server went on; an alert or a
bare end of file says that it did not.
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
from pki.tls.target import Target

_MOST_BYTES = 512 * 1024
_ANSWER_SECONDS = 1.0
# How long a server that went on with TLS is given to go on with HTTP/2.
_SETTINGS_SECONDS = 0.4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
# First what gRPC offers, then all that OpenSSL has: what is weak shall be seen, and named.
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:ALL:@SECLEVEL=0"
_SETTINGS = 4  # the type of an HTTP/2 frame, RFC 9113 section 6.5
_MOST_ISSUERS = 100
# Times are judged from what was seen. OpenSSL's codes, include/openssl/x509_vfy.h.
_JUDGED_LATER = {9, 10}


class End(StrEnum):
    """How a handshake ended."""

    ACCEPTED = "accepted"
    """The server went on behind the handshake."""
    SILENT = "silent"
    """The handshake came about, and the server said nothing behind it."""
    CLOSED = "closed"
    """The server closed the connection without a word."""
    ALERT = "alert"
    """The server sent an alert."""
    TIMED_OUT = "timed out"
    NOT_CONNECTED = "not connected"
    NO_TLS = "no TLS"
    """The server's first bytes are none of TLS."""
    FAILED = "failed"
    """TLS failed on this side."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate chain and its key, to show to a server."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey


@dataclass(frozen=True, slots=True)
class AskedIssuer:
    """A CA that a server names when it asks for a certificate.

    Args:
        der: its distinguished name in DER.
        words: the same, escaped, for a person.
    """

    der: bytes
    words: str


@dataclass(frozen=True, slots=True)
class Handshake:
    """What one handshake showed.

    Args:
        end: how it ended.
        words: the same in words.
        done: whether the handshake came about, as this side sees it.
        alert: the number of the server's alert (RFC 8446 section 6); None without one.
        error: what the connection failed with; None if it did not.
        version: the TLS version, e.g. ``TLSv1.3``; empty before one was agreed on.
        cipher: the cipher suite, as OpenSSL writes it.
        group: the group of the key exchange; empty where OpenSSL can't tell.
        alpn: the protocol agreed on; empty without one.
        chain: the certificates that the server showed, in DER, in its order.
        asked: whether it asked for our certificate.
        asked_for: the CAs that it asked for; empty where it names none.
        http2: whether it sent HTTP/2 settings.
        first_bytes: what came over the wire first.
        seconds: how long it took to the end of the handshake.
    """

    end: End
    words: str
    done: bool = False
    alert: int | None = None
    error: OSError | None = None
    version: str = ""
    cipher: str = ""
    group: str = ""
    alpn: str = ""
    chain: tuple[bytes, ...] = ()
    asked: bool = False
    asked_for: tuple[AskedIssuer, ...] = ()
    http2: bool = False
    first_bytes: bytes = b""
    seconds: float = 0.0


def shake_hands(
    target: Target,
    server_name: str,
    showing: Shown | None,
    *,
    seconds: float,
    roots: Sequence[x509.Certificate] | None = None,
) -> Handshake:
    """Shake hands with a server; whatever goes wrong is part of the answer.

    Without roots nothing of the server is verified: it is shown the certificate whoever it is.

    Args:
        target: where it is.
        server_name: for the name indication; empty sends none.
        showing: the certificate for it, if it asks for one.
        seconds: how long all of it may take.
        roots: those that its chain must lead to one of, or it is shown nothing.
    """
    limit = Deadline(seconds)
    try:
        plain = connect(target, limit)
    except OSError as error:
        end = End.TIMED_OUT if isinstance(error, TimeoutError) else End.NOT_CONNECTED
        return Handshake(end, error.strerror or quote_untrusted(error), error=error)
    heard = _Heard()
    try:
        context = _context(showing, heard, roots)
    except (SSL.Error, crypto.Error, ValueError) as error:
        plain.close()
        words = ssl_error_message(error) if isinstance(error, SSL.Error) else quote_untrusted(error)
        return Handshake(End.FAILED, f"our certificate can't be shown: {words}")
    with TlsConnection(plain, context, max_bytes=_MOST_BYTES) as talk:
        if server_name:
            talk.tls.set_tlsext_host_name(server_name.encode())
        talk.tls.set_connect_state()
        return _conversation(talk, heard, limit)


class _Heard:
    """What OpenSSL tells while it shakes hands."""

    def __init__(self) -> None:
        self.alert: int | None = None
        self.asked = False
        self.ticket = False

    def __call__(self, connection: SSL.Connection, where: int, code: int) -> None:
        if where & SSL.SSL_CB_ALERT:
            if where & SSL.SSL_CB_READ and code & 0xFF:
                self.alert = code & 0xFF
            return
        state = connection.get_state_string()
        # The words of statem.c; no public constant stands for these two.
        self.asked = self.asked or state.endswith(b"certificate request")
        self.ticket = self.ticket or state.endswith(b"session ticket")


def _context(
    showing: Shown | None, heard: _Heard, roots: Sequence[x509.Certificate] | None
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_cipher_list(_CIPHERS)
    context.set_info_callback(heard)
    context.set_alpn_protos([b"h2"])
    if roots is not None:
        store = context.get_cert_store()
        assert store is not None
        for root in roots:
            store.add_cert(crypto.X509.from_cryptography(root))
        context.set_verify(
            SSL.VERIFY_PEER, lambda *found: bool(found[4]) or found[2] in _JUDGED_LATER
        )
    if showing is not None:
        context.use_certificate(showing.chain[0])
        for issuer in showing.chain[1:]:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(showing.key)
    return context


def _conversation(talk: TlsConnection, heard: _Heard, limit: Deadline) -> Handshake:
    begun = time.monotonic()
    done = False
    settings = False
    try:
        talk.shake_hands(limit)
        done = True
        seconds = time.monotonic() - begun
        settings = _answer(talk, heard, limit.shortened_to(_ANSWER_SECONDS))
        end, words = End.ACCEPTED, "it goes on behind the handshake"
    except TimeoutError:
        end, words = End.TIMED_OUT, f"no answer within {limit.seconds:g} s"
        if done:
            end, words = End.SILENT, "it said nothing behind the handshake"
    except TooManyBytesError as error:
        end, words = End.FAILED, quote_untrusted(error)
    except SSL.Error as error:
        end, words = End.FAILED, ssl_error_message(error)
        if heard.alert is not None:
            end = End.ALERT
        elif not _is_tls(talk.first_bytes):
            end = End.NO_TLS
    except OSError as error:
        end, words = End.CLOSED, error.strerror or "it closed the connection without a word"
    found = Handshake(
        end,
        words,
        done=done,
        alert=heard.alert,
        asked=heard.asked,
        http2=settings,
        first_bytes=talk.first_bytes[:256],
        seconds=seconds if done else time.monotonic() - begun,
    )
    return _with_parameters(found, talk.tls)


def _answer(talk: TlsConnection, heard: _Heard, limit: Deadline) -> bool:
    """Wait until the server goes on; tell whether it did so by HTTP/2 settings."""
    is_http2 = talk.tls.get_alpn_proto_negotiated() == b"h2"
    if is_http2:
        talk.write(_PREFACE, limit)
    while True:
        try:
            data = talk.read(limit.shortened_to(_SETTINGS_SECONDS))
            break
        except TimeoutError:
            if heard.ticket:
                return False
            limit.remaining()
    if not data and not heard.ticket:
        raise ConnectionResetError
    return is_http2 and len(data) > 3 and data[3] == _SETTINGS


def _with_parameters(found: Handshake, tls: SSL.Connection) -> Handshake:
    cipher = tls.get_cipher_name() or ""
    return replace(
        found,
        version=tls.get_protocol_version_name() if cipher else "",
        cipher=cipher,
        group=(tls.get_group_name() or "") if cipher else "",
        alpn=tls.get_alpn_proto_negotiated().decode("ascii", "replace"),
        chain=tuple(
            crypto.dump_certificate(crypto.FILETYPE_ASN1, item)
            for item in tls.get_peer_cert_chain() or ()
        ),
        asked_for=tuple(
            AskedIssuer(name.der(), _written(name))
            for name in (tls.get_client_ca_list() or ())[:_MOST_ISSUERS]
        ),
    )


def _written(name: crypto.X509Name) -> str:
    parts = reversed(name.get_components())
    return quote_untrusted(
        ",".join(f"{key.decode()}={value.decode('utf-8', 'replace')}" for key, value in parts)
    )


def _is_tls(data: bytes) -> bool:
    # A record's type, and the first byte of its version (RFC 8446 section 5.1).
    return not data or (data[0] in range(20, 25) and data[1:2] in {b"\3", b""})
