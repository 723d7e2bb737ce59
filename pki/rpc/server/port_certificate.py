"""A server's port, and how its certificate is changed without a crash.

gRPC asks for a port's configuration at each handshake, on several threads, and takes no lock: it
frees the factory of the old configuration while another handshake may just be reading it. A
stranger who opens connections fast enough ends the process then. A factory lives as long as a
handshake that began with it, so before a change we begin one of our own on the port, and leave it
unfinished until the change is over. See docs/adr/0005.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import cast

import grpc

from pki.access.counters import ReloadResult
from pki.background import defer
from pki.rpc.server.port_sharing import is_own_connection, is_shared

log = logging.getLogger("handfast.rpc")

_HANDSHAKE_SECONDS = 2.0
# A neighbour on a shared port may have stopped, and must not cost all of that.
_SHARED_HANDSHAKE_SECONDS = 0.2
# A thread that has read the old factory has taken its own hold on it within microseconds.
_HOLD_SECONDS = 1.0
# Strangers may hold every connection that the port takes, for as long as each handshake's bound. So
# long a change waits for a place among them: a certificate is renewed well before its end.
_UNHELD_SECONDS = 300.0


class PortCertificate:
    """One port's configuration: what it was given last, and what it is to be given next.

    Args:
        configuration: what it begins with.
        clock: gives seconds that only grow.
    """

    def __init__(
        self,
        configuration: grpc.ServerCertificateConfiguration,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = configuration
        self._next: grpc.ServerCertificateConfiguration | None = None
        self._address: tuple[socket.AddressFamily, str | tuple[str, int]] | None = None
        self._shared = False
        self._held: list[tuple[float, socket.socket]] = []
        self._clock = clock
        self._unheld_since: float | None = None
        self._lock = threading.Lock()
        self.problem = ""
        """Why it still shows an older certificate; empty if it does not."""
        self.is_closed = False
        """Whether its server has stopped: it is given nothing any more."""

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials to open the port with: client authentication is always on."""
        # The type stubs leave out None, gRPC's own word for "no change".
        fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._fetch)
        return grpc.dynamic_ssl_server_credentials(
            self._given, fetch, require_client_authentication=True
        )

    def opened(self, address: str, number: int) -> None:
        """Note where the port is, once it is open."""
        self._address = _reachable(address, number)
        if self._address is not None and isinstance(self._address[1], tuple):
            self._shared = is_shared(self._address[0], self._address[1])

    def offer(self, configuration: grpc.ServerCertificateConfiguration) -> ReloadResult | None:
        """Change the port's configuration, if it is another than the one given last.

        To be offered again until it has: no handshake of our own may be possible now.

        Returns:
            Whether it was changed, or could not be; None where there was nothing to change.
        """
        with self._lock:
            known = self._next or self._given
        if known is configuration:
            self.problem = ""
            return None
        held = self._begin_handshake()
        if held is None and self._address is not None:
            # A flood may leave no place for us: without our hold the change could end the process.
            self._unheld_since = self._unheld_since or self._clock()
            if self._clock() < self._unheld_since + _UNHELD_SECONDS:
                self.problem = "a port can't be given its new certificate: no handshake with it"
                return ReloadResult.REFUSED
            defer(log.error, "a port's certificate changes without a handshake of our own")
        self._unheld_since = None
        with self._lock:
            self._next = configuration
        self.problem = ""
        if held is not None:
            self._held.append((self._clock() + _HOLD_SECONDS, held))
            # Have it taken over now, while the old one is held, and not by whoever comes next.
            nudge = self._begin_handshake()
            if nudge is not None:
                nudge.close()
        return ReloadResult.CHANGED

    def release(self) -> None:
        """End the unfinished handshakes of changes that are over."""
        now = self._clock()
        for due, held in self._held:
            if due <= now:
                held.close()
        self._held = [item for item in self._held if item[0] > now]

    def close(self) -> None:
        """End all of them: the server has stopped."""
        self.is_closed = True
        for _, held in self._held:
            held.close()
        self._held = []

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Answer gRPC: the new configuration once, None ("no change") otherwise."""
        with self._lock:
            if self._next is None:
                return None
            self._given, self._next = self._next, None
            return self._given

    def _begin_handshake(self) -> socket.socket | None:
        """Begin a handshake with our own port and leave it at the server's first answer."""
        if self._address is None:
            return None
        family, target = self._address
        if not self._shared:
            return _handshake_begun(family, target, _HANDSHAKE_SECONDS)
        # Whoever shares the port takes a part of the connections: begin until one is ours.
        end = time.monotonic() + _HANDSHAKE_SECONDS
        while time.monotonic() < end:
            opened = _handshake_begun(family, target, _SHARED_HANDSHAKE_SECONDS)
            if opened is not None and is_own_connection(opened):
                return opened
            if opened is not None:
                opened.close()
        defer(log.warning, "no handshake with our own port: others that share it took them all")
        return None


def _handshake_begun(
    family: socket.AddressFamily, target: str | tuple[str, int], seconds: float
) -> socket.socket | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.settimeout(seconds)
        opened.connect(target)
        opened.sendall(outgoing.read())
        # The first byte back: gRPC has a handshake of ours, made by the present factory. A port
        # that has as many connections as it takes closes the next one before that.
        if not opened.recv(1):
            raise ConnectionResetError("the port takes no more connections")
    except OSError as error:
        opened.close()
        defer(log.info, "no handshake with our own port: %s", error)
        return None
    return opened


def _reachable(
    address: str, number: int
) -> tuple[socket.AddressFamily, str | tuple[str, int]] | None:
    """Return where a port that gRPC opened can be reached from this process."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        return socket.AF_UNIX, "/" + path.lstrip("/") if path.startswith("//") else path
    if ":" not in address or address.startswith("unix-abstract:"):
        return None
    plain = address.removeprefix("ipv4:").removeprefix("ipv6:").lstrip("/")
    host = plain.rpartition(":")[0].strip("[]")
    if host in {"::", "::1"} and socket.has_ipv6:
        return socket.AF_INET6, ("::1", number)
    if host in {"", "0.0.0.0", "localhost"}:  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, number)
