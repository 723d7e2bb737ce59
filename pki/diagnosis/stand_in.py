"""Takes a server's place, and says of each caller who came and what the server would find.

No gRPC server can log whom it refuses, or why (grpc/grpc#32893, #38665). This one asks each caller
for its certificate, takes whatever it shows, judges it with the server's own credential, and closes
the connection: nobody is served. A caller that refuses the server's certificate says why by its
alert, and that is told too.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cryptography import x509
from OpenSSL import SSL, crypto

from pki.clock import Clock
from pki.diagnosis.acceptance import alert_words
from pki.diagnosis.finding import Finding, Status, failed, ok, unknown
from pki.diagnosis.other_end import examine_caller
from pki.diagnosis.own import OwnCredential
from pki.errors import InputError, shown
from pki.tls.talk import Limit, Talk, TooLongError, words_of
from pki.x509.decoding import UNREADABLE
from pki.x509.readers import MAX_CHAIN_LENGTH

_MOST_BYTES = 512 * 1024
_SECONDS = 10.0
_AT_ONCE = 32
_POLL_SECONDS = 0.2
_WHOSE = "the caller's certificate"
# HTTP/2 settings, then a goodbye that names no error: a caller reads it as a server that goes away.
_GOODBYE = b"\0\0\0\4\0\0\0\0\0" + b"\0\0\x08\7\0\0\0\0\0" + b"\0" * 8
_LATE_SECONDS = 0.5

Judge = Callable[[x509.Certificate], list[Finding]]


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller that came.

    Args:
        address: where it came from; empty for a unix socket.
        server_name: the name that it asked for; empty if it named none.
        chain: what it showed, leaf first; empty if it showed nothing.
        findings: what the server would find.
    """

    address: str
    server_name: str
    chain: tuple[x509.Certificate, ...]
    findings: tuple[Finding, ...]

    @property
    def would_be_refused(self) -> bool:
        """Whether the server would refuse it."""
        return any(item.status is Status.FAILED for item in self.findings)


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
        judge: Judge = lambda _: [],
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
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, port), family=family)
        self._listening.settimeout(_POLL_SECONDS)
        self.port: int = self._listening.getsockname()[1]

    def serve(self, callers: int | None = None) -> None:
        """Take callers until :meth:`stop`, or so many have come."""
        left = callers
        # As many at once as this: a caller that stands still keeps no other waiting.
        with self._listening, ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            while not self._done.is_set() and left != 0:
                try:
                    plain, address = self._listening.accept()
                except TimeoutError:
                    continue
                except OSError:
                    # A caller that was gone before it was taken.
                    continue
                pool.submit(self._take, plain, f"{address[0]}:{address[1]}")
                left = None if left is None else left - 1

    def stop(self) -> None:
        """Take no more callers."""
        self._done.set()

    def _take(self, plain: socket.socket, address: str) -> None:
        try:
            caller = self._examined(plain, address)
        except Exception as error:
            caller = Caller(address, "", (), (unknown("handshake", f"fails: {shown(error)}"),))
        with self._lock:
            self._came(caller)

    def _examined(self, plain: socket.socket, address: str) -> Caller:
        limit = Limit(_SECONDS)
        heard = _Heard()
        with Talk(plain, self._context(heard), most_bytes=_MOST_BYTES) as talk:
            talk.tls.set_accept_state()
            ending = _ending(talk, heard, limit)
            name = (talk.tls.get_servername() or b"").decode("ascii", "backslashreplace")
            ders = [
                crypto.dump_certificate(crypto.FILETYPE_ASN1, item)
                for item in (talk.tls.get_peer_cert_chain() or ())[:MAX_CHAIN_LENGTH]
            ]
        chain, findings = self._judged(ders, ending)
        return Caller(address, name, chain, tuple(findings))

    def _judged(
        self, ders: list[bytes], ending: list[Finding]
    ) -> tuple[tuple[x509.Certificate, ...], list[Finding]]:
        if not ders:
            if any(item.status is Status.FAILED for item in ending):
                return (), ending
            words = "it shows no certificate, and a server of mutual TLS refuses it"
            return (), [failed(_WHOSE, "no-client-certificate", words), *ending]
        try:
            chain = tuple(x509.load_der_x509_certificate(item) for item in ders)
        except UNREADABLE as error:
            return (), [failed(_WHOSE, "malformed", f"it can't be read: {shown(error)}")]
        found = examine_caller(_WHOSE, chain, self._credential, self._clock())
        return chain, [*found, *self._judge(chain[0]), *ending]

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


class _Heard:
    def __init__(self) -> None:
        self.alert: int | None = None

    def __call__(self, _connection: SSL.Connection, where: int, code: int) -> None:
        if where & SSL.SSL_CB_ALERT and where & SSL.SSL_CB_READ and code & 0xFF:
            self.alert = code & 0xFF


def _ending(talk: Talk, heard: _Heard, limit: Limit) -> list[Finding]:
    """Shake hands, hear what the caller says behind it, and say goodbye."""
    question = "the caller"
    try:
        talk.shake_hands(limit)
        with contextlib.suppress(TimeoutError):
            talk.read(limit.part(_LATE_SECONDS))
        talk.write(_GOODBYE, limit)
    except SSL.Error as error:
        if heard.alert is not None:
            slug, name = alert_words(heard.alert)
            words = f'it refuses the server\'s certificate with the alert "{name}"'
            return [failed(question, slug, words)]
        if talk.first_bytes and talk.first_bytes[0] not in range(20, 25):
            begin = shown(talk.first_bytes[:24].decode("latin-1"))
            return [failed(question, "plaintext-client", f"it speaks plaintext: {begin}")]
        return [failed(question, "cipher-mismatch", f"TLS fails: {words_of(error)}")]
    except TimeoutError:
        return [failed(question, "handshake-timeout", "it connected, and said nothing")]
    except TooLongError as error:
        return [failed(question, "malformed", shown(error))]
    except OSError:
        return [unknown(question, "it closed the connection without a word")]
    return [ok(question, "shakes hands: it accepts the server's certificate")]
