"""One agent that lost its CA, on a lean connection: what ``pki.ca_client`` asks the CA, and when.

It follows the CA, renews, reports what it trusts, and looks at the audit log. The times of renewals
come from the client's own :class:`RenewalPlan`, those of the others from the client's constants.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki._proto.handfast.ca.v1 import audit_pb2, authority_pb2, trust_pb2
from pki.ca_client.received import read_moment
from pki.ca_client.renewal_plan import RenewalPlan
from pki.ca_client.renewal_times import LAST_SECOND, STEP_SECONDS
from pki.ca_client.rpc_errors import BusyCaError, of_rpc_error
from pki.ca_client.trust_follower import LEAST_PAUSE, MOST_PAUSE
from pki.clock import system_clock
from pki.identity import SpiffeId
from pki.keys import PrivateKey
from tests.bench.ca.lean.ca_calls import CHECKPOINT, RENEW, REPORT, WATCH
from tests.bench.ca.lean.connections import Connection, Loop, context_of
from tests.bench.ca.lean.http2 import Event
from tests.bench.ca.lean.renewing import renewal_message
from tests.bench.ca.served import save_pem

_RENEW_SECONDS, _REPORT_SECONDS, _CHECKPOINT_SECONDS = 15.0, 5.0, 10.0
_RETRY_SECONDS, _REPORT_EVERY, _DRAIN_SECONDS = 60.0, 900.0, 5.0
_LONG_AGO = 100_000.0
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Moment:
    """The time of the agents: set by hand during the outage, and real from its end on.

    Args:
        back_at: when the CA comes back.
    """

    def __init__(self, back_at: datetime) -> None:
        self._back_at = back_at
        self._begun: float | None = None
        self.at = 0.0
        """Seconds since the CA came back, until time is real: negative, and set by hand."""

    def begin(self) -> None:
        """Let real time pass from now on."""
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the CA came back."""
        return self.at if self._begun is None else time.monotonic() - self._begun

    def now(self) -> datetime:
        """Return the time of day."""
        if self._begun is None:
            return self._back_at + timedelta(seconds=self.at)
        return system_clock()

    def monotonic(self) -> float:
        """Return seconds that only grow, none of them negative."""
        return _LONG_AGO + self.seconds


@dataclass
class Fleet:
    """What all agents of a process share, and what became of them.

    Args:
        loop: runs their connections.
        moment: their time.
        root: a file with the CA's root.
        address: of the CA; set when it is back.
        name: the DNS name of the CA.
        look_seconds: how often each of them looks at the audit log, as the CA told it.
    """

    loop: Loop
    moment: Moment
    root: Path
    address: tuple[str, int]
    name: str
    look_seconds: float
    renewed: int = 0
    ended: int = 0
    following: int = 0
    attempts: int = 0
    seconds: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)


