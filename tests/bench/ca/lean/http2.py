"""gRPC calls on one HTTP/2 connection, without I/O: bytes go in and out.

The server is told to send headers that need no state to be read: its table of headers has the size
zero (RFC 7541 §4.2), and binary values are sent as they are (an extension of gRPC). It may then
send as much as it wants: all windows are opened wide at the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW, _TRUE_BINARY = 1, 2, 4, 0xFE03
_WIDE, _CANCEL = 2**31 - 1, (8).to_bytes(4, "big")
# Of the static table (RFC 7541, appendix A): ":method: POST" and ":scheme: https".
_POST_HTTPS = b"\x83\x87"
# "content-type" by its place in that table, and "te", which has none.
_GRPC = b"\x0f\x10\x10application/grpc\x00\x02te\x08trailers"
_TIMEOUT = b"\x00\x0cgrpc-timeout"
_FAILED = {"grpc-status": b"14", "grpc-message": b"the stream or its connection ended"}


@dataclass(frozen=True, slots=True)
class Event:
    """A message on a stream, or its end.

    Args:
        stream: the number of the stream.
        message: the message; None at the end.
        trailers: at the end: what the server said of it, with ``grpc-status``.
    """

    stream: int
    message: bytes | None
    trailers: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        """Whether the call ended well."""
        return self.trailers.get("grpc-status") == b"0"


class Http2Calls:
    """The calls of one connection.

    Args:
        authority: the server's name.
    """

    def __init__(self, authority: str) -> None:
        self._authority = authority.encode()
        self._next, self._in = 1, bytearray()
        self._messages: dict[int, bytearray] = {}
        settings = {_HEADER_TABLE_SIZE: 0, _ENABLE_PUSH: 0, _INITIAL_WINDOW: _WIDE, _TRUE_BINARY: 1}
        payload = b"".join(
            key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in settings.items()
        )
        wider = (_WIDE - 65_535).to_bytes(4, "big")
        self.out = bytearray(_PREFACE + _frame(_SETTINGS, 0, 0, payload) + _frame(8, 0, 0, wider))
        """What is to be sent; whoever sends it removes it."""
        self.is_ending = False
        """Whether the server takes no more calls over the connection."""

    def call(self, method: str, message: bytes, seconds: float | None = None) -> int:
        """Begin a call with one message, shorter than 16 KiB; return the number of its stream.

        Args:
            method: its path.
            message: the request.
            seconds: what the server is told of how long the caller waits; None for no end.
        """
        stream, self._next = self._next, self._next + 2
        self._messages[stream] = bytearray()
        headers = _POST_HTTPS + _literal(4, method.encode()) + _literal(1, self._authority) + _GRPC
        if seconds is not None:
            waits = b"%dm" % (seconds * 1000)
            headers += _TIMEOUT + bytes((len(waits),)) + waits
        self.out += _frame(_HEADERS, _END_HEADERS, stream, headers)
        data = b"\x00" + len(message).to_bytes(4, "big") + message
        self.out += _frame(_DATA, _END_STREAM, stream, data)
        return stream

    def cancel(self, stream: int) -> None:
        """Give a call up; nothing more is told of it."""
        if self._messages.pop(stream, None) is not None:
            self.out += _frame(_RESET, 0, stream, _CANCEL)

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take what the server sent, and return what happened."""
        self._in += data
        begin = 0
        while len(self._in) - begin >= 9:
            end = begin + 9 + int.from_bytes(self._in[begin : begin + 3], "big")
            if len(self._in) < end:
                break
            kind, flags = self._in[begin + 3], self._in[begin + 4]
            stream = int.from_bytes(self._in[begin + 5 : begin + 9], "big")
            yield from self._frame(kind, flags, stream, bytes(self._in[begin + 9 : end]))
            begin = end
        del self._in[:begin]

    def end_all(self) -> Iterator[Event]:
        """End all calls: the connection is gone."""
        for stream in list(self._messages):
            yield from self._end(stream, _FAILED)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> Iterator[Event]:
        if kind in {_SETTINGS, _PING}:
            if not flags & _ACK:
                self.out += _frame(kind, _ACK, 0, payload if kind == _PING else b"")
        elif kind == _DATA:
            yield from self._data(stream, flags, payload)
        elif kind == _HEADERS:
            if flags & (_END_HEADERS | _PADDED) != _END_HEADERS:
                raise ValueError("the server's headers are in several frames, or padded")
            if flags & _END_STREAM:
                yield from self._end(stream, dict(_headers(payload)))
        elif kind == _RESET:
            yield from self._end(stream, _FAILED)
        elif kind == _GOAWAY:
            self.is_ending = True
            last = int.from_bytes(payload[:4], "big")
            for later in [item for item in self._messages if item > last]:
                yield from self._end(later, _FAILED)

    def _data(self, stream: int, flags: int, payload: bytes) -> Iterator[Event]:
        if flags & _PADDED:
            raise ValueError("the server's data are padded")
        gathered = self._messages.get(stream)
        if gathered is None:
            return
        gathered += payload
        while len(gathered) >= 5:
            end = 5 + int.from_bytes(gathered[1:5], "big")
            if len(gathered) < end:
                break
            message = bytes(gathered[5:end])
            del gathered[:end]
            yield Event(stream, message)
        if flags & _END_STREAM:
            yield from self._end(stream, _FAILED)

    def _end(self, stream: int, trailers: Mapping[str, bytes]) -> Iterator[Event]:
        if self._messages.pop(stream, None) is not None:
            yield Event(stream, None, trailers)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


def _literal(name: int, value: bytes) -> bytes:
    """Return a header whose name is in the static table; names and values here are short."""
    assert name < 15, name
    assert len(value) < 127, value
    return bytes((name, len(value))) + value


def _headers(block: bytes) -> Iterator[tuple[str, bytes]]:
    """Return the headers of a block that are written out; those of the static table say nothing."""
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            _, at = _integer(block, at, 7)
        elif first & 0xE0 == 0x20:
            _, at = _integer(block, at, 5)
        else:
            place, at = _integer(block, at, 6 if first & 0x40 else 4)
            name = b"" if place else None
            if name is None:
                name, at = _text(block, at)
            value, at = _text(block, at)
            # A binary value that is sent as it is begins with a zero.
            is_binary = name.endswith(b"-bin") and value[:1] == b"\x00"
            yield name.decode(), value[1:] if is_binary else value


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """Return an integer of RFC 7541 §5.1, and where it ends."""
    most = (1 << bits) - 1
    value, at, shift = block[at] & most, at + 1, 0
    if value < most:
        return value, at
    while True:
        octet, at = block[at], at + 1
        value += (octet & 0x7F) << shift
        shift += 7
        if not octet & 0x80:
            return value, at


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    if block[at] & 0x80:
        raise ValueError("the server's headers are coded by Huffman")
    length, at = _integer(block, at, 7)
    return block[at : at + length], at + length
