"""Whether there is a connection, with TLS and HTTP/2: all that comes before certificates."""

from __future__ import annotations

import errno
import socket

from pki.diagnosis.checks.tls_alerts import describe_alert
from pki.diagnosis.observe.tls_handshake import Handshake, HandshakeEnd
from pki.diagnosis.report import Finding, failed, ok, unknown
from pki.errors import quote_untrusted
from pki.failures import FAILURES
from pki.tls.starttls import StartTls, recognise_greeting
from pki.tls.target import Target

LISTENS = "listens"
TLS = "TLS"
HTTP2 = "HTTP/2"
_HYBRID = ("mlkem", "kyber")
_VERSIONS = {"TLSv1.2", "TLSv1.3"}
_POSTGRES_PORT = 5432
# How likely the first cause of an alert is, and by how much each further one is less likely.
_FIRST_LIKELY, _NEXT = 70, 20
# RFC 9113 section 4.1: where a frame's type stands, and the types that a server begins with.
_FRAME_TYPE, _SETTINGS, _GOAWAY = 3, 4, 7


def examine_connection(
    target: Target,
    handshake: Handshake,
    server_name: str,
    starttls: StartTls | None,
    narrowed: Handshake | None = None,
) -> list[Finding]:
    """Examine what a handshake showed of the connection, down to HTTP/2.

    Args:
        target: where the server is.
        handshake: the anonymous handshake.
        server_name: the name that was asked for; empty if none was.
        starttls: the protocol in which TLS was asked for; None for gRPC.
        narrowed: the handshake with gRPC's cipher suites alone; None if none was made.
    """
    listening = _listening(target, handshake)
    if listening.failure is not None:
        return [listening]
    tls = _tls(target, handshake, server_name, starttls)
    if any(item.failure is not None for item in tls):
        return [listening, *tls]
    return [listening, *tls, *(_parameters(handshake, narrowed) if starttls is None else ())]


def _with_port(target: Target) -> str:
    """Return where a target is, always with the port: one that was left out is a common slip."""
    if not target.hosts:
        return target.text
    return ", ".join(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in target.hosts
    )


def _listening(target: Target, handshake: Handshake) -> Finding:
    check = LISTENS
    error = handshake.error
    if target.proxy is not None:
        # Whatever came, came through the proxy; why none came, the check of the proxy says.
        if error is not None:
            return unknown(
                check, "only the proxy can tell, and it makes no connection to the server"
            )
        return ok(check, f"{quote_untrusted(target.text)} accepts connections of the proxy")
    if (
        handshake.end not in {HandshakeEnd.NOT_CONNECTED, HandshakeEnd.TIMED_OUT}
        or handshake.first_bytes
        or error is None
    ):
        return ok(check, f"{quote_untrusted(target.text)} accepts connections")
    where = quote_untrusted(_with_port(target))
    if isinstance(error, socket.gaierror):
        message = f"the name in {where} has no address: {handshake.message}"
        return failed(check, "no-such-host", message)
    match error.errno:
        case errno.ECONNREFUSED if target.text.startswith("unix:"):
            message = (
                f"nobody listens at {where}: the file is no socket, or was left by a server that "
                "has ended"
            )
            remedy = (
                "Start the server, or correct the path; a socket outlives the server that made it"
            )
            return failed(check, "no-such-socket", message, remedy=remedy)
        case errno.ECONNREFUSED:
            message = f"nobody listens at {where}: the connection is refused"
            return failed(
                check, "not-listening", message, handshake_result="PEER_CONNECTION_CLOSED"
            )
        case errno.ENOENT | errno.ENOTSOCK | errno.ENOTDIR:
            return failed(check, "no-such-socket", f"there is no socket at {where}")
        case errno.EACCES | errno.EPERM:
            return failed(check, "socket-permission", f"{where} may not be opened by this user")
        case _:
            message = (
                f"{where} can't be reached: {handshake.message or 'no answer to the connection'}"
            )
            return failed(check, "unreachable", message, handshake_result="PEER_CONNECTION_CLOSED")


def _tls(
    target: Target, handshake: Handshake, server_name: str, starttls: StartTls | None
) -> list[Finding]:
    check = TLS
    if handshake.end is HandshakeEnd.NO_STARTTLS:
        return [failed(check, "starttls-refused", handshake.message)]
    if handshake.end is HandshakeEnd.NO_TLS:
        return [_plaintext(handshake.first_bytes)]
    if handshake.completed or handshake.chain:
        if handshake.version not in _VERSIONS:
            message = f"the server speaks {handshake.version} at most; gRPC needs TLS 1.2"
            return [
                failed(
                    check,
                    "protocol-version",
                    message,
                    handshake_result="PROTOCOL_VERSION_UNSUPPORTED",
                )
            ]
        return [ok(check, _describe_tls(handshake))]
    if handshake.end is HandshakeEnd.ALERT and handshake.alert is not None:
        return _by_alert(handshake.alert, server_name)
    if handshake.end is HandshakeEnd.TIMED_OUT:
        message = f"the server accepts the connection and does not answer: {handshake.message}"
        if starttls is not None and not handshake.first_bytes:
            message += f"; it may not speak {starttls.label}"
        return [failed(check, "handshake-timeout", message, handshake_result="HANDSHAKE_TIMEOUT")]
    if handshake.end is HandshakeEnd.CLOSED and not handshake.first_bytes:
        return _closed_at_once(target)
    return [_failed_here(handshake)]


