"""Takes a server's place, and says of each caller who came and what the server would find.

No gRPC server can log whom it refuses, or why (grpc/grpc#32893, #38665). This one asks each caller
for its certificate, takes whatever it shows, judges it with the server's own credential, and closes
the connection: nobody is served. A caller that refuses the server's certificate says why by its
alert, and that is told too.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from OpenSSL import SSL, crypto

from pki.clock import Clock
from pki.diagnosis.checks.credential_files import OwnCredential
from pki.diagnosis.checks.peer_view import (
    TAKES_SERVER,
    examine_asked_name,
    examine_caller,
    examine_departure,
)
from pki.diagnosis.checks.tls_alerts import alert_words
from pki.diagnosis.observe.http2_reply import bid_farewell
from pki.diagnosis.report import Finding, Status, failed, ok, unknown
from pki.errors import CertificateError, InputError, quote_untrusted
from pki.tls.connection import Deadline, TlsConnection, TooManyBytesError, ssl_error_message
from pki.x509.readers import MAX_CHAIN_LENGTH, decode_certificate

_MOST_BYTES = 512 * 1024
_SECONDS = 10.0
_AT_ONCE = 32
_POLL_SECONDS = 0.2
_CALLER = "the caller"
_WHOSE = f"{_CALLER}'s certificate"
_LATE_SECONDS = 3.0
# What this end refuses a handshake for, RFC 8446 section 6.
_OWN_ALERTS = {70: "protocol-version", 120: "not-http2"}

_LEFT_EARLY = ok(_CALLER, "shakes hands, and leaves without a call, as a probe does")

CallAuthorizer = Callable[[x509.Certificate], list[Finding]]


class Outcome(StrEnum):
    """What would come of a caller at the real server."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The server would refuse it."""
    LEFT = "left"
    """It did not shake hands to the end: that is not the server's doing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller that came.

    Args:
        address: where it came from; empty for a unix socket.
        server_name: the name that it asked for; empty if it named none.
        chain: what it showed, leaf first; empty if it showed nothing.
        findings: what the server would find.
        spoke: whether it said anything at all, as a bare check of the port does not.
    """

    address: str
    server_name: str
    chain: tuple[x509.Certificate, ...]
    findings: tuple[Finding, ...]
    spoke: bool = True

    @property
    def outcome(self) -> Outcome:
        """What would come of it at the real server."""
        ended = [item for item in self.findings if item.question in {_CALLER, TAKES_SERVER}]
        if any(item.status is not Status.OK for item in ended):
            return Outcome.LEFT
        if any(item.status is Status.FAILED for item in self.findings):
            return Outcome.REFUSED
        return Outcome.ACCEPTED


