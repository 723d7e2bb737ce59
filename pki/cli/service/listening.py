"""Looks whether addresses can be listened on, before anything else is done for a server.

gRPC prints lines of its own about a port that is in use, and no reason in its error.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from contextlib import ExitStack

from pki.errors import InputError, StateError, quote_untrusted

_MOST_PORT = 65535
_SCHEMES = frozenset({"unix", "unix-abstract", "ipv4", "ipv6", "dns", "vsock"})


def check_listening(addresses: Mapping[str, str]) -> None:
    """Check that a server can listen on addresses.

    Args:
        addresses: the addresses, by the options that name them, e.g. ``--listen``.

    Raises:
        InputError: if one has no port, or two are the same.
        StateError: if one can't be listened on, e.g. because another process does.
    """
    options: dict[str, str] = {}
    with ExitStack() as stack:
        for option, address in addresses.items():
            if address.partition(":")[0] in _SCHEMES:
                # gRPC alone knows these.
                continue
            host, number = _host_and_number(option, address)
            if number and (other := options.setdefault(address, option)) != option:
                raise InputError(
                    f"{other} and {option} are both {address}", remedy="Choose another for one"
                )
            _try(stack, option, host, number)


def listen_error(option: str, address: str, error: OSError) -> StateError:
    """Return the error for an address that can't be listened on."""
    where = quote_untrusted(address)[1:-1]
    if error.errno == errno.EADDRINUSE:
        return StateError(
            f"{where} is in use by another process",
            remedy=f"Stop it, or choose another with {option}",
        )
    return StateError(
        f"can't listen on {where}: {(error.strerror or str(error))}",
        remedy=f"Choose another with {option}",
    )


def _host_and_number(option: str, address: str) -> tuple[str, int]:
    host, _, number = address.rpartition(":")
    if not (number.isascii() and number.isdigit() and int(number) <= _MOST_PORT):
        raise InputError(
            f"{option} {quote_untrusted(address)} has no port number", remedy="Write HOST:PORT"
        )
    return host.removeprefix("[").removesuffix("]"), int(number)


def _try(stack: ExitStack, option: str, host: str, number: int) -> None:
    """Bind the address, and keep it until the others were tried."""
    address = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
    try:
        found = socket.getaddrinfo(
            host or None, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, where = found[0]
        trying = stack.enter_context(socket.socket(family, kind, protocol))
        # As servers do: connections that have ended do not keep the port.
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trying.bind(where)
    except OSError as error:
        raise listen_error(option, address, error) from error
