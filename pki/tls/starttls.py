"""Asks a server for TLS in its own protocol, where TLS does not begin with the connection.

SMTP: RFC 3207. IMAP and POP3: RFC 2595 and RFC 9051. PostgreSQL: "SSLRequest" of its
frontend/backend protocol. MySQL and MariaDB: "SSLRequest" of their connection phase.

Whatever a server sends here comes in plaintext, from anybody on the way: it is bounded, quoted
where it is shown, and decides nothing but whether TLS begins. Nothing is read beyond an answer, so
that what was sent in plaintext after it is seen as what it is: no TLS.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from enum import StrEnum

from pki.errors import quote_untrusted

_MAX_BYTES = 64 * 1024
_MAX_LINE = 2048
_MOST_LINES = 64
_EHLO = b"EHLO handfast-doctor\r\n"
_POSTGRES_SSL_REQUEST = struct.pack("!II", 8, 80877103)
# Flags of MySQL's handshake: TLS; and the protocol since 4.1, with its way of authenticating.
_MYSQL_SSL, _MYSQL_41, _MYSQL_SECURE = 0x0800, 0x0200, 0x8000
_MYSQL_PROTOCOL, _MYSQL_ERROR = 10, 0xFF
_MYSQL_UTF8 = 45


class StartTls(StrEnum):
    """The protocol in which to ask for TLS."""

    SMTP = "smtp"
    IMAP = "imap"
    POP3 = "pop3"
    MYSQL = "mysql"
    POSTGRES = "postgres"

    @property
    def label(self) -> str:
        """The protocol's name as people write it."""
        return _LABELS.get(self, self.upper())


_LABELS = {StartTls.MYSQL: "MySQL", StartTls.POSTGRES: "PostgreSQL"}


class StartTlsRefusedError(OSError):
    """The server does not begin TLS, or does not speak the protocol."""


def request_tls(protocol: StartTls, plain: socket.socket, remaining: Callable[[], float]) -> None:
    """Ask a server for TLS; afterwards TLS begins on the same connection.

    Args:
        protocol: the server's own protocol.
        plain: the connection.
        remaining: returns the remaining seconds, or raises.

    Raises:
        StartTlsRefusedError: if the server declines, or speaks another protocol.
        OSError: if the connection fails.
    """
    dialogue = _Dialogue(protocol, plain, remaining)
    match protocol:
        case StartTls.SMTP:
            dialogue.expect_reply(b"220")
            dialogue.send(_EHLO)
            capabilities = dialogue.expect_reply(b"250")
            if not any(line[4:].strip().upper() == b"STARTTLS" for line in capabilities):
                raise StartTlsRefusedError("the SMTP server does not offer STARTTLS")
            dialogue.send(b"STARTTLS\r\n")
            dialogue.expect_reply(b"220")
        case StartTls.IMAP:
            dialogue.expect_line(b"* OK")
            dialogue.send(b"a STARTTLS\r\n")
            dialogue.expect_line(b"a OK", skip=b"* ")
        case StartTls.POP3:
            dialogue.expect_line(b"+OK")
            dialogue.send(b"STLS\r\n")
            dialogue.expect_line(b"+OK")
        case StartTls.POSTGRES:
            dialogue.send(_POSTGRES_SSL_REQUEST)
            answer = dialogue.receive(1)
            if answer == b"N":
                raise StartTlsRefusedError("the PostgreSQL server answers that it has no TLS")
            if answer != b"S":
                raise dialogue.another_protocol(answer)
        case StartTls.MYSQL:
            _request_mysql_tls(dialogue)


# What a server answers within TLS, if only by an error; MySQL counts errors, so it gets nothing.
PROBES = {
    StartTls.SMTP: b"NOOP\r\n",
    StartTls.IMAP: b"a NOOP\r\n",
    StartTls.POP3: b"NOOP\r\n",
    StartTls.MYSQL: b"",
    StartTls.POSTGRES: _POSTGRES_SSL_REQUEST,
}


