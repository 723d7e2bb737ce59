"""Asking for TLS in another protocol: the answers are those of real servers, or of hostile ones."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import pytest

from pki.tls.starttls import StartTls, StartTlsRefusedError, recognise_greeting, request_tls

# What MariaDB 10.11.19 sends first; of the flags, bit 11 says that it has TLS.
MARIADB = bytes.fromhex(
    "640000000a352e352e352d31302e31312e31392d4d6172696144422d302b6465623132753100040000002645675a"
    "6b2c387300feff080200ff81150000000000001d0000005c536a3c2e6c595b3a50627e006d7973716c5f6e617469"
    "76655f70617373776f726400"
)
MARIADB_WITHOUT_TLS = MARIADB.replace(b"\xfe\xff\x08\x02", b"\xfe\xf7\x08\x02")
# MySQL's error 1130, as an unknown host gets it.
MYSQL_REFUSES = b"\x2b\0\0\0\xff\x6a\x04Host 'x' is not allowed to connect here!"
POSTFIX = b"220 mail.shop.internal ESMTP Postfix (Debian/GNU)\r\n"
EHLO = b"250-mail.shop.internal\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n250 CHUNKING\r\n"

Server = Callable[[socket.socket], None]


def answers(*steps: bytes) -> Server:
    """Return a server that says the first text, and each further one after it was asked."""

    def serve(plain: socket.socket) -> None:
        for number, step in enumerate(steps):
            if number:
                plain.recv(1024)
            plain.sendall(step)

    return serve


def answers_when_asked(*steps: bytes) -> Server:
    return answers(b"", *steps)


def ask(protocol: StartTls, server: Server) -> bytes:
    """Ask a server for TLS, and return what comes after its answers."""
    ours, theirs = socket.socketpair()

    def run() -> None:
        with theirs, contextlib.suppress(OSError):
            server(theirs)
            theirs.shutdown(socket.SHUT_WR)
            while theirs.recv(1024):
                pass

    thread = threading.Thread(target=run)
    thread.start()
    with ours:
        try:
            request_tls(protocol, ours, lambda: 2.0)
            return ours.recv(16)
        finally:
            ours.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while ours.recv(1024):
                    pass
            thread.join()


@pytest.mark.parametrize(
    ("protocol", "server"),
    [
        (StartTls.SMTP, answers(POSTFIX, EHLO, b"220 2.0.0 Ready to start TLS\r\n")),
        (StartTls.SMTP, answers(b"220-a\r\n220 b SMTP\r\n", b"250 starttls\r\n", b"220 go\r\n")),
        (StartTls.IMAP, answers(b"* OK Dovecot ready.\r\n", b"* CAPABILITY x\r\na OK Begin\r\n")),
        (StartTls.POP3, answers(b"+OK Dovecot ready.\r\n", b"+OK Begin TLS\r\n")),
        (StartTls.POSTGRES, answers_when_asked(b"S")),
        (StartTls.MYSQL, answers(MARIADB)),
    ],
)
def test_a_server_that_begins_tls_is_left_just_before_it(
    protocol: StartTls, server: Server
) -> None:
    def then_tls(plain: socket.socket) -> None:
        server(plain)
        plain.sendall(b"\x16\x03\x03")

    assert ask(protocol, then_tls) == b"\x16\x03\x03"


@pytest.mark.parametrize(
    ("protocol", "server", "message"),
    [
        (StartTls.SMTP, answers(POSTFIX, b"250 mail\r\n"), "does not offer STARTTLS"),
        (StartTls.SMTP, answers(POSTFIX, EHLO, b"454 4.7.0 TLS not available\r\n"), "454 4.7.0"),
        (StartTls.SMTP, answers(b"554 no\r\n"), "554 no"),
        (StartTls.SMTP, answers(b"SSH-2.0-OpenSSH_9.2\r\n"), "SSH-2.0"),
        (StartTls.IMAP, answers(b"* OK x\r\n", b"a BAD unknown\r\n"), "a BAD"),
        (StartTls.IMAP, answers(b"* BYE x\r\n"), "BYE"),
        (StartTls.POP3, answers(b"+OK\r\n", b"-ERR unknown command\r\n"), "-ERR"),
        (StartTls.POSTGRES, answers_when_asked(b"N"), "has no TLS"),
        (StartTls.POSTGRES, answers_when_asked(b"E"), "does not begin TLS as PostgreSQL"),
        (StartTls.POSTGRES, answers(b""), "closes the connection"),
        (StartTls.MYSQL, answers(MARIADB_WITHOUT_TLS), "MariaDB-0+deb12u1' has no TLS"),
        (StartTls.MYSQL, answers(MYSQL_REFUSES), "Host 'x' is not allowed"),
        (StartTls.MYSQL, answers(b"\0\0\0\0"), "does not begin TLS as MySQL"),
        (StartTls.MYSQL, answers(b"\5\0\0\0\x0aabc\0"), "does not begin TLS as MySQL"),
        (StartTls.MYSQL, answers(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not begin TLS as MySQL"),
        (StartTls.MYSQL, answers(b"\xff\xff\xff\0"), "too much"),
        (StartTls.SMTP, answers(b"220" + b"-x" * 4096), "does not begin"),
        (StartTls.SMTP, answers(b"220-x\r\n" * 1000), "does not begin"),
        (StartTls.IMAP, answers(b"* OK\r\n", b"* x\r\n" * 1000), "does not begin"),
    ],
)
def test_a_server_that_does_not_is_refused_in_words(
    protocol: StartTls, server: Server, message: str
) -> None:
    with pytest.raises(StartTlsRefusedError) as refused:
        ask(protocol, server)
    assert message in str(refused.value)


def test_what_a_server_says_is_escaped() -> None:
    with pytest.raises(StartTlsRefusedError) as refused:
        ask(StartTls.POP3, answers(b"\x1b[2J evil\r\n"))
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        (POSTFIX, StartTls.SMTP),
        (b"* OK [CAPABILITY IMAP4rev1] Dovecot ready.\r\n", StartTls.IMAP),
        (b"+OK Dovecot ready.\r\n", StartTls.POP3),
        (MARIADB, StartTls.MYSQL),
        (MYSQL_REFUSES, StartTls.MYSQL),
        (b"HTTP/1.1 400 Bad Request\r\n", None),
        (b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0@\0", None),
        (b"220 ProFTPD ready\r\n", None),
        (b"", None),
    ],
)
def test_a_server_that_speaks_first_is_recognised(data: bytes, protocol: StartTls | None) -> None:
    assert recognise_greeting(data) is protocol