def _plaintext(data: bytes) -> Finding:
    protocol = recognise_greeting(data)
    if protocol is None:
        return failed(
            TLS,
            "plaintext-server",
            f"the server answers in plaintext: {_describe_plaintext(data)}",
            handshake_result="PROTOCOL_VERSION_UNSUPPORTED",
        )
    return failed(
        TLS,
        "starttls-required",
        f"the server speaks {protocol.label}, and TLS only after a request in it",
        remedy=f"Test it with --starttls {protocol}; a gRPC client needs another port",
        handshake_result="PROTOCOL_VERSION_UNSUPPORTED",
    )


def _by_alert(number: int, server_name: str) -> list[Finding]:
    """Return what the server's alert says: a failure, or several that it may stand for."""
    alert = describe_alert(number)
    message = f'the server ends the handshake with the alert "{alert.name}": {alert.meaning}'
    if "no-server-certificate" in alert.at_start:
        asked = quote_untrusted(server_name) if server_name else "no name"
        message += f" (we asked for {asked})"
    return [
        failed(
            TLS,
            slug,
            message,
            likelihood=0 if alert.is_sure else _FIRST_LIKELY - _NEXT * rank,
            handshake_result=FAILURES[slug].handshake_result,
        )
        for rank, slug in enumerate(alert.at_start)
    ]


def _closed_at_once(target: Target) -> list[Finding]:
    message = (
        "the server closes the connection at the first bytes of TLS: it may speak plaintext, "
        "or it is a proxy without a server behind it, or PostgreSQL (--starttls postgres)"
    )
    findings = [
        failed(
            TLS,
            "plaintext-server",
            message,
            likelihood=60,
            handshake_result="PEER_CONNECTION_CLOSED",
        )
    ]
    if any(port == _POSTGRES_PORT for _, port in target.hosts):
        message = "the server closes the connection at the first bytes of TLS, as PostgreSQL does"
        remedy = "Test it with --starttls postgres; a gRPC client needs another port"
        findings.append(failed(TLS, "starttls-required", message, remedy=remedy, likelihood=70))
    return findings


def _failed_here(handshake: Handshake) -> Finding:
    """Return why TLS failed at our own end, by OpenSSL's reason; it is likely, not sure."""
    reason = handshake.message
    slug = "broken-message"
    if any(word in reason for word in ("cipher", "key share", "dh key", "group")):
        slug = "cipher-mismatch"
    elif "protocol" in reason or "version" in reason:
        slug = "protocol-version"
    return failed(
        TLS,
        slug,
        f"the handshake fails at our end: {reason}",
        likelihood=50,
        handshake_result="HANDSHAKE_FAILURE",
    )


def _describe_plaintext(data: bytes) -> str:
    """Describe what came in plaintext: a line of text is quoted, other bytes are only counted."""
    if len(data) > _FRAME_TYPE and data[_FRAME_TYPE] in {_SETTINGS, _GOAWAY}:
        return "HTTP/2 without TLS, as a gRPC server on an insecure port speaks"
    line = data.split(b"\r\n")[0].split(b"\n")[0][:40]
    if line.isascii() and line.decode("ascii").isprintable():
        return quote_untrusted(line.decode("ascii"))
    return f"{len(data)} bytes that are no text"


def _describe_tls(handshake: Handshake) -> str:
    if not handshake.group:
        return f"{handshake.version}, {handshake.cipher}, key exchange unknown here"
    hybrid = any(word in handshake.group.lower() for word in _HYBRID)
    kind = "post-quantum hybrid" if hybrid else "not post-quantum"
    return f"{handshake.version}, {handshake.cipher}, key exchange {handshake.group} ({kind})"


def _parameters(handshake: Handshake, narrowed: Handshake | None) -> list[Finding]:
    findings = [] if handshake.agrees_with_grpc else [_cipher(handshake, narrowed)]
    if handshake.alpn == "h2":
        findings.append(ok(HTTP2, "agreed on by ALPN"))
    elif handshake.completed:
        findings.append(
            failed(
                HTTP2,
                "not-http2",
                "the server agrees on no HTTP/2 (ALPN h2), and gRPC closes such a connection",
                handshake_result="NO_APPLICATION_PROTOCOL",
            )
        )
    else:
        findings.append(unknown(HTTP2, "the handshake did not get that far"))
    return findings


def _cipher(handshake: Handshake, narrowed: Handshake | None) -> Finding:
    """Return whether a server that prefers a suite unknown to gRPC has one of gRPC's too."""
    if narrowed is not None and narrowed.cipher:
        message = (
            f"the server prefers {handshake.cipher}, and agrees with gRPC on {narrowed.cipher}"
        )
        return ok("cipher", message)
    return failed(
        "cipher",
        "cipher-mismatch",
        f"the server accepts {handshake.cipher} at best; gRPC offers ECDHE with AES-GCM or "
        "ChaCha20 alone",
        likelihood=_FIRST_LIKELY if narrowed is None else 0,
        handshake_result="CIPHER_SUITE_MISMATCH",
    )
