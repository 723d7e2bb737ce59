"""Whether there is a connection, with TLS and HTTP/2: all that comes before certificates."""

from __future__ import annotations

import errno
import socket

from pki.diagnosis.observe.tls_handshake import Handshake, HandshakeEnd
from pki.diagnosis.report import Finding, failed, ok, unknown
from pki.errors import quote_untrusted
from pki.tls.target import Target

LISTENS = "listens"
TLS = "TLS"
HTTP2 = "HTTP/2"
_HYBRID = ("mlkem", "kyber")
_VERSIONS = {"TLSv1.2", "TLSv1.3"}
_NO_PROTOCOL = 120
_PROTOCOL_VERSION = 70
_CIPHERS = {40, 71}
# RFC 9113 section 4.1: where a frame's type stands, and the types that a server begins with.
_FRAME_TYPE, _SETTINGS, _GOAWAY = 3, 4, 7
_ALERTS_ON_CIPHERS = "no cipher suite, curve or signature algorithm in common, by its alert"


def examine_connection(target: Target, handshake: Handshake) -> list[Finding]:
    """Examine what a handshake showed of the connection, down to HTTP/2.

    Args:
        target: where the server is.
        handshake: the anonymous handshake.
    """
    listening = _listening(target, handshake)
    if listening.failure is not None:
        return [listening]
    tls = _tls(handshake)
    if tls.failure is not None:
        return [listening, tls]
    return [listening, tls, *_parameters(handshake)]


def _listening(target: Target, handshake: Handshake) -> Finding:
    check = LISTENS
    error = handshake.error
    if (
        handshake.end not in {HandshakeEnd.NOT_CONNECTED, HandshakeEnd.TIMED_OUT}
        or handshake.first_bytes
        or error is None
    ):
        return ok(check, f"{quote_untrusted(target.text)} accepts connections")
    where = quote_untrusted(target.text)
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


def _tls(handshake: Handshake) -> Finding:
    check = TLS
    if handshake.end is HandshakeEnd.NO_TLS:
        message = f"the server answers in plaintext: {_describe_plaintext(handshake.first_bytes)}"
        return failed(
            check, "plaintext-server", message, handshake_result="PROTOCOL_VERSION_UNSUPPORTED"
        )
    if handshake.completed or handshake.chain:
        if handshake.version not in _VERSIONS:
            message = f"the server speaks {handshake.version} at most; gRPC needs TLS 1.2"
            return failed(
                check, "protocol-version", message, handshake_result="PROTOCOL_VERSION_UNSUPPORTED"
            )
        return ok(check, _describe_tls(handshake))
    if handshake.end is HandshakeEnd.ALERT:
        if handshake.alert == _PROTOCOL_VERSION:
            message = "the server supports no TLS version that this side supports"
            return failed(
                check, "protocol-version", message, handshake_result="PROTOCOL_VERSION_UNSUPPORTED"
            )
        if handshake.alert == _NO_PROTOCOL:
            message = "the server speaks TLS, and no HTTP/2 in it (ALPN)"
            return failed(check, "not-http2", message, handshake_result="NO_APPLICATION_PROTOCOL")
        if handshake.alert in _CIPHERS:
            return failed(
                check,
                "cipher-mismatch",
                _ALERTS_ON_CIPHERS,
                handshake_result="CIPHER_SUITE_MISMATCH",
            )
    if handshake.end is HandshakeEnd.TIMED_OUT:
        message = f"the server accepts the connection and does not answer: {handshake.message}"
        return failed(check, "handshake-timeout", message, handshake_result="HANDSHAKE_TIMEOUT")
    if handshake.end is HandshakeEnd.CLOSED and not handshake.first_bytes:
        message = (
            "the server closes the connection at the first bytes of TLS: it may speak plaintext, "
            "or it is a proxy without a server behind it"
        )
        return failed(
            check,
            "plaintext-server",
            message,
            likelihood=60,
            handshake_result="PEER_CONNECTION_CLOSED",
        )
    message = f"the handshake fails: {handshake.message}" + (
        f" (alert {handshake.alert})" if handshake.alert is not None else ""
    )
    return failed(
        check, "cipher-mismatch", message, likelihood=50, handshake_result="HANDSHAKE_FAILURE"
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


def _parameters(handshake: Handshake) -> list[Finding]:
    findings = []
    if handshake.version == "TLSv1.2" and not handshake.cipher.startswith("ECDHE-"):
        findings.append(
            failed(
                "cipher",
                "cipher-mismatch",
                f"the server accepts {handshake.cipher} at best; gRPC offers ECDHE with AES-GCM or "
                "ChaCha20 alone",
                handshake_result="CIPHER_SUITE_MISMATCH",
            )
        )
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
