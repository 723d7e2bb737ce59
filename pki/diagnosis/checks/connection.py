"""Whether there is a connection, TLS on it and HTTP/2 in that: before any certificate counts."""

from __future__ import annotations

import errno
import socket

from pki.diagnosis.observe.tls_handshake import End, Handshake
from pki.diagnosis.report import Finding, failed, ok, unknown
from pki.errors import quote_untrusted
from pki.tls.target import Target

_HYBRID = ("mlkem", "kyber")
_VERSIONS = {"TLSv1.2", "TLSv1.3"}
_NO_PROTOCOL = 120
_PROTOCOL_VERSION = 70
_CIPHERS = {40, 71}
# RFC 9113 section 4.1: where a frame's type stands, and the types that a server begins with.
_FRAME_TYPE, _SETTINGS, _GOAWAY = 3, 4, 7
_ALERTS_ON_CIPHERS = "no cipher suite, curve or signature algorithm in common, by its alert"


def examine_connection(target: Target, seen: Handshake) -> list[Finding]:
    """Examine what a handshake showed of the connection, down to HTTP/2.

    Args:
        target: where the server is.
        seen: the handshake without a certificate of ours.
    """
    listening = _listening(target, seen)
    if listening.failure is not None:
        return [listening]
    tls = _tls(seen)
    if tls.failure is not None:
        return [listening, tls]
    return [listening, tls, *_parameters(seen)]


def _listening(target: Target, seen: Handshake) -> Finding:
    question = "listens"
    error = seen.error
    if seen.end not in {End.NOT_CONNECTED, End.TIMED_OUT} or seen.first_bytes or error is None:
        return ok(question, f"{quote_untrusted(target.text)} takes connections")
    where = quote_untrusted(target.text)
    if isinstance(error, socket.gaierror):
        words = f"the name in {where} has no address: {seen.words}"
        return failed(question, "no-such-host", words)
    match error.errno:
        case errno.ECONNREFUSED if target.text.startswith("unix:"):
            words = (
                f"nobody listens at {where}: what lies there is no server's socket, or left over"
            )
            remedy = (
                "Start the server, or correct the path; a socket outlives the server that made it"
            )
            return failed(question, "no-such-socket", words, remedy=remedy)
        case errno.ECONNREFUSED:
            words = f"nobody listens at {where}: the connection is refused"
            return failed(question, "not-listening", words, verdict="PEER_CONNECTION_CLOSED")
        case errno.ENOENT | errno.ENOTSOCK | errno.ENOTDIR:
            return failed(question, "no-such-socket", f"there is no socket at {where}")
        case errno.EACCES | errno.EPERM:
            return failed(question, "socket-permission", f"{where} may not be opened by this user")
        case _:
            words = f"{where} can't be reached: {seen.words or 'no answer to the connection'}"
            return failed(question, "unreachable", words, verdict="PEER_CONNECTION_CLOSED")


def _tls(seen: Handshake) -> Finding:
    question = "TLS"
    if seen.end is End.NO_TLS:
        words = f"it answers in plaintext: {_plain(seen.first_bytes)}"
        return failed(question, "plaintext-server", words, verdict="PROTOCOL_VERSION_UNSUPPORTED")
    if seen.done or seen.chain:
        if seen.version not in _VERSIONS:
            words = f"it speaks {seen.version} at most; gRPC needs TLS 1.2"
            return failed(
                question, "protocol-version", words, verdict="PROTOCOL_VERSION_UNSUPPORTED"
            )
        return ok(question, _tls_words(seen))
    if seen.end is End.ALERT:
        if seen.alert == _PROTOCOL_VERSION:
            words = "it speaks no version of TLS that this side does"
            return failed(
                question, "protocol-version", words, verdict="PROTOCOL_VERSION_UNSUPPORTED"
            )
        if seen.alert == _NO_PROTOCOL:
            words = "it speaks TLS, and no HTTP/2 in it (ALPN)"
            return failed(question, "not-http2", words, verdict="NO_APPLICATION_PROTOCOL")
        if seen.alert in _CIPHERS:
            return failed(
                question, "cipher-mismatch", _ALERTS_ON_CIPHERS, verdict="CIPHER_SUITE_MISMATCH"
            )
    if seen.end is End.TIMED_OUT:
        words = f"it takes the connection and does not answer: {seen.words}"
        return failed(question, "handshake-timeout", words, verdict="HANDSHAKE_TIMEOUT")
    if seen.end is End.CLOSED and not seen.first_bytes:
        words = (
            "it closes the connection at the first bytes of TLS: it may speak plaintext, or stand "
            "behind a proxy that has no server"
        )
        return failed(
            question, "plaintext-server", words, likely=60, verdict="PEER_CONNECTION_CLOSED"
        )
    words = f"the handshake fails: {seen.words}" + (
        f" (alert {seen.alert})" if seen.alert is not None else ""
    )
    return failed(question, "cipher-mismatch", words, likely=50, verdict="HANDSHAKE_FAILURE")


def _plain(data: bytes) -> str:
    """Return what came in plaintext: a line of text is shown, and no bytes that say nothing."""
    if len(data) > _FRAME_TYPE and data[_FRAME_TYPE] in {_SETTINGS, _GOAWAY}:
        return "HTTP/2 without TLS, as a gRPC server on an insecure port speaks"
    line = data.split(b"\r\n")[0].split(b"\n")[0][:40]
    if line.isascii() and line.decode("ascii").isprintable():
        return quote_untrusted(line.decode("ascii"))
    return f"{len(data)} bytes that are no text"


def _tls_words(seen: Handshake) -> str:
    group = seen.group or "a group unknown here"
    hybrid = any(word in seen.group.lower() for word in _HYBRID)
    kind = "post-quantum hybrid" if hybrid else "not post-quantum"
    return f"{seen.version}, {seen.cipher}, key exchange {group} ({kind})"


def _parameters(seen: Handshake) -> list[Finding]:
    found = []
    if seen.version == "TLSv1.2" and not seen.cipher.startswith("ECDHE-"):
        found.append(
            failed(
                "cipher",
                "cipher-mismatch",
                f"it takes {seen.cipher} at best; gRPC offers ECDHE with AES-GCM or ChaCha20 alone",
                verdict="CIPHER_SUITE_MISMATCH",
            )
        )
    if seen.alpn == "h2":
        found.append(ok("HTTP/2", "agreed on by ALPN"))
    elif seen.done:
        found.append(
            failed(
                "HTTP/2",
                "not-http2",
                "it agrees on no HTTP/2 (ALPN h2), and gRPC closes such a connection",
                verdict="NO_APPLICATION_PROTOCOL",
            )
        )
    else:
        found.append(unknown("HTTP/2", "the handshake did not come so far"))
    return found
