"""The certificate of a server's port, and how it is changed without a crash.

gRPC asks for a port's configuration at each handshake, on several threads, without a lock: it frees
the factory of the old configuration while another handshake may be reading it. A stranger who opens
connections fast enough would end the process that way. A factory lives as long as a handshake that
began with it. So before a change we begin a handshake of our own with the port, and leave it
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

from pki.background import defer
from pki.credentials.reload_stats import ReloadResult
from pki.errors import quote_untrusted
from pki.rpc.server.port_sharing import is_own_connection, is_shared

log = logging.getLogger("handfast.rpc")

_HANDSHAKE_SECONDS = 2.0
# Another process on a shared port may have stopped; do not spend all of that time on it.
_SHARED_HANDSHAKE_SECONDS = 0.2
# A thread that reads the old factory takes its own reference within microseconds.
_HOLD_SECONDS = 1.0
# Strangers may hold every connection that the port accepts, until their handshakes time out. A
# change waits this long for a free one: certificates are renewed well before they end.
_UNHELD_SECONDS = 300.0


class PortCertificate:
    """The configuration of one port: the present one, and the next one.

    Args:
        configuration: the first one.
        clock: returns seconds that only grow.
        client_authentication: whether clients must present a certificate. Only the CA has a port
            where they need not, for those that have none yet.
    """

    def __init__(
        self,
        configuration: grpc.ServerCertificateConfiguration,
        clock: Callable[[], float] = time.monotonic,
        *,
        client_authentication: bool = True,
    ) -> None:
        self._present = configuration
        self._next: grpc.ServerCertificateConfiguration | None = None
        self._address: tuple[socket.AddressFamily, str | tuple[str, int]] | None = None
        self._name = "a port"
        self._shared = False
        self._held: list[tuple[float, socket.socket]] = []
        self._clock = clock
        self.client_authentication = client_authentication
        """Whether clients must present a certificate."""
        self._unheld_since: float | None = None
        self._lock = threading.Lock()
        self.problem = ""
        """Why the port still presents an older certificate; empty if it does not."""
        self.is_closed = False
        """Whether its server has stopped."""

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials to open the port with."""
        # The type stubs leave out None, gRPC's own word for "no change".
        fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._fetch)
        return grpc.dynamic_ssl_server_credentials(
            self._present, fetch, require_client_authentication=self.client_authentication
        )

    def bind(self, address: str, number: int) -> None:
        """Record the address and the number of the port, once it is open."""
        self._name = quote_untrusted(address) if address.startswith("unix") else f"port {number}"
        self._address = _reachable(address, number)
        if self._address is not None and isinstance(self._address[1], tuple):
            self._shared = is_shared(self._address[0], self._address[1])

    def update(self, configuration: grpc.ServerCertificateConfiguration) -> ReloadResult | None:
        """Change the configuration of the port, if it is another one than the last.

        Call this again until it succeeds: a handshake of our own may not be possible now.

        Returns:
            ``CHANGED``; ``REFUSED`` if no handshake was possible; None if the port has this
            configuration already.
        """
        with self._lock:
            newest = self._next or self._present
        if newest is configuration:
            self.problem = ""
            return None
        held = self._begin_handshake()
        if held is None and self._address is not None:
            # A flood may leave us no connection: without our handshake a change could end
            # the process.
            self._unheld_since = self._unheld_since or self._clock()
            if self._clock() < self._unheld_since + _UNHELD_SECONDS:
                self.problem = (
                    f"{self._name} still presents its older certificate: a change needs a "
                    "handshake with the port, and none was possible; the port may have too many "
                    "connections"
                )
                return ReloadResult.REFUSED
            defer(
                log.error,
                "%s: its certificate is changed without a protecting handshake, because none "
                "was possible for %g s",
                self._name,
                _UNHELD_SECONDS,
            )
        self._unheld_since = None
        with self._lock:
            self._next = configuration
        self.problem = ""
        if held is not None:
            self._held.append((self._clock() + _HOLD_SECONDS, held))
            # A second handshake makes gRPC take the new one now, while the old one is held.
            second = self._begin_handshake()
            if second is not None:
                second.close()
        return ReloadResult.CHANGED

    def release(self) -> None:
        """Close the unfinished handshakes of changes that are over."""
        now = self._clock()
        for due, held in self._held:
            if due <= now:
                held.close()
        self._held = [item for item in self._held if item[0] > now]

    def close(self) -> None:
        """Close all unfinished handshakes: the server has stopped."""
        self.is_closed = True
        for _, held in self._held:
            held.close()
        self._held = []

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration once, and None ("no change") otherwise; called by gRPC."""
        with self._lock:
            if self._next is None:
                return None
            self._present, self._next = self._next, None
            return self._present

    def _begin_handshake(self) -> socket.socket | None:
        """Begin a handshake with our own port, up to the server's first answer."""
        if self._address is None:
            return None
        family, target = self._address
        if not self._shared:
            return _begin_handshake(family, target, _HANDSHAKE_SECONDS)
        # Other processes that share the port get some of the connections: try until one is ours.
        end = time.monotonic() + _HANDSHAKE_SECONDS
        while time.monotonic() < end:
            connection = _begin_handshake(family, target, _SHARED_HANDSHAKE_SECONDS)
            if connection is not None and is_own_connection(connection):
                return connection
            if connection is not None:
                connection.close()
        defer(
            log.warning,
            "could not make a handshake with our own port: other processes that share it got all "
            "connections",
        )
        return None


def _begin_handshake(
    family: socket.AddressFamily, target: str | tuple[str, int], seconds: float
) -> socket.socket | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(target)
        connection.sendall(outgoing.read())
        # With the first byte, gRPC has begun our handshake with the present factory. A port with
        # as many connections as it accepts closes the next one before that.
        if not connection.recv(1):
            raise ConnectionResetError("the port accepts no more connections")
    except OSError as error:
        connection.close()
        defer(log.info, "could not make a handshake with our own port: %s", error)
        return None
    return connection


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
