"""Whether a connection to our port reached this process: prefork servers share their ports."""

from __future__ import annotations

import os
import socket
import stat

_DESCRIPTORS = "/dev/fd"


def is_shared(listening: socket.AddressFamily, address: tuple[str, int]) -> bool:
    """Return whether other processes may listen on a port of ours too (SO_REUSEPORT).

    Args:
        listening: the family of the address.
        address: host and port.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        return False
    with socket.socket(listening, socket.SOCK_STREAM) as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            # Bound but not listening, it gets no connection.
            second.bind(address)
        except OSError:
            return False
    return True


def is_own_connection(connected: socket.socket) -> bool:
    """Return whether the other end of a connection is in this process; True if that is unknown.

    Args:
        connected: our end; the other end must have been accepted already.
    """
    # A default timeout would change the mode of each socket that is read here.
    if socket.getdefaulttimeout() is not None or not os.path.isdir(_DESCRIPTORS):
        return True
    host, port = connected.getsockname()[:2]
    return any(
        peer is not None and peer[1] == port and peer[0].removeprefix("::ffff:") == host
        for peer in map(_peer_of, os.listdir(_DESCRIPTORS))
    )


def _peer_of(descriptor: str) -> tuple[str, int] | None:
    try:
        number = int(descriptor)
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return None
        with socket.socket(fileno=os.dup(number)) as other:
            if other.family not in {socket.AF_INET, socket.AF_INET6}:
                return None
            peer: tuple[str, int] = other.getpeername()[:2]
            return peer
    except (OSError, ValueError):
        # Closed meanwhile, or not connected.
        return None
