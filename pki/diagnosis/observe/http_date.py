"""Asks an HTTP server for its time, because gRPC does not give the headers of an HTTP error answer.

A server that refuses a certificate by HTTP, as nginx does, sends its time in the answer. So one
HTTP/1.1 request is made without a certificate, only for the header. The server is not verified: its
time helps to rank causes, and proves none.
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


def request_http_date(target: Target, server_name: str, *, seconds: float) -> datetime | None:
    """Return the time that a server sends in HTTP; None if it sends none.

    Args:
        target: where the server is.
        server_name: for the server name indication; empty sends none.
        seconds: how long the request may take.
    """
    limit = Deadline(seconds)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_alpn_protos([b"http/1.1"])
    name = server_name.encode()
    received = b""
    try:
        with TlsConnection(connect(target, limit), context, max_bytes=_MOST_BYTES) as connection:
            if name:
                connection.tls.set_tlsext_host_name(name)
            connection.tls.set_connect_state()
            connection.do_handshake(limit)
            connection.write(_REQUEST % (name or b"localhost"), limit)
            while b"\r\n\r\n" not in received and len(received) < _MOST_HEADERS:
                data = connection.read(limit)
                if not data:
                    break
                received += data
    except (OSError, SSL.Error, TooManyBytesError):
        # The time is optional; what came before the failure still counts.
        pass
    return read_date_header(received.partition(b"\r\n\r\n")[0])


def read_date_header(headers: bytes) -> datetime | None:
    """Return the header ``Date`` of an answer; None if it is missing or malformed."""
    for line in headers.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"date":
            return parse_http_date(value.decode("latin-1").strip())
    return None


def parse_http_date(text: str) -> datetime | None:
    """Parse the value of a header ``Date`` (RFC 9110 section 6.6.1); None if it is malformed."""
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo is not None else None
