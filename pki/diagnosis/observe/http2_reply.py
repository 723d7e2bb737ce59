"""Answers the first call of a stand-in's caller as unavailable, and closes the HTTP/2 connection.

A gRPC caller whose connection ends before it has sent its call retries at once, without end. So the
stand-in waits until the caller has sent its call, and then answers it.
"""

from __future__ import annotations

from pki.tls.connection import Deadline, TlsConnection

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_FRAME = 9
_MOST_BYTES = 64 * 1024
_UNAVAILABLE = b"14"
_MESSAGE = b"handfast doctor stands in for this server, and serves nobody"

# RFC 9113 section 6: the types of frames, and the flags of the answer's frame.
_HEADERS, _SETTINGS, _GOAWAY = 1, 4, 7
_END_STREAM_AND_HEADERS = 0x05
_STATUS_200 = b"\x88"  # RFC 7541 appendix A, entry 8


def answer_first_call(connection: TlsConnection, limit: Deadline) -> None:
    """Answer the caller's first call, and send GOAWAY.

    Raises:
        SSL.Error: with an alert of the caller, among others.
        ConnectionResetError: if the caller closes the connection without an alert.
        TimeoutError: if the caller makes no call within the limit.
    """
    connection.write(_frame(_SETTINGS, 0, 0, b""), limit)
    stream = _stream_of_call(connection, limit)
    if stream is not None:
        fields = (
            (b"content-type", b"application/grpc"),
            (b"grpc-status", _UNAVAILABLE),
            (b"grpc-message", _MESSAGE),
        )
        block = _STATUS_200 + b"".join(_field(*item) for item in fields)
        connection.write(_frame(_HEADERS, _END_STREAM_AND_HEADERS, stream, block), limit)
    last = (stream or 0).to_bytes(4, "big")
    connection.write(_frame(_GOAWAY, 0, 0, last + bytes(4)), limit)


def _stream_of_call(connection: TlsConnection, limit: Deadline) -> int | None:
    received = b""
    while len(received) < _MOST_BYTES:
        data = connection.read(limit)
        if not data:
            raise ConnectionResetError
        received += data
        begin = _PREFACE
        while len(received) >= begin + _FRAME:
            if received[begin + 3] == _HEADERS:
                return int.from_bytes(received[begin + 5 : begin + _FRAME], "big") & 0x7FFFFFFF
            begin += _FRAME + int.from_bytes(received[begin : begin + 3], "big")
    return None


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def _field(name: bytes, value: bytes) -> bytes:
    """Encode a header field, not indexed, each part below 127 bytes (RFC 7541 section 6.2.2)."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value