class Agent:
    """An agent.

    Args:
        fleet: what it shares with others.
        spiffe_id: its workload.
        credential: its file with key and chain.
        window: when its certificate is to be renewed.
    """

    def __init__(
        self,
        fleet: Fleet,
        spiffe_id: SpiffeId,
        credential: Path,
        window: tuple[datetime, datetime],
    ) -> None:
        self._fleet, self._spiffe_id, self._credential = fleet, spiffe_id, credential
        self._leaf = x509.load_pem_x509_certificate(credential.read_bytes())
        self._next_key, self._message = renewal_message(self._leaf, spiffe_id.trust_domain)
        self._plan = RenewalPlan(spiffe_id, fleet.moment.now, fleet.moment.monotonic)
        self._plan.begin(window, self._leaf)
        # It has run for long: what it read is read before the CA is back.
        self._context = context_of(fleet.root, credential)
        self._connection: Connection | None = None
        self._followed: Connection | None = None
        self._pause, self._bundle_number, self._sequence = MOST_PAUSE, 0, 0
        self._reports = 0
        # What it says of itself when it begins to follow: after the first stream, all of it.
        self._known = trust_pb2.WatchTrustRequest()

    def live_through(self, seconds: float) -> None:
        """Try in vain to renew, for the last so many seconds before the CA is back."""
        moment = self._fleet.moment
        assert self._plan._renew_at is not None
        moment.at = 0.0
        due = (self._plan._renew_at - moment.now()).total_seconds()
        moment.at = max(-seconds, due) + random.random() * STEP_SECONDS
        gone = BusyCaError("the CA is gone", None)
        while moment.at < 0 and self._plan.is_due:
            self._plan.failed(gone, recovering=False)
            moment.at = self._next_attempt() + random.random() * STEP_SECONDS
        self._first = max(0.0, moment.at)

    def _next_attempt(self) -> float:
        return self._plan._next_attempt - _LONG_AGO

    def come_back(self) -> None:
        """Go on, now that the CA is there."""
        later = self._fleet.loop.later
        later(self._first, self._attempt)
        later(random.random() * random.uniform(MOST_PAUSE / 2, MOST_PAUSE), self._follow)
        # In the outage, the attempts of both became as seldom as what they attempt.
        later(random.random() * _REPORT_EVERY, self._report)
        later(random.random() * self._fleet.look_seconds, self._look_at_log)

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.is_closed:
            fleet = self._fleet
            self._connection = Connection(fleet.loop, fleet.address, self._context, fleet.name)
        return self._connection

    def _follow(self) -> None:
        connection = self._connect()
        if connection is self._followed:
            return
        self._followed, fleet, heartbeats = connection, self._fleet, 0

        def heard(event: Event) -> None:
            nonlocal heartbeats
            if event.message is not None:
                if self._hear(trust_pb2.TrustUpdate.FromString(event.message)):
                    heartbeats += 1
                    # The second says that there is no more.
                    fleet.following += heartbeats == 2
                return
            fleet.following -= heartbeats > 1
            if connection is self._connection:
                self._followed = None
                self._end(event, "WatchTrust")
                fleet.loop.later(random.uniform(self._pause / 2, self._pause), self._follow)
                self._pause = min(MOST_PAUSE, self._pause * 2)

        connection.call(WATCH, self._known.SerializeToString(), heard)

    def _hear(self, update: trust_pb2.TrustUpdate) -> bool:
        """Note what the CA said; return whether it was a heartbeat."""
        self._sequence = self._known.since = update.sequence
        self._known.epoch = update.epoch
        if update.WhichOneof("update") == "bundles":
            self._bundle_number = max(self._bundle_number, len(update.bundles.bundles))
            self._known.bundle_number = self._bundle_number
        elif update.WhichOneof("update") == "crl":
            self._known.crls.add(issuer_key_id=update.crl.issuer_key_id, number=update.crl.number)
        elif update.WhichOneof("update") == "heartbeat":
            self._pause = LEAST_PAUSE
            return True
        return False

    def _attempt(self) -> None:
        fleet = self._fleet
        if fleet.moment.now() >= self._leaf.not_valid_after_utc + LAST_SECOND:
            fleet.ended += 1
            return
        fleet.attempts += 1
        answers: list[authority_pb2.RenewResponse] = []

        def told(event: Event) -> None:
            if event.message is not None:
                answers.append(authority_pb2.RenewResponse.FromString(event.message))
            elif answers and event.is_ok:
                self._end(event, "Renew")
                self._use(answers[0])
            else:
                self._plan.failed(self._end(event, "Renew"), recovering=False)
                wait = self._next_attempt() - fleet.moment.seconds
                fleet.loop.later(wait + random.random() * STEP_SECONDS, self._attempt)

        self._call(RENEW, self._message, _RENEW_SECONDS, told)

    def _use(self, answer: authority_pb2.RenewResponse) -> None:
        fleet, old = self._fleet, self._leaf
        chain = tuple(x509.load_der_x509_certificate(item) for item in answer.certificate.chain)
        if _public(chain[0].public_key()) != _public(self._next_key.public_key()):
            raise RuntimeError("the CA certified another key")
        now = fleet.moment.now()
        fleet.renewed += 1
        fleet.seconds.append(fleet.moment.seconds)
        fleet.left.append((old.not_valid_after_utc - now).total_seconds())
        renewal = answer.certificate.renewal
        self._leaf = chain[0]
        self._plan.succeeded((read_moment(renewal.begin), read_moment(renewal.end)), chain[0])
        self._move(self._next_key, chain)

    def _move(self, key: PrivateKey, chain: tuple[x509.Certificate, ...]) -> None:
        """Go over to a connection with the new certificate; the stream begins anew there."""
        before = self._connection
        save_pem(key, chain, self._credential)
        self._context = context_of(self._fleet.root, self._credential)
        self._connection = None
        self._connect()
        if before is not None:
            # What runs on it may end.
            self._fleet.loop.later(_DRAIN_SECONDS, before.close)
        self._follow()
        self._report()

    def _report(self) -> None:
        self._reports += 1
        number = self._reports

        def again() -> None:
            # Unless another one was made meanwhile.
            if number == self._reports:
                self._report()

        def told(event: Event) -> None:
            if event.message is None:
                self._end(event, "ReportTrust")
                if not event.is_ok:
                    self._fleet.loop.later(_RETRY_SECONDS, again)

        if self._bundle_number:
            request = trust_pb2.ReportTrustRequest(
                bundle_number=self._bundle_number,
                serial=f"{self._leaf.serial_number:x}",
                sequence=self._sequence,
            )
            self._call(REPORT, request.SerializeToString(), _REPORT_SECONDS, told)
        else:
            self._fleet.loop.later(_RETRY_SECONDS, again)

    def _look_at_log(self) -> None:
        request = audit_pb2.GetCheckpointRequest().SerializeToString()
        pause = self._fleet.look_seconds

        def told(event: Event) -> None:
            nonlocal pause
            if event.message is not None:
                shown = audit_pb2.GetCheckpointResponse.FromString(event.message)
                pause = shown.look_again_seconds
                return
            self._end(event, "GetCheckpoint")
            self._fleet.loop.later(pause * random.uniform(0.8, 1.2), self._look_at_log)

        self._call(CHECKPOINT, request, _CHECKPOINT_SECONDS, told)

    def _call(
        self, method: str, message: bytes, seconds: float, told: Callable[[Event], object]
    ) -> None:
        """Make a call with a deadline."""
        connection, is_over = self._connect(), False

        def tell(event: Event) -> None:
            nonlocal is_over
            is_over = is_over or event.message is None
            told(event)

        def give_up() -> None:
            if not is_over:
                connection.cancel(stream)
                tell(Event(stream, None, {"grpc-status": b"4"}))

        stream = connection.call(method, message, tell, seconds)
        self._fleet.loop.later(seconds, give_up)

    def _end(self, event: Event, method: str) -> Any:
        """Count how a call ended; return its error as the client sees it."""
        trailers = dict(event.trailers)
        code = _CODES[int(trailers.get("grpc-status", b"2"))]
        error = of_rpc_error(_Ended(code, trailers))
        message = str(trailers.get("grpc-message", b""), "utf-8").partition(":")[0]
        reason = getattr(error, "reason", "") or message
        self._fleet.ends[f"{method} {code.name} {'' if event.is_ok else reason}".strip()] += 1
        return error


class _Ended(grpc.RpcError):
    """The end of a call, as gRPC's own client tells it."""

    def __init__(self, status: grpc.StatusCode, trailers: dict[str, bytes]) -> None:
        super().__init__()
        self._status, self._trailers = status, trailers

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return self._trailers.get("grpc-message", b"").decode()

    def trailing_metadata(self) -> Any:
        return tuple(self._trailers.items())


def _public(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
