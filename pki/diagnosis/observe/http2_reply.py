"""What a stand-in says to a caller that shook hands: its first call is answered as unavailable.

A caller of gRPC that is sent away before its call was taken tries again at once, and without end.
So it is let come so far that it sends the call, and is answered in words.
"""

from __future__ import annotations

from pki.tls.connection import Deadline, TlsConnection

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_FRAME = 9
_MOST_BYTES = 64 * 1024
_UNAVAILABLE = b"14"
_WORDS = b"handfast doctor stands in for this server, and serves nobody"

# RFC 9113 section 6: the types of frames, and the flags of the one that we send.
_HEADERS, _SETTINGS, _GOAWAY = 1, 4, 7
_END_STREAM_AND_HEADERS = 0x05
_STATUS_200 = b"\x88"  # RFC 7541 appendix A, entry 8


def bid_farewell(talk: TlsConnection, limit: Deadline) -> None:
    """Answer the caller's first call, and say goodbye.

    Raises:
        SSL.Error: with an alert of the caller, among others.
        ConnectionResetError: if it closes without a word.
        TimeoutError: if it makes no call within the limit.
    """
    talk.write(_frame(_SETTINGS, 0, 0, b""), limit)
    stream = _stream_of_call(talk, limit)
    if stream is not None:
        fields = (
            (b"content-type", b"application/grpc"),
            (b"grpc-status", _UNAVAILABLE),
            (b"grpc-message", _WORDS),
        )
        block = _STATUS_200 + b"".join(_field(*item) for item in fields)
        talk.write(_frame(_HEADERS, _END_STREAM_AND_HEADERS, stream, block), limit)
    last = (stream or 0).to_bytes(4, "big")
    talk.write(_frame(_GOAWAY, 0, 0, last + bytes(4)), limit)


def _stream_of_call(talk: TlsConnection, limit: Deadline) -> int | None:
    said = b""
    while len(said) < _MOST_BYTES:
        data = talk.read(limit)
        if not data:
            raise ConnectionResetError
        said += data
        begin = _PREFACE
        while len(said) >= begin + _FRAME:
            if said[begin + 3] == _HEADERS:
                return int.from_bytes(said[begin + 5 : begin + _FRAME], "big") & 0x7FFFFFFF
            begin += _FRAME + int.from_bytes(said[begin : begin + 3], "big")
    return None


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def _field(name: bytes, value: bytes) -> bytes:
    """Write a header field, not indexed, each part below 127 bytes (RFC 7541 section 6.2.2)."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value
