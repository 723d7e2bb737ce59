"""Takes a server's place, and reports of each caller who it is and what the server would find.

No gRPC server can log whom it refuses, or why (grpc/grpc#32893, #38665). The stand-in requests the
certificate of each caller, accepts any, examines it with the server's own credential, and closes
the connection: it serves nobody. A caller that refuses the server's certificate says why by its
alert, which is reported too.
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
from pki.diagnosis.checks.key_proof import examine_key_proof, move_leaf_to_front
from pki.diagnosis.checks.own_credential import NOT_PRESENTED, OwnCredential, examine_own
from pki.diagnosis.checks.peer_view import (
    ACCEPTS_SERVER,
    examine_caller,
    examine_departure,
    examine_requested_name,
)
from pki.diagnosis.checks.tls_alerts import REASONS, describe_alert
from pki.diagnosis.observe.http2_reply import answer_first_call
from pki.diagnosis.report import Finding, Status, failed, ok, symptom, unknown
from pki.errors import CertificateError, InputError, quote_untrusted
from pki.tls.accepting import accepting_context, peer_chain
from pki.tls.connection import Deadline, TlsConnection, TooManyBytesError, ssl_error_message
from pki.x509 import Purpose
from pki.x509.readers import MAX_CHAIN_LENGTH, decode_certificate

_MOST_BYTES = 512 * 1024
_SECONDS = 10.0
_AT_ONCE = 32
_POLL_SECONDS = 0.2
_CALLER = "the caller"
_WHOSE = f"{_CALLER}'s certificate"
_LATE_SECONDS = 3.0
# How likely the first cause of an alert is, and by how much each further one is less likely.
_FIRST_LIKELY, _NEXT, _LEAST = 60, 10, 5
# The alerts by which this end refuses a handshake, RFC 8446 section 6.
_OWN_ALERTS = {
    40: "cipher-mismatch",
    70: "protocol-version",
    71: "cipher-mismatch",
    120: "not-http2",
}

_LEFT_EARLY = ok(_CALLER, "completes the handshake, and leaves without a call, as a probe does")

CallerCheck = Callable[[x509.Certificate], list[Finding]]


class CallerOutcome(StrEnum):
    """What would happen to a caller at the real server."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The server would refuse it."""
    LEFT = "left"
    """The caller left by itself: in the handshake, or after it because of the server's name."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller that connected.

    Args:
        address: where it connected from; empty for a unix socket.
        server_name: the name in its server name indication; empty if there is none.
        chain: the chain that it presented, leaf first; empty if it presented none.
        findings: what the server would find.
        sent_data: whether it sent any data, which a bare check of the port does not.
    """

    address: str
    server_name: str
    chain: tuple[x509.Certificate, ...]
    findings: tuple[Finding, ...]
    sent_data: bool = True

    @property
    def outcome(self) -> CallerOutcome:
        """What would happen to the caller at the real server."""
        ended = [item for item in self.findings if item.check in {_CALLER, ACCEPTS_SERVER}]
        if any(item.status is not Status.OK for item in ended):
            return CallerOutcome.LEFT
        if any(item.status is Status.FAILED for item in self.findings):
            return CallerOutcome.REFUSED
        return CallerOutcome.ACCEPTED