class StandIn:
    """Listens in a server's place.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        credential: the server's.
        clock: gives the time.
        came: told of each caller, by one thread at a time.
        judge: more to say of a caller's leaf, e.g. by a policy.

    Raises:
        InputError: if the credential can't be shown.
        OSError: if the port can't be taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        credential: OwnCredential,
        clock: Clock,
        came: Callable[[Caller], None],
        *,
        judge: CallAuthorizer = lambda _: [],
    ) -> None:
        if credential.shown is None:
            raise InputError(
                "the credential can't be shown: "
                + "; ".join(item.words for item in credential.faults),
                remedy="Give the whole credential of the server",
            )
        self._credential = credential
        self._clock = clock
        self._came = came
        self._judge = judge
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._left: int | None = None
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, port), family=family)
        self._listening.settimeout(_POLL_SECONDS)
        self.port: int = self._listening.getsockname()[1]

    def serve(self, callers: int | None = None) -> None:
        """Take callers until :meth:`stop`, or so many have spoken."""
        self._left = callers
        # A caller that stands still keeps no other waiting, and a flood waits in the kernel.
        free = threading.BoundedSemaphore(_AT_ONCE)
        with self._listening, ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            while not self._done.is_set():
                if not free.acquire(timeout=_POLL_SECONDS):
                    continue
                try:
                    plain, address = self._listening.accept()
                except OSError:
                    # Nobody came, or it was gone before it was taken.
                    free.release()
                    continue
                taken = pool.submit(self._take, plain, f"{address[0]}:{address[1]}")
                taken.add_done_callback(lambda _: free.release())

    def stop(self) -> None:
        """Take no more callers."""
        self._done.set()

    def _take(self, plain: socket.socket, address: str) -> None:
        try:
            caller = self._examined(plain, address)
        except Exception as error:
            caller = Caller(
                address, "", (), (unknown(_CALLER, f"fails: {quote_untrusted(error)}"),)
            )
        with self._lock:
            if self._left == 0:
                return
            self._came(caller)
            if caller.spoke and self._left is not None:
                self._left -= 1
                if not self._left:
                    self.stop()

    def _examined(self, plain: socket.socket, address: str) -> Caller:
        limit = Deadline(_SECONDS)
        heard = _Heard()
        with TlsConnection(plain, self._context(heard), max_bytes=_MOST_BYTES) as talk:
            talk.tls.set_accept_state()
            ending = _ending(talk, heard, limit)
            name = (talk.tls.get_servername() or b"").decode("ascii", "backslashreplace")
            ders = _shown(talk.tls)
            said_hello = bool(talk.first_bytes)
        chain, findings = self._judged(ders, ending)
        if ending.status is Status.UNKNOWN and said_hello:
            findings += examine_departure(self._credential, name, self._clock())
        if ending is _LEFT_EARLY:
            findings += examine_asked_name(self._credential, name)
        return Caller(address, name, chain, tuple(findings), said_hello)

    def _judged(
        self, ders: list[bytes], ending: Finding
    ) -> tuple[tuple[x509.Certificate, ...], list[Finding]]:
        if not ders:
            if ending.status is not Status.OK:
                return (), [ending]
            words = "it shows no certificate, and a server of mutual TLS refuses it"
            return (), [failed(_WHOSE, "no-client-certificate", words), ending]
        try:
            chain = tuple(decode_certificate(item, what="the chain") for item in ders)
        except CertificateError as error:
            return (), [failed(_WHOSE, "malformed", error.message)]
        found = examine_caller(_WHOSE, chain, self._credential, self._clock())
        return chain, [*found, *self._judge(chain[0]), ending]

    def _context(self, heard: _Heard) -> SSL.Context:
        showing = self._credential.shown
        assert showing is not None
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)
        context.set_info_callback(heard)
        # Whatever it shows is taken: it is judged afterwards, and served nothing.
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.set_alpn_select_callback(
            lambda _, offered: b"h2" if b"h2" in offered else SSL.NO_OVERLAPPING_PROTOCOLS
        )
        context.use_certificate(showing.chain[0])
        for issuer in showing.chain[1:]:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(showing.key)
        return context


def _shown(tls: SSL.Connection) -> list[bytes]:
    """Return what a caller showed, leaf first: at a server's end OpenSSL keeps the leaf apart."""
    leaf = tls.get_peer_certificate()
    if leaf is None:
        return []
    ders = [
        crypto.dump_certificate(crypto.FILETYPE_ASN1, item)
        for item in (leaf, *(tls.get_peer_cert_chain() or ()))
    ]
    return ders[:MAX_CHAIN_LENGTH]


class _Heard:
    """The alerts of both sides."""

    def __init__(self) -> None:
        self.alert: int | None = None
        self.own_alert: int | None = None

    def __call__(self, _connection: SSL.Connection, where: int, code: int) -> None:
        if not where & SSL.SSL_CB_ALERT or not code & 0xFF:
            return
        if where & SSL.SSL_CB_READ:
            self.alert = code & 0xFF
        else:
            self.own_alert = code & 0xFF


def _ending(talk: TlsConnection, heard: _Heard, limit: Deadline) -> Finding:
    """Shake hands, hear what the caller says behind it, and say goodbye."""
    done = False
    try:
        talk.shake_hands(limit)
        done = True
        bid_farewell(talk, limit.shortened_to(_LATE_SECONDS))
    except SSL.Error as error:
        return _failure(talk, heard, error)
    except TimeoutError:
        if not done:
            return failed(_CALLER, "handshake-timeout", "it connected, and said nothing")
    except TooManyBytesError as error:
        return failed(_CALLER, "malformed", quote_untrusted(error))
    except OSError:
        if done:
            return _LEFT_EARLY
        return unknown(_CALLER, "it closed the connection without a word")
    return ok(_CALLER, "shakes hands: it accepts the server's certificate")


def _failure(talk: TlsConnection, heard: _Heard, error: SSL.Error) -> Finding:
    if heard.alert is not None:
        slug, name = alert_words(heard.alert)
        words = f'it refuses the server\'s certificate with the alert "{name}"'
        return failed(_CALLER, slug, words)
    if talk.first_bytes and talk.first_bytes[0] not in range(20, 25):
        begin = quote_untrusted(talk.first_bytes[:24].decode("latin-1"))
        return failed(_CALLER, "plaintext-client", f"it speaks plaintext: {begin}")
    slug = _OWN_ALERTS.get(heard.own_alert or 0, "cipher-mismatch")
    return failed(_CALLER, slug, f"TLS fails: {ssl_error_message(error)}")
