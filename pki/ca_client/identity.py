"""An identity that keeps itself: enrolled once, renewed in time, recovered after a long sleep.

One thread looks a few times a second at what is due, by the clock of the machine, so that a machine
that was suspended notices at once when it wakes:

1. Inside the window that the CA gave, at a random time, the certificate is renewed.
2. If the CA can't be reached, the present certificate stays in use, and the next attempts come
   later and later, with jitter, but several of them before the certificate ends.
3. Once it has ended, the line is recovered with its recovery key.
4. What the CA refuses for good is told and not asked for again, until the certificate changes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Self

from pki._proto.handfast.ca.v1 import authority_pb2
from pki.background import defer
from pki.ca_client import calls
from pki.ca_client.connection import CaConnection
from pki.ca_client.enrollment import enroll_into, why_revoked, why_unusable
from pki.ca_client.held_trust import HeldTrust
from pki.ca_client.line import Line
from pki.ca_client.log_witness import LogWitness
from pki.ca_client.received import EndedCertificateError, Received
from pki.ca_client.renewal_plan import RenewalPlan
from pki.ca_client.renewal_times import LAST_SECOND, STEP_SECONDS
from pki.ca_client.rpc_errors import call
from pki.ca_client.storage.ca_state import CaState
from pki.ca_client.storage.identity_store import IdentityStore
from pki.ca_client.storage.witness_store import WitnessStore
from pki.ca_client.trust_follower import TrustFollower
from pki.ca_client.trust_report import TrustReport
from pki.clock import Clock, system_clock
from pki.credentials.periodic import PeriodicTask
from pki.errors import CaUnreachableError, PkiError, StateError
from pki.proofs import EnrollmentToken
from pki.x509 import Credential

log = logging.getLogger("handfast.ca_client")

_CATCH_UP_PAUSE = 30.0


class CaIdentity:
    """A workload's identity from the CA, in a directory, kept fresh while it is open.

    Args:
        directory: where it lies.
        token: to enroll with if there is no identity yet, or the one there was revoked, or has
            ended and does not come back.
        with_recovery: whether the workload may come back by itself after its certificate ended.
        clock: returns the time.
        monotonic: returns seconds that only grow.

    Raises:
        PkiError: if there is no identity in the directory, and none could be obtained.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        token: EnrollmentToken | None = None,
        with_recovery: bool = True,
        clock: Clock = system_clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._store = IdentityStore(Path(directory))
        self._with_recovery = with_recovery
        self._lock = threading.RLock()
        # Two attempts at once would renew one certificate with two keys, as a thief does.
        self._attempting = threading.Lock()
        self._changed: Callable[[], None] = lambda: None
        self._connection: CaConnection | None = None
        self._next_catch_up = 0.0
        self._report = TrustReport(monotonic)
        self._is_closed = False
        self.recoveries_left: int | None = None
        """How many recoveries are left in the present period; None until the CA has said it."""
        if token is not None and not self._store.is_enrolled:
            self._enroll(token)
        self._release = self._store.hold()
        try:
            if token is not None and why_unusable(self._store, clock()):
                self._enroll(token)
            self._load(token)
        except BaseException:
            self._release()
            raise
        self._follower = TrustFollower(
            self._trust, self._connect, clock, monotonic, fetch_proof=self._fetch_proof
        )
        store, anchor = WitnessStore(self.directory), lambda: self._trust.anchor
        self.log_witness = LogWitness(store, self.spiffe_id, self._connect, anchor, clock)
        """Looks whether the CA's audit log was rewritten."""
        self._task = PeriodicTask(STEP_SECONDS, self._step, "handfast-identity")
        try:
            for part in (self._trust, self._task, self._follower, self.log_witness):
                part.start()
        except BaseException:
            # No thread can be started: else those that run would hold the directory for good.
            self.close()
            raise

    @property
    def directory(self) -> Path:
        """Where the identity lies."""
        return self._store.directory

    @property
    def credential(self) -> Credential:
        """The present credential, with the newest lists."""
        with self._lock:
            return replace(self._credential, bundle=self._trust.bundle, crls=self._trust.lists)

    @property
    def problem(self) -> str:
        """What the operator should know; empty if there is nothing."""
        return self._plan.problem or self.refused

    @property
    def refused(self) -> str:
        """Why the CA refuses this workload for good, so that only a new token helps; or ""."""
        why = self._follower.refused
        return f"the CA refuses {self.spiffe_id}: {why}" if why else ""

    @property
    def renewals(self) -> RenewalPlan:
        """When it is renewed next, and how the last attempts ended."""
        return self._plan

    @property
    def bundle_number(self) -> int:
        """The number of the signed trust bundle in force; 0 for none."""
        return self._trust.anchor.number

    @property
    def bundle_refused(self) -> str:
        """Why the CA's newest trust bundle is not trusted here; empty if it is."""
        return self._trust.refused

    @property
    def cut_off_since(self) -> datetime | None:
        """Since when the CA has been silent, if that is too long; else None."""
        return self._follower.cut_off_since

    @property
    def last_heard(self) -> datetime:
        """When the CA last said that nothing is missing here."""
        return self._follower.last_heard

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Register a function that is called after each change."""
        self._changed = changed

    def close(self) -> None:
        """Stop keeping it fresh."""
        self._is_closed = True
        self._follower.stop()
        self.log_witness.stop()
        self._task.stop(5.0)
        self._trust.stop()
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._release()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def renew_now(self) -> None:
        """Renew the certificate now, or recover it if it has ended; see :attr:`problem`."""
        self._attempt()

    def revoke_own(self, reason: str = "unspecified") -> tuple[str, ...]:
        """Revoke the whole line of this identity; return the serial numbers that are revoked now.

        Args:
            reason: one of RFC 5280's, e.g. ``key-compromise``.

        Raises:
            CaUnreachableError: if the CA can't be reached or can't answer now.
            CaRefusedError: if the CA refuses.
        """
        connection = self._connect()
        if connection is None:
            raise CaUnreachableError(self._plan.problem or "there is no connection to the CA")
        request = authority_pb2.RevokeRequest(own=True, reason=reason)
        answer = call(lambda: connection.authority.Revoke(request, timeout=10.0))
        return tuple(item.serial for item in answer.certificates)

    def _load(self, token: EnrollmentToken | None) -> None:
        """Begin with what the directory holds; recover a certificate that has ended."""
        stored = self._store.load()
        self._credential, self._state = stored.credential, stored.state
        self.spiffe_id = stored.spiffe_id
        self._trust = HeldTrust(self._store, stored, self._clock, self._trust_changed)
        self._plan = RenewalPlan(self.spiffe_id, self._clock, self._monotonic)
        self._plan.begin(self._state.window(), self._credential.leaf)
        if not self._is_out():
            return
        self._attempt()
        # A CA that can't be reached, or is not the one, proves nothing: the recovery goes on later.
        if self._is_out() and token is not None and self._plan.is_refused:
            self._enroll(token)
            self._load(None)
        elif self._has_ended():
            raise StateError(self._plan.problem, remedy=self._plan.remedy)

    def _trust_changed(self) -> None:
        self._changed()
        if (connection := self._connection) is not None:
            connection.use(self.credential)

    def _enroll(self, token: EnrollmentToken) -> None:
        received = enroll_into(
            self._store,
            token.credential.id,
            lambda keys, anchor: calls.enroll(token, keys, now=self._clock(), anchor=anchor),
            with_recovery=self._with_recovery,
        )
        self.recoveries_left = received.recoveries_left
        received.log_notes()

    def _connect(self) -> CaConnection | None:
        with self._lock:
            if self._is_closed or self._is_out():
                return None
            if self._connection is None:
                try:
                    self._connection = CaConnection(
                        self._state.authority, self.credential, self.spiffe_id, self._clock
                    )
                except PkiError as error:
                    self._plan.problem = f"no connection to the CA: {error}"
            return self._connection

    def _fetch_proof(self) -> bool:
        """Have the list that says what the CA says: that this identity was revoked."""

        def is_there() -> bool:
            return bool(why_revoked(self.credential, self._clock()))

        return is_there() or (self._trust.fetch_lists(self._state.enrollment) and is_there())

    def _is_out(self) -> bool:
        """Return whether the certificate is of no use now: it has ended, or not begun."""
        return self._has_ended() or self._clock() < self._credential.leaf.not_valid_before_utc

    def _has_ended(self) -> bool:
        # Certificates and the CA count whole seconds: within the last one it is no recovery yet.
        return self._clock() >= self._credential.leaf.not_valid_after_utc + LAST_SECOND

    def _step(self) -> None:
        """Do what is due."""
        if self._is_closed:
            return
        if self._plan.is_due:
            before = self._credential
            self._attempt()
            if self._credential is not before and self._follower.refused:
                self._follower.look_again()
        if self.cut_off_since is not None and self._monotonic() >= self._next_catch_up:
            self._next_catch_up = self._monotonic() + _CATCH_UP_PAUSE
            self._trust.catch_up(self._state.enrollment)
        number = self._trust.complete_number
        if self._report.is_due(number) and not self._is_out():
            serial = self._credential.leaf.serial_number
            self._report.send(self._connect(), number, serial, self._follower.sequence)

    def _attempt(self) -> None:
        with self._attempting:
            self._renew_or_recover()

    def _renew_or_recover(self) -> None:
        recovering = self._is_out()
        try:
            received = self._obtain(recovering=recovering)
            self._use(received, new_recovery_key=recovering)
        except PkiError as error:
            self._plan.failed(error, recovering=recovering)
            if not self._is_out() and self._trust.catch_up(self._state.enrollment):
                self._plan.try_again()
        except Exception as error:
            fault = StateError(f"{type(error).__name__}: {error}")
            self._plan.failed(fault, recovering=recovering)

    def _obtain(self, *, recovering: bool) -> Received:
        line = Line(self._store, self.spiffe_id, self._trust.anchor, self._state)
        if not recovering:
            connection = self._connect()
            if connection is None:
                raise CaUnreachableError(self._plan.problem or "there is no connection to the CA")
            return line.renew(connection.authority, self._credential.leaf, now=self._clock())
        try:
            return line.recover(now=self._clock())
        except EndedCertificateError:
            # The last recovery was granted, and its answer was lost: recover from there.
            self._store.promote_recovery_key()
            self._store.drop_pending_key()
            return line.recover(now=self._clock())

    def _use(self, received: Received, *, new_recovery_key: bool) -> None:
        self._trust.adopt(received.anchor)
        self._trust.save(received, new_recovery_key=new_recovery_key)
        received.log_notes()
        with self._lock:
            recovered = self._is_out()
            self._credential = received.credential
            self._state = CaState.of(received)
            self._plan.succeeded(self._state.window(), self._credential.leaf)
            self.recoveries_left = received.recoveries_left
            self._report.send_soon()
            connection = self._connection
            if recovered:
                self._connection = None
        self._changed()
        if connection is not None and recovered:
            connection.close()
        elif connection is not None:
            connection.use(self.credential)
        defer(
            log.info,
            "%s: certificate %x, to %s",
            self.spiffe_id,
            received.credential.leaf.serial_number,
            received.credential.leaf.not_valid_after_utc,
        )
