"""The ports of one workload's servers: each is given every new certificate."""

from __future__ import annotations

import logging
import threading

import grpc
from cryptography import x509

from pki.background import defer
from pki.clock import Clock
from pki.credentials.periodic import PeriodicTask
from pki.credentials.provider import RECHECK_SECONDS, CredentialProvider
from pki.credentials.reload_stats import ReloadResult, ReloadStats
from pki.credentials.snapshot import Snapshot
from pki.credentials.subscriber import Subscriber
from pki.credentials.threads import no_thread_error
from pki.keys import private_key_to_pem
from pki.rpc.server.port_certificate import PortCertificate
from pki.x509 import Credential
from pki.x509.readers import to_pem

log = logging.getLogger("handfast.rpc")


class Ports(Subscriber):
    """Changes the certificates of ports, in a thread of its own: each change needs a handshake.

    Args:
        provider: provides the credential.
        clock: returns the time.
    """

    def __init__(self, provider: CredentialProvider, clock: Clock) -> None:
        self._provider = provider
        self._clock = clock
        self._lock = threading.Lock()
        self._ports: list[PortCertificate] = []
        # For ports with client authentication, and for those without.
        self._configured: dict[bool, tuple[int, grpc.ServerCertificateConfiguration]] = {}
        self._task = PeriodicTask(RECHECK_SECONDS, self._update, "handfast-ports")
        self._is_started = False
        self.changes = ReloadStats(clock())
        """How the changes of certificates went."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Why ports still present an older certificate; empty if none does."""
        with self._lock:
            ports = list(self._ports)
        return tuple(port.problem for port in ports if port.problem)

    def new_port(self, *, client_authentication: bool = True) -> PortCertificate:
        """Return a port's certificate, which is changed from now on with each new credential.

        Args:
            client_authentication: whether clients must present a certificate. A port where they
                need not sends its root too, so that a stranger can compare its fingerprint.

        Raises:
            StateError: if the workload is closed, or the thread can't be started.
        """
        with self._lock:
            self._provider.check_open()
            if not self._is_started:
                try:
                    self._task.start()
                except RuntimeError as error:
                    # A thread that could not be started can't be tried again.
                    self._task = PeriodicTask(RECHECK_SECONDS, self._update, "handfast-ports")
                    raise no_thread_error(error) from error
                self._is_started = True
            configuration = self._configuration(self._provider.snapshot, client_authentication)
            port = PortCertificate(configuration, client_authentication=client_authentication)
            self._ports.append(port)
        return port

    def on_change(self, snapshot: Snapshot) -> None:
        """Change the certificates soon."""
        del snapshot
        self._task.wake()

    def wait_applied(self, seconds: float) -> bool:
        """Wait until each port was updated or refused it; return whether that was in time."""
        return not self._is_started or self._task.wait_done(self._task.wake(), seconds)

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller runs in the thread that changes certificates."""
        return self._task.is_current()

    def on_close(self) -> None:
        """Stop changing certificates, and close the handshakes that were opened for changes."""
        self._task.stop(0)
        with self._lock:
            ports = list(self._ports)
        for port in ports:
            port.close()

    def _update(self) -> None:
        with self._lock:
            self._ports = [port for port in self._ports if not port.is_closed]
            ports = list(self._ports)
        for port in ports:
            self._release(port)
            result = self._change(port)
            if result is not None:
                self.changes.record(result, self._clock())

    def _release(self, port: PortCertificate) -> None:
        try:
            port.release()
        except Exception as error:
            defer(log.error, "a handshake with a port could not be closed: %r", error)

    def _change(self, port: PortCertificate) -> ReloadResult | None:
        try:
            with self._lock:
                configuration = self._configuration(
                    self._provider.snapshot, port.client_authentication
                )
            return port.update(configuration)
        except Exception as error:
            defer(log.error, "a port could not be given its certificate: %r", error)
            return ReloadResult.REFUSED

    def _configuration(
        self, snapshot: Snapshot, client_authentication: bool
    ) -> grpc.ServerCertificateConfiguration:
        """Return gRPC's configuration, the same object for the same version."""
        version, configuration = self._configured.get(client_authentication, (-1, None))
        if configuration is None or version != snapshot.version:
            credential = snapshot.credential
            chain = credential.chain
            if not client_authentication:
                chain = (*chain, *_root_of(credential))
            configuration = grpc.ssl_server_certificate_configuration(
                [(private_key_to_pem(credential.key), to_pem(chain))],
                credential.bundle.to_pem() if client_authentication else None,
            )
            self._configured[client_authentication] = (snapshot.version, configuration)
        return configuration


def _root_of(credential: Credential) -> tuple[x509.Certificate, ...]:
    """Return the root that issued the last certificate of a chain, as a tuple of one."""
    return tuple(
        root
        for root in credential.bundle.all_roots()
        if root.subject == credential.chain[-1].issuer
    )[:1]
