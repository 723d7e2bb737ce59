"""Asks a server of HTTP what time it has: gRPC shows no headers of an answer that is an error.

A server that refuses a certificate by HTTP, as nginx does, tells its time with it. So one request
of HTTP/1.1 is made without a certificate, for the header alone. What it says is not verified: it
ranks causes, and proves none.
"""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

from OpenSSL import SSL

from pki.tls.connection import Deadline, TlsConnection, TooManyBytesError, connect
from pki.tls.target import Target

_MOST_BYTES = 64 * 1024
_MOST_HEADERS = 16 * 1024
_REQUEST = (
    b"HEAD / HTTP/1.1\r\nHost: %s\r\nUser-Agent: handfast-doctor\r\nConnection: close\r\n\r\n"
)


def told_time(target: Target, server_name: str, *, seconds: float) -> datetime | None:
    """Return the time that a server tells in HTTP; None where it tells none.

    Args:
        target: where it is.
        server_name: for the name indication; empty sends none.
        seconds: how long it may take.
    """
    limit = Deadline(seconds)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_alpn_protos([b"http/1.1"])
    name = server_name.encode()
    said = b""
    try:
        with TlsConnection(connect(target, limit), context, max_bytes=_MOST_BYTES) as talk:
            if name:
                talk.tls.set_tlsext_host_name(name)
            talk.tls.set_connect_state()
            talk.shake_hands(limit)
            talk.write(_REQUEST % (name or b"localhost"), limit)
            while b"\r\n\r\n" not in said and len(said) < _MOST_HEADERS:
                data = talk.read(limit)
                if not data:
                    break
                said += data
    except (OSError, SSL.Error, TooManyBytesError):
        # It need not tell; what it said before it failed counts.
        pass
    return read_date(said.partition(b"\r\n\r\n")[0])


def read_date(headers: bytes) -> datetime | None:
    """Read the header ``Date`` among the lines of an answer; None if it is not there, or none."""
    for line in headers.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"date":
            return parsed_date(value.decode("latin-1").strip())
    return None


def parsed_date(text: str) -> datetime | None:
    """Read the value of a header ``Date`` (RFC 9110 section 6.6.1); None if it is no time."""
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
