"""A TLS conversation over a plain socket, within a time and a number of bytes.

OpenSSL works on memory here and never on the socket: so each wait has an end, what came in before
an answer in plaintext can be shown, and nobody can keep us reading.
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
_BRIEFLY_SECONDS = 0.25


class TooLongError(Exception):
    """The other side says more than any handshake needs."""


class Limit:
    """How long something may take.

    Args:
        seconds: all of it.
        clock: gives seconds that only grow.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def remaining(self) -> float:
        """Return the seconds left.

        Raises:
            TimeoutError: if there are none.
        """
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def part(self, seconds: float) -> Limit:
        """Return a limit of so many seconds, and no longer than this one."""
        return Limit(max(0.0, min(seconds, self._end - self._clock())), self._clock)


def connected(target: Target, limit: Limit) -> socket.socket:
    """Connect to the first address of a target that takes it.

    Of several, each is asked briefly at first, as gRPC does: one that does not answer must not keep
    us from its neighbours.

    Raises:
        OSError: what the last address answered.
    """
    last: OSError = OSError("the name has no address")
    addresses = target.addresses()
    briefly = [(item, _BRIEFLY_SECONDS) for item in addresses] if len(addresses) > 1 else []
    at_length = [
        (item, limit.seconds / (len(addresses) - number)) for number, item in enumerate(addresses)
    ]
    for (family, address), seconds in [*briefly, *at_length]:
        plain = socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.settimeout(min(seconds, limit.remaining()))
            plain.connect(address)
            if target.through is not None:
                target.through.ask(plain, limit.remaining)
        except OSError as error:
            plain.close()
            last = error
        else:
            return plain
    raise last


class TlsConnection:
    """One TLS conversation.

    Args:
        plain: the connected socket; closed with the conversation.
        context: what is shown and believed.
        most_bytes: how much the other side may say.
    """

    def __init__(self, plain: socket.socket, context: SSL.Context, *, most_bytes: int) -> None:
        self.tls = SSL.Connection(context, None)
        self.first_bytes = b""
        """What the other side said first, as it came over the wire."""
        self._plain = plain
        self._most_bytes = most_bytes
        self._received = 0

    def shake_hands(self, limit: Limit) -> None:
        """Shake hands, to its end as this side sees it.

        Raises:
            SSL.Error: if TLS fails.
            ConnectionResetError: if the other side closes first.
            TimeoutError: if it takes longer than the limit.
            TooLongError: if the other side says more than is taken.
            OSError: if the connection fails.
        """
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                self._take(limit)
            except SSL.Error:
                # The alert, for whoever logs it on the other side.
                with contextlib.suppress(TimeoutError):
                    self._flush(limit)
                raise
            else:
                self._flush(limit)
                return

    def write(self, data: bytes, limit: Limit) -> None:
        """Send what goes through TLS; if the other side has closed, :meth:`read` tells."""
        self.tls.send(data)
        self._flush(limit)

    def read(self, limit: Limit) -> bytes:
        """Wait for what comes through TLS; empty when the other side has said its goodbye.

        Raises:
            SSL.Error: with an alert of the other side, among others.
            ConnectionResetError: if it closes without a word.
            TimeoutError: if nothing comes within the limit.
        """
        while True:
            try:
                return self.tls.recv(_BLOCK)
            except SSL.WantReadError:
                self._take(limit)
            except SSL.ZeroReturnError:
                return b""

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the socket."""
        self._plain.close()

    def _take(self, limit: Limit) -> None:
        self._flush(limit)
        self._plain.settimeout(limit.remaining())
        data = self._plain.recv(_BLOCK)
        if not data:
            raise ConnectionResetError("the other side closed the connection without a word")
        self._received += len(data)
        if self._received > self._most_bytes:
            raise TooLongError(f"it said more than {self._most_bytes} bytes")
        if len(self.first_bytes) < _BLOCK:
            self.first_bytes += data
        self.tls.bio_write(data)

    def _flush(self, limit: Limit) -> None:
        while True:
            try:
                data = self.tls.bio_read(_BLOCK)
            except SSL.WantReadError:
                return
            self._plain.settimeout(limit.remaining())
            # What it said before it closed is still there to be read, its alert above all.
            with contextlib.suppress(ConnectionError):
                self._plain.sendall(data)


def words_of(error: SSL.Error) -> str:
    """Give OpenSSL's words for what failed."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(quote_untrusted(item[-1]) for item in reasons) or "the connection was closed"
