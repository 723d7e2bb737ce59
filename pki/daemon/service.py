"""The CA as a process serves it: both ports, and what must be done in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from pki._proto.handfast.ca.v1 import (
    audit_pb2_grpc,
    authority_pb2_grpc,
    enrollment_pb2_grpc,
    registrations_pb2_grpc,
    rotation_pb2_grpc,
    trust_pb2_grpc,
)
from pki.authority import Authority
from pki.authority.enrollment import register_existing
from pki.authority.pruning.prune import DEFAULT_KEEP
from pki.authority.publishing.refreshing import sign_missing
from pki.background import defer
from pki.clock import Clock
from pki.credentials.periodic import PeriodicTask
from pki.daemon.handlers.audit import AuditHandler
from pki.daemon.handlers.authority import AuthorityHandler
from pki.daemon.handlers.enrollment import EnrollmentHandler
from pki.daemon.handlers.registrations import RegistrationsHandler
from pki.daemon.handlers.rotation import RotationHandler
from pki.daemon.handlers.trust import TrustHandler
from pki.daemon.ledger_watch import LedgerWatch
from pki.daemon.lists.due import DueLists
from pki.daemon.messages import Addresses
from pki.daemon.oidc import JwtVerifier, no_issuers
from pki.daemon.own_credential import OwnCredential
from pki.daemon.parts import CaParts
from pki.daemon.privileges import Privileges
from pki.daemon.pruning import PruneUpkeep
from pki.daemon.trust_feed import TrustFeed, TrustState
from pki.daemon.workload import CaWorkload, cannot_listen
from pki.errors import FailedSyncError, PkiError, StateError

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

log = logging.getLogger("handfast.ca")

_LEDGER_SECONDS, _REVOCATION_SECONDS = 0.25, 0.4
_REFRESH_SECONDS = 600.0
ISSUING_SERVICES = ("handfast.ca.v1.Authority", "handfast.ca.v1.Enrollment")
"""The services whose health says whether the CA can issue; that of "" is the process's."""


@dataclass(frozen=True, slots=True)
class CaSettings:
    """How the CA is served.

    Args:
        policy: the CA's own policy file: who is an admin, and who a registrar.
        listen: where workloads with a certificate call, e.g. ``0.0.0.0:8443``.
        enroll_listen: where callers without one enroll and recover, e.g. ``0.0.0.0:8444``.
        advertise: how workloads reach ``listen``, as gRPC names it; empty for that address with the
            number of its port.
        enroll_advertise: how they reach ``enroll_listen``; tokens hold it.
        heartbeat: how often a follower hears something at least.
        oidc: the file that names OIDC issuers; None for no proofs by JWT.
        lifetime: of the CA's own certificates.
        prune_after: how long after its end a certificate is pruned; None: never.
        workers: how many processes of this machine serve the CA at the same ports. Each of them is
            given settings that are the same, but for who prunes.
    """

    policy: Path
    listen: str
    enroll_listen: str
    advertise: str = ""
    enroll_advertise: str = ""
    heartbeat: timedelta = timedelta(seconds=5)
    oidc: Path | None = None
    lifetime: timedelta = timedelta(hours=1)
    prune_after: timedelta | None = DEFAULT_KEEP
    workers: int = 1


