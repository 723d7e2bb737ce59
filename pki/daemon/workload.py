"""The CA as a workload: a server with mutual TLS, and a port for callers without a certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from pki.access.decision_log import DecisionLogFile, LogWhen
from pki.access.public_methods import PublicMethods
from pki.authz import Policy
from pki.daemon.limits.stream_starts import StreamStarts
from pki.daemon.methods import WATCH_METHOD, WORKLOAD_METHODS
from pki.errors import StateError
from pki.rpc.server.dispatcher_aio import make_robust_server
from pki.rpc.server.factory import AccessSettings
from pki.rpc.server.health_access import HealthAccess
from pki.rpc.server.health_report import HealthReport, HealthServicer
from pki.rpc.server.servers import CONNECTIONS, AioServer, most_connections, server_options
from pki.workload import Workload
from pki.workload.lifecycle import PathLike

_PUBLIC = PublicMethods(WORKLOAD_METHODS, "every workload, for itself")
_MOST_STRANGERS, _LEAST_STRANGERS = 200, 20
_MESSAGE_BYTES = 256 * 1024
_IDLE_MILLISECONDS = 30_000
# With replicas: a caller that takes up its stream again finds that its connection is to end.
STREAM_SECONDS = 240
_CHOSEN_MILLISECONDS, _STREAM_MILLISECONDS = 60_000, STREAM_SECONDS * 1000
# Of the connections that the process can hold: strangers fill their own part alone, and both parts
# together leave descriptors for the ledger and the lists.
_MUTUAL_SHARE, _STRANGERS_SHARE = 0.75, 0.25


def cannot_listen(address: str, error: RuntimeError) -> StateError:
    """Return the error for a port that gRPC did not open; gRPC's words name no cause."""
    reason = str(error).partition(";")[0]
    return StateError(
        f"can't listen on {address}: {reason}",
        remedy="See whether another process listens there: ss -ltnp",
    )


def _sharing(workers: int) -> list[tuple[str, Any]]:
    # The first of two options counts: a server of one process shares its port with nobody.
    return [("grpc.so_reuseport", 1)] if workers > 1 else []


class CaWorkload(Workload):
    """The CA's own workload."""

    def policy_in_force(self) -> Policy | None:
        """Return the CA's policy; None if it was removed or can't be read any more."""
        return None if self._policy is None else self._policy.policy()

    def mutual_server(self, *, has_replicas: bool = False, workers: int = 1) -> AioServer:
        """Make the server for callers with a certificate.

        Args:
            has_replicas: let each connection end in time, so that its caller chooses a replica
                anew: gRPC lets ends differ by a tenth. What runs on it goes on until its own end.
            workers: how many processes share its port.
        """
        most = most_connections(_MUTUAL_SHARE)
        options: list[tuple[str, Any]] = [
            (CONNECTIONS, most),
            # Workloads that lost the CA come back at once: their calls wait for their turns, where
            # gRPC would drop them from a thousand on.
            ("grpc.server.max_pending_requests", most),
            ("grpc.server.max_pending_requests_hard_limit", 2 * most),
        ]
        options += _sharing(workers)
        if has_replicas:
            options += [
                ("grpc.max_connection_age_ms", _CHOSEN_MILLISECONDS),
                ("grpc.max_connection_age_grace_ms", 2 * _STREAM_MILLISECONDS),
            ]
        return self.server(options=options, observers=[StreamStarts([WATCH_METHOD])])

    def stranger_server(self, *, workers: int = 1) -> grpc.aio.Server:
        """Make a server for callers without a certificate. Its limits are small.

        Args:
            workers: how many processes share its port, and what all strangers may do at once.
        """

        def make() -> grpc.aio.Server:
            return grpc.aio.server(
                options=[
                    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                    ("grpc.max_metadata_size", 8 * 1024),
                    ("grpc.max_concurrent_streams", 10),
                    ("grpc.max_connection_idle_ms", _IDLE_MILLISECONDS),
                    ("grpc.max_connection_age_ms", 4 * _IDLE_MILLISECONDS),
                    ("grpc.max_connection_age_grace_ms", _IDLE_MILLISECONDS),
                    *_sharing(workers),
                    *server_options(share=_STRANGERS_SHARE),
                ],
                maximum_concurrent_rpcs=max(_LEAST_STRANGERS, _MOST_STRANGERS // workers),
            )

        return make_robust_server(make, lambda _: None)

    def open_stranger_port(self, server: grpc.aio.Server, address: str) -> int:
        """Open a port that shows the CA's certificate and asks for none; return its number.

        Raises:
            StateError: if the address can't be listened on.
        """
        port = self._servers.ports.new_port(client_authentication=False)
        try:
            number = server.add_secure_port(address, port.credentials())
        except RuntimeError as error:
            raise cannot_listen(address, error) from error
        port.bind(address, number)
        return number

    def report_issuing(
        self, servicer: HealthServicer, services: Iterable[str], can_issue: Callable[[], bool]
    ) -> None:
        """Keep the status of services true that need more than what a restart would bring.

        Args:
            servicer: as for :meth:`report_health`.
            services: their names.
            can_issue: returns whether the CA can do what is asked of it.
        """
        report = HealthReport(servicer, services, lambda: self._provider.can_serve and can_issue())
        with self._health_lock:
            self._check_usable()
            report.start()
            self._health_reports.append(report)

    def _access_settings(
        self,
        policy: PathLike | None,
        decision_log: DecisionLogFile | LogWhen | str,
        health: HealthAccess | str,
    ) -> AccessSettings:
        settings = super()._access_settings(policy, decision_log, health)
        return AccessSettings(settings.policy, settings.decision_log, _PUBLIC)