def recognise_greeting(data: bytes) -> StartTls | None:
    """Return the protocol in which a server speaks first; None if it is none of these."""
    upper = data.upper()
    if upper.startswith((b"220 ", b"220-")) and b"SMTP" in upper:
        return StartTls.SMTP
    if upper.startswith(b"* OK"):
        return StartTls.IMAP
    if upper.startswith(b"+OK"):
        return StartTls.POP3
    if data[3:5] == bytes((0, _MYSQL_PROTOCOL)) or (
        data[3:5] == bytes((0, _MYSQL_ERROR)) and len(data) > 9
    ):
        return StartTls.MYSQL
    return None


def _request_mysql_tls(dialogue: _Dialogue) -> None:
    greeting = dialogue.receive_packet()
    if greeting[:1] == bytes((_MYSQL_ERROR,)):
        # An error's number comes first, and then its text.
        raise StartTlsRefusedError(f"the MySQL server refuses us: {_quote(greeting[3:])}")
    version, _, rest = greeting[1:].partition(b"\0")
    # The thread's number, eight bytes for the password and a zero stand before the flags.
    flags = rest[13:15]
    if greeting[:1] != bytes((_MYSQL_PROTOCOL,)) or len(flags) < 2:
        raise dialogue.another_protocol(greeting)
    if not int.from_bytes(flags, "little") & _MYSQL_SSL:
        raise StartTlsRefusedError(f"the MySQL server {_quote(version)} has no TLS")
    wanted = _MYSQL_SSL | _MYSQL_41 | _MYSQL_SECURE
    body = struct.pack("<IIB23x", wanted, 1 << 24, _MYSQL_UTF8)
    dialogue.send(len(body).to_bytes(3, "little") + b"\1" + body)


class _Dialogue:
    """What is said in plaintext before TLS; bounded in time and in bytes."""

    def __init__(
        self, protocol: StartTls, plain: socket.socket, remaining: Callable[[], float]
    ) -> None:
        self._protocol = protocol
        self._plain = plain
        self._remaining = remaining
        self._left = _MAX_BYTES

    def send(self, data: bytes) -> None:
        self._plain.settimeout(self._remaining())
        self._plain.sendall(data)

    def receive(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise StartTlsRefusedError("the server sends too much before TLS")
        data = b""
        while len(data) < count:
            self._plain.settimeout(self._remaining())
            try:
                more = self._plain.recv(count - len(data))
            except ConnectionError:
                more = b""
            if not more:
                raise StartTlsRefusedError(
                    f"the server closes the connection instead of speaking {self._protocol.label}"
                    + (f"; it said {_quote(data)}" if data else "")
                )
            data += more
        return data

    def receive_packet(self) -> bytes:
        """Receive a packet of MySQL: three bytes of length, a number, and the content."""
        head = self.receive(4)
        if head[3]:
            raise self.another_protocol(head)
        return self.receive(int.from_bytes(head[:3], "little"))

    def receive_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += self.receive(1)
            if len(line) > _MAX_LINE:
                raise self.another_protocol(line)
        return line.rstrip(b"\r\n")

    def expect_line(self, begin: bytes, *, skip: bytes = b"") -> None:
        """Receive a line that begins so; lines that begin with ``skip`` may come before it."""
        for _ in range(_MOST_LINES):
            line = self.receive_line()
            if line.upper().startswith(begin.upper()):
                return
            if not (skip and line.startswith(skip)):
                break
        raise self.another_protocol(line)

    def expect_reply(self, code: bytes) -> list[bytes]:
        """Receive the lines of an SMTP reply with this code."""
        lines = []
        for _ in range(_MOST_LINES):
            lines.append(self.receive_line())
            if lines[-1][:3] != code:
                raise self.another_protocol(lines[-1])
            if lines[-1][3:4] != b"-":
                return lines
        raise self.another_protocol(lines[-1])

    def another_protocol(self, answer: bytes) -> StartTlsRefusedError:
        return StartTlsRefusedError(
            f"the server does not begin TLS as {self._protocol.label} does: it answers "
            f"{_quote(answer)}"
        )


def _quote(data: bytes) -> str:
    return quote_untrusted(data[:80].decode("latin-1"))