class CaService:
    """A CA that is served. Make one, :meth:`start` it on an event loop, and :meth:`stop` it.

    Args:
        authority: the open CA.
        settings: how it is served.
        clock: returns the time.

    Raises:
        PkiError: if the CA can't sign, or its policy is bad: then nothing is served.
    """

    def __init__(self, authority: Authority, settings: CaSettings, clock: Clock) -> None:
        self._authority = authority
        self._settings = settings
        context = authority.context
        self._jwts = no_issuers()
        if settings.oidc is not None:
            self._jwts = JwtVerifier.read(settings.oidc, context.settings.limits.trust_domain)
        context.signs_lists_later = True
        # Within a second, followers refuse what is revoked, whoever holds the ledger.
        context.revocation_wait = _REVOCATION_SECONDS
        self.adopted = register_existing(context)
        """The workloads that were registered now, because they have certificates from before."""
        authority.refresh_crls()
        sign_missing(context)
        self._own = OwnCredential(context, settings.lifetime)
        self._workload = CaWorkload.from_source(self._own, policy=settings.policy, clock=clock)
        try:
            context.signing.admission.is_privileged = Privileges(self._workload.policy_in_force)
            self._feed = TrustFeed(
                context,
                self._workload.policy_in_force,
                self._use_trust,
            )
        except BaseException:
            self._workload.close()
            raise
        self._own_issuer = (self._feed.state.issuing, self._feed.state.bundle_number)
        self._was_own_due = self._has_failed = False
        self._unreadable = ""
        self._due_lists = DueLists(context.now, context.settings.crl_lifetime)
        self._refresh_task = PeriodicTask(_REFRESH_SECONDS, self._refresh, "handfast-refresh")
        self._ledger_task = PeriodicTask(_LEDGER_SECONDS, self._follow_ledger, "handfast-ledger")
        self._tasks = [self._ledger_task, self._refresh_task]
        self._stop_listening: Callable[[], None] = lambda: None
        if settings.prune_after is not None:
            upkeep = PruneUpkeep(context, settings.prune_after)
            self._tasks.append(PeriodicTask(_REFRESH_SECONDS, upkeep.run, "handfast-prune"))
        self._ledger_watch = LedgerWatch(context.ledger)
        self.must_end: Callable[[PkiError], None] = lambda _: None
        """Called, from any thread, when this process may not go on; it need not return."""
        self._parts: CaParts | None = None
        self._servers: list[grpc.aio.Server] = []
        self.port = self.enroll_port = 0

    @property
    def parts(self) -> CaParts:
        """What the handlers share.

        Raises:
            StateError: before :meth:`start`.
        """
        if self._parts is None:
            raise StateError("the CA is not served yet")
        return self._parts

    def collectors(self, *, has_ledger: bool = True) -> tuple[Collector, ...]:
        """Return the collectors of the CA's metrics and of those of its workload.

        Args:
            has_ledger: whether to read the ledger for them too.
        """
        # Loaded here: a CA without metrics does not pay for the library.
        from pki.daemon.ca_metrics import CaCollector  # noqa: PLC0415

        name = str(self._workload.spiffe_id)
        collector = CaCollector(name, lambda: self.parts, has_ledger=has_ledger)
        return collector, self._workload.collector()

    @property
    def workload(self) -> CaWorkload:
        """The CA's own workload."""
        return self._workload

    async def start(self) -> None:
        """Open both ports and serve.

        Raises:
            StateError: if an address can't be listened on.
        """
        settings = self._settings
        strangers = self._workload.stranger_server(workers=settings.workers)
        self.enroll_port = self._workload.open_stranger_port(strangers, settings.enroll_listen)
        # Callers choose among those too, and one that is started anew has none at first.
        has_replicas = self._authority.context.ledger.place.is_shared or settings.workers > 1
        mutual = self._workload.mutual_server(has_replicas=has_replicas, workers=settings.workers)
        try:
            self.port = mutual.add_secure_port(settings.listen)
        except RuntimeError as error:
            raise cannot_listen(settings.listen, error) from error
        addresses = Addresses(
            settings.advertise or _with_number(settings.listen, self.port),
            settings.enroll_advertise or _with_number(settings.enroll_listen, self.enroll_port),
        )
        with self._authority.context.ledger.transaction() as transaction:
            transaction.proofs.set_addresses(addresses.authority, addresses.enrollment)
        parts = self._parts = CaParts(
            self._authority.context,
            self._feed,
            addresses=addresses,
            own_credential=lambda: self._workload.credential,
            heartbeat=settings.heartbeat,
            jwts=self._jwts,
            workers=settings.workers,
        )
        watched = parts.counters.watched
        authority_pb2_grpc.add_AuthorityServicer_to_server(watched(AuthorityHandler(parts)), mutual)
        registrations_pb2_grpc.add_RegistrationsServicer_to_server(
            watched(RegistrationsHandler(parts)), mutual
        )
        rotation_pb2_grpc.add_RotationServicer_to_server(watched(RotationHandler(parts)), mutual)
        audit_pb2_grpc.add_AuditServicer_to_server(watched(AuditHandler(parts)), mutual)
        trust_pb2_grpc.add_TrustServicer_to_server(watched(TrustHandler(parts)), mutual)
        enrollment_pb2_grpc.add_EnrollmentServicer_to_server(
            watched(EnrollmentHandler(parts)), strangers
        )
        # One for both: its changes are reported once.
        servicer = health_aio.HealthServicer()
        self._workload.report_health(servicer)
        for name in ISSUING_SERVICES:
            # Known from the first call on; the report follows at once.
            await servicer.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        self._workload.report_issuing(
            servicer, ISSUING_SERVICES, lambda: not self._ledger_watch.is_stuck
        )
        for server in (mutual, strangers):
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
            await server.start()
            self._servers.append(server)
        for task in self._tasks:
            task.start()
        self._ledger_watch.start()
        # A hint alone: the ledger is looked at four times a second, with it or without.
        hints = self._authority.context.ledger.hints
        self._stop_listening = hints.listen(self._ledger_task.wake)

    def look_again(self) -> None:
        """Read the ledger and the policy now, and sign what is due."""
        for task in self._tasks:
            task.wake()
        self._workload.reload(0)

    async def stop(self, grace: float = 10.0) -> None:
        """Accept no new calls; let running ones end within the grace; close everything."""
        parts = self._parts
        if parts is not None:
            parts.is_stopping = True
            self._feed.wake()
        await asyncio.gather(*(server.stop(grace) for server in self._servers))
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._stop_listening()
        self._ledger_watch.stop(5.0)
        for task in self._tasks:
            task.stop(5.0)
        if self._parts is not None:
            self._parts.close()
        self._workload.close()

    def _use_trust(self, state: TrustState) -> None:
        """Trust what is in force, and show a certificate of the issuing CA that is active."""
        self._own.set_trust(state.bundle, state.crl_set())
        if (state.issuing, state.bundle_number) != self._own_issuer:
            self._own_issuer = (state.issuing, state.bundle_number)
            self._own.renew()

    def _follow_ledger(self) -> None:
        """Tell followers what this process or a command on the CA's folder has changed."""
        try:
            self._feed.refresh()
        except FailedSyncError as error:
            if not self._has_failed:
                self._has_failed = True
                defer(log.error, "this process must end: %s", error)
                self.must_end(error)
            return
        except PkiError as error:
            # Tried four times a second, while a database is away: the same is said once.
            if self._unreadable != str(error):
                self._unreadable = str(error)
                defer(log.error, "the ledger could not be read: %s", error)
            return
        if self._unreadable:
            self._unreadable = ""
            defer(log.info, "the ledger can be read again")
        self._authority.context.reserve.make()
        state = self._feed.state
        if (state.unlisted or state.is_waiting) and self._parts is not None:
            self._parts.sign_lists_soon()
        is_own_due = self._own.is_due
        if is_own_due and not self._was_own_due:
            self._workload.reload(0)
        self._was_own_due = is_own_due
        if self._due_lists.must_sign(state):
            self._refresh_task.wake()

    def _refresh(self) -> None:
        """Sign lists long before they end."""
        counters = None if self._parts is None else self._parts.counters
        try:
            self._authority.refresh_crls()
            if counters is not None:
                counters.lists_signed = self._authority.context.now()
        except PkiError as error:
            if counters is not None:
                counters.lists_failed = self._authority.context.now()
            defer(log.error, "revocation lists could not be signed: %s", error)


def _with_number(address: str, number: int) -> str:
    """Return an address with the number of the port that was opened for it."""
    return f"{address.rpartition(':')[0]}:{number}"