class StandIn:
    """Listens in a server's place.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        credential: the server's credential.
        clock: returns the time.
        on_caller: called with each caller, by one thread at a time.
        check_caller: returns further findings on a caller's leaf, e.g. by a policy.

    Raises:
        InputError: if the credential can't be presented.
        OSError: if the port can't be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        credential: OwnCredential,
        clock: Clock,
        on_caller: Callable[[Caller], None],
        *,
        check_caller: CallerCheck = lambda _: [],
    ) -> None:
        if credential.certified_key is None:
            raise InputError(
                "the credential can't be presented: "
                + "; ".join(item.message for item in credential.findings),
                remedy="Name the server's whole credential directory: --credential DIR",
            )
        self._credential = credential
        self._clock = clock
        self._on_caller = on_caller
        self._check_caller = check_caller
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._remaining: int | None = None
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, port), family=family)
        self._listening.settimeout(_POLL_SECONDS)
        self.port: int = self._listening.getsockname()[1]

    def serve(self, callers: int | None = None) -> None:
        """Accept callers until :meth:`stop`, or until ``callers`` of them have sent data."""
        self._remaining = callers
        # A caller that hangs delays no other, and a flood of callers waits in the kernel.
        free = threading.BoundedSemaphore(_AT_ONCE)
        with self._listening, ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            while not self._done.is_set():
                if not free.acquire(timeout=_POLL_SECONDS):
                    continue
                try:
                    plain, address = self._listening.accept()
                except OSError:
                    # Nobody connected, or the caller left before it was accepted.
                    free.release()
                    continue
                accepted = pool.submit(self._handle, plain, f"{address[0]}:{address[1]}")
                accepted.add_done_callback(lambda _: free.release())

    def stop(self) -> None:
        """Stop accepting callers."""
        self._done.set()

    def _handle(self, plain: socket.socket, address: str) -> None:
        try:
            caller = self._examine(plain, address)
        except Exception as error:
            caller = Caller(
                address, "", (), (unknown(_CALLER, f"fails: {quote_untrusted(error)}"),)
            )
        with self._lock:
            if self._remaining == 0:
                return
            self._on_caller(caller)
            if caller.sent_data and self._remaining is not None:
                self._remaining -= 1
                if not self._remaining:
                    self.stop()

    def _examine(self, plain: socket.socket, address: str) -> Caller:
        limit = Deadline(_SECONDS)
        alerts = _Alerts()
        with TlsConnection(plain, self._context(alerts), max_bytes=_MOST_BYTES) as connection:
            connection.tls.set_accept_state()
            endings = _finish_handshake(connection, alerts, limit, self._own_faults())
            name = (connection.tls.get_servername() or b"").decode("ascii", "backslashreplace")
            ders = _presented_chain(connection.tls)
            sent_data = bool(connection.first_bytes)
        chain, findings = self._check_chain(ders, endings)
        if endings[0].status is Status.UNKNOWN and sent_data:
            findings += examine_departure(self._credential, name, self._clock())
        if endings[0] is _LEFT_EARLY:
            findings += examine_requested_name(self._credential, name)
        return Caller(address, name, chain, tuple(findings), sent_data)

    def _own_faults(self) -> set[str]:
        """Return the faults of the server's own certificate, which a caller may refuse it for."""
        ours = examine_own(self._credential, Purpose.SERVER, self._clock())
        causes = {item.failure for item in ours if item.is_cause and item.failure is not None}
        return causes - NOT_PRESENTED

    def _check_chain(
        self, ders: list[bytes], endings: list[Finding]
    ) -> tuple[tuple[x509.Certificate, ...], list[Finding]]:
        if not ders:
            if endings[0].status is not Status.OK:
                return (), endings
            message = "it presents no certificate, and a server with mutual TLS refuses it"
            return (), [failed(_WHOSE, "no-client-certificate", message), *endings]
        try:
            chain = tuple(decode_certificate(item, what="the chain") for item in ders)
        except CertificateError as error:
            return (), [failed(_WHOSE, "malformed", error.message)]
        proof = [] if endings[0].status is Status.OK else _examine_proof(chain, endings[0])
        if any(item.failure == "chain-order" for item in proof):
            # What else is wrong, the certificate that was meant shows.
            chain = move_leaf_to_front(chain)
        findings = examine_caller(_WHOSE, chain, self._credential, self._clock())
        if proof:
            replaced = {item.check for item in proof}
            findings = [item for item in findings if item.check not in replaced or item.failure]
            endings = [*proof, symptom(_CALLER, endings[0].message)]
        return chain, [*findings, *self._check_caller(chain[0]), *endings]

    def _context(self, alerts: _Alerts) -> SSL.Context:
        certified_key = self._credential.certified_key
        assert certified_key is not None
        context = accepting_context(certified_key.chain, certified_key.key, protocol=b"h2")
        context.set_info_callback(alerts)
        return context


def _examine_proof(chain: tuple[x509.Certificate, ...], ending: Finding) -> list[Finding]:
    return examine_key_proof(_WHOSE, chain, ending.message)


def _presented_chain(tls: SSL.Connection) -> list[bytes]:
    ders = [crypto.dump_certificate(crypto.FILETYPE_ASN1, item) for item in peer_chain(tls)]
    return ders[:MAX_CHAIN_LENGTH]


class _Alerts:
    """The alerts that both sides sent."""

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


def _finish_handshake(
    connection: TlsConnection, alerts: _Alerts, limit: Deadline, own_faults: set[str]
) -> list[Finding]:
    """Complete the handshake, and answer the caller's first call; return how it ended."""
    completed = False
    try:
        connection.do_handshake(limit)
        completed = True
        answer_first_call(connection, limit.shortened_to(_LATE_SECONDS))
    except SSL.Error as error:
        if alerts.alert is not None:
            return _describe_refusal(alerts.alert, own_faults)
        return [_describe_failure(connection, alerts, error)]
    except TimeoutError:
        if not completed:
            return [failed(_CALLER, "handshake-timeout", "it connected, and sent nothing")]
    except TooManyBytesError as error:
        return [failed(_CALLER, "malformed", quote_untrusted(error))]
    except OSError:
        if completed:
            return [_LEFT_EARLY]
        return [unknown(_CALLER, "it closed the connection without a reason")]
    return [ok(_CALLER, "completes the handshake: it accepts the server's certificate")]


def _describe_refusal(number: int, own_faults: set[str]) -> list[Finding]:
    """Rank what a caller's alert may stand for, unless the server's certificate has the fault."""
    alert = describe_alert(number)
    message = f'it refuses the server\'s certificate with the alert "{alert.name}"'
    seen = [slug for slug in alert.on_certificate if slug in own_faults]
    if seen:
        why = f"{message}; the server's certificate has this fault"
        return [failed(_CALLER, slug, why) for slug in seen]
    if alert.is_sure:
        return [failed(_CALLER, alert.at_start[0], f"{message}: {alert.meaning}")]
    return [
        failed(
            _CALLER,
            slug,
            f"{message}: {REASONS.get(slug, alert.meaning)}",
            likelihood=max(_FIRST_LIKELY - _NEXT * rank, _LEAST),
        )
        for rank, slug in enumerate(alert.on_certificate)
    ]


def _describe_failure(connection: TlsConnection, alerts: _Alerts, error: SSL.Error) -> Finding:
    if connection.first_bytes and connection.first_bytes[0] not in range(20, 25):
        begin = quote_untrusted(connection.first_bytes[:24].decode("latin-1"))
        return failed(_CALLER, "plaintext-client", f"it speaks plaintext: {begin}")
    message = f"TLS fails: {ssl_error_message(error)}"
    slug = _OWN_ALERTS.get(alerts.own_alert or 0)
    if slug is None:
        return failed(_CALLER, "broken-message", message, likelihood=_FIRST_LIKELY)
    return failed(_CALLER, slug, message)
