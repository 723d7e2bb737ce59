"""Keeps the ports of a CA for its workers, and for nobody else.

The workers listen on one port with ``SO_REUSEPORT``, which lets any process of the same user join
that asks for it. The supervisor keeps others out: it has the port before any worker listens, and
until the last one has ended.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack

from pki.errors import InputError, StateError, quote_untrusted

_TRIES = 16


def reserve_ports(stack: ExitStack, addresses: Mapping[str, str]) -> dict[str, str]:
    """Reserve the ports of addresses as long as a stack is open.

    Args:
        stack: closes the ports again.
        addresses: the addresses by the options that name them, e.g. ``127.0.0.1:0``.

    Returns:
        The addresses, each with the number of its port.

    Raises:
        InputError: if an address is none that processes can share, e.g. a Unix socket.
        StateError: if a port is in use.
    """
    reserved = {}
    for option, address in addresses.items():
        host, _, number = address.rpartition(":")
        if not number.isdigit() or address.startswith("unix"):
            raise InputError(
                f"{option} {quote_untrusted(address)} can't be shared by several workers",
                remedy="Write HOST:PORT, or serve with one worker",
            )
        port = _reserve(stack, option, host.removeprefix("[").removesuffix("]"), int(number))
        reserved[option] = f"{host}:{port}"
    return reserved


def _reserve(stack: ExitStack, option: str, host: str, number: int) -> int:
    for remaining in reversed(range(1 if number else _TRIES)):
        try:
            keeping, port = _keep(host, number or _free_number(host))
        except OSError as error:
            if not remaining:
                raise StateError(
                    f"can't listen on {quote_untrusted(host)[1:-1]}:{number}: "
                    f"{error.strerror or error}",
                    remedy=f"Stop what listens there (ss -ltnp), or choose another with {option}",
                ) from error
        else:
            stack.enter_context(keeping)
            return port
    raise AssertionError


def _keep(host: str, number: int) -> tuple[socket.socket, int]:
    """Take a port; return a socket that gets no connections, and its number."""
    with ExitStack() as stack:
        keeping = stack.enter_context(_socket(host, number))
        # To listen once makes sure that nobody else does. What is shut down keeps its number.
        keeping.listen(1)
        keeping.shutdown(socket.SHUT_RDWR)
        # Without the first, nobody joins but those who have the second, of the same user.
        keeping.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        keeping.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stack.pop_all()
        return keeping, keeping.getsockname()[1]


def _free_number(host: str) -> int:
    """Return a free port. A socket gives up one that the kernel chose when it is shut down."""
    with _socket(host, 0) as trying:
        number: int = trying.getsockname()[1]
        return number


def _socket(host: str, number: int) -> socket.socket:
    found = socket.getaddrinfo(
        host or None, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, where = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        # As servers do: connections that have ended do not keep the port.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
    except BaseException:
        made.close()
        raise
    return made
