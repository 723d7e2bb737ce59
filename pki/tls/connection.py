"""A TLS connection over a plain socket, limited in time and in received bytes.

OpenSSL works in memory here and never on the socket. So each wait has a deadline, a peer can't make
us read forever, and the first bytes are known even if they are plaintext instead of TLS.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from OpenSSL import SSL

from pki.errors import quote_untrusted
from pki.tls.target import Target

_BLOCK = 16384
_SHORT_SECONDS = 0.25


class TooManyBytesError(Exception):
    """The peer sent more bytes than any handshake needs."""


class Deadline:
    """A deadline for several steps.

    Args:
        seconds: from now on.
        clock: returns monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def remaining(self) -> float:
        """Return the remaining seconds.

        Raises:
            TimeoutError: if there are none.
        """
        seconds = self._end - self._clock()
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds

    def shortened_to(self, seconds: float) -> Deadline:
        """Return a deadline after so many seconds, but no later than this one."""
        return Deadline(max(0.0, min(seconds, self._end - self._clock())), self._clock)


def connect(target: Target, deadline: Deadline) -> socket.socket:
    """Connect to the first address of a target that accepts.

    If there are several, each gets a short attempt first, as in gRPC, so that an address that does
    not answer does not delay the others.

    Raises:
        OSError: the error of the last address.
    """
    last: OSError = OSError("the name has no address")
    addresses = target.addresses()
    short = [(item, _SHORT_SECONDS) for item in addresses] if len(addresses) > 1 else []
    long = [
        (item, deadline.seconds / (len(addresses) - number))
        for number, item in enumerate(addresses)
    ]
    for (family, address), seconds in [*short, *long]:
        plain = socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.settimeout(min(seconds, deadline.remaining()))
            plain.connect(address)
            if target.proxy is not None:
                target.proxy.open_tunnel(plain, deadline.remaining)
        except OSError as error:
            plain.close()
            last = error
        else:
            return plain
    raise last


class TlsConnection:
    """One TLS connection.

    Args:
        plain: the connected socket; closed with the connection.
        context: the credential and trust anchors.
        max_bytes: how many bytes the peer may send.
    """

    def __init__(self, plain: socket.socket, context: SSL.Context, *, max_bytes: int) -> None:
        self.tls = SSL.Connection(context, None)
        self.first_bytes = b""
        """The first bytes from the peer, as received."""
        self._plain = plain
        self._max_bytes = max_bytes
        self._received = 0

    def do_handshake(self, deadline: Deadline) -> None:
        """Do the handshake until it is complete on this side.

        Raises:
            SSL.Error: if TLS fails.
            ConnectionResetError: if the peer closes the connection.
            TimeoutError: if it takes longer than the deadline.
            TooManyBytesError: if the peer sends more bytes than allowed.
            OSError: if the connection fails.
        """
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                self._receive(deadline)
            except SSL.Error:
                # Send the alert, so that the peer can log it.
                with contextlib.suppress(TimeoutError):
                    self._send_pending(deadline)
                raise
            else:
                self._send_pending(deadline)
                return

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Send data through TLS; if the peer has closed the connection, :meth:`read` reports it."""
        for begin in range(0, len(data), _BLOCK):
            # OpenSSL takes one record at a time, and leaves the rest without a word.
            self.tls.send(data[begin : begin + _BLOCK])
            self._send_pending(deadline)

    def read(self, deadline: Deadline) -> bytes:
        """Wait for data through TLS; return it, or empty bytes after the peer's close_notify.

        Raises:
            SSL.Error: if TLS fails, e.g. with an alert from the peer.
            ConnectionResetError: if the peer closes the connection without close_notify.
            TimeoutError: if nothing arrives before the deadline.
        """
        while True:
            try:
                return self.tls.recv(_BLOCK)
            except SSL.WantReadError:
                self._receive(deadline)
            except SSL.ZeroReturnError:
                return b""

    def end(self, deadline: Deadline) -> None:
        """Tell the peer that nothing follows: after that, a missing end is no truncation."""
        self.tls.shutdown()
        self._send_pending(deadline)

    def __enter__(self) -> Self:
        """Return the connection itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the socket."""
        self._plain.close()

    def _receive(self, deadline: Deadline) -> None:
        self._send_pending(deadline)
        self._plain.settimeout(deadline.remaining())
        data = self._plain.recv(_BLOCK)
        if not data:
            raise ConnectionResetError("the other side closed the connection without a reason")
        self._received += len(data)
        if self._received > self._max_bytes:
            raise TooManyBytesError(f"the other side sent more than {self._max_bytes} bytes")
        if len(self.first_bytes) < _BLOCK:
            self.first_bytes += data
        self.tls.bio_write(data)

    def _send_pending(self, deadline: Deadline) -> None:
        while True:
            try:
                data = self.tls.bio_read(_BLOCK)
            except SSL.WantReadError:
                return
            self._plain.settimeout(deadline.remaining())
            # If the peer has closed, what it sent before can still be read, above all its alert.
            with contextlib.suppress(ConnectionError):
                self._plain.sendall(data)


def ssl_error_message(error: SSL.Error) -> str:
    """Return OpenSSL's message of an error."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(quote_untrusted(item[-1]) for item in reasons) or "the connection was closed"
