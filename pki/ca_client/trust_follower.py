"""Follows the CA's stream: revocations at once, signed lists, and the silence of a CA that is gone.

1. A revocation counts when it arrives, before it is on a signed list.
2. The CA says how long it may be silent at most. It is heard when it says that we have everything.
   After three times that without a word, we know that we are cut off, and say so; lists stay in
   force until they end, and the policy's grace runs after that.
3. A CA that refuses this workload for good, because its certificate or its issuing CA was revoked,
   is not silent: that is told once, and the CA asked again seldom. The list that proves it is
   fetched elsewhere first, because no stream brings it: by that list the directory is known as one
   that may be enrolled anew.
4. Before a stream ends with a certificate of its connection, another one is begun beside it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from pki._proto.handfast.ca.v1 import trust_pb2
from pki.background import defer
from pki.ca_client.connection import CaConnection
from pki.ca_client.held_trust import HeldTrust
from pki.ca_client.received import read_crl
from pki.clock import Clock
from pki.error_info import read_reason
from pki.errors import PkiError
from pki.x509 import CrlSet
from pki.x509.readers import MAX_CRLS_BYTES

log = logging.getLogger("handfast.ca_client")

_FIRST_SILENCE, _MISSED = 15.0, 3
LEAST_PAUSE = 0.2
MOST_PAUSE = 60.0
"""Between attempts to follow, in seconds. Ten thousand workloads whose CA was away for long come
back over a minute: within fifteen seconds, they would keep each other from any handshake."""
_REFUSED_PAUSE = 120.0
_REFUSED = {
    "CERTIFICATE_REVOKED": "its certificate was revoked",
    "ISSUER_DISTRUSTED": "the CA that issued its certificate is distrusted",
}


class TrustFollower:
    """Follows the CA in threads of its own, from :meth:`start` until :meth:`stop`.

    Args:
        trust: what is kept up to date.
        connect: returns the connection to the CA; None while there is none.
        clock: returns the time.
        monotonic: returns seconds that only grow.
        fetch_proof: called when the CA refuses this workload for good; fetches the list that proves
            it, and returns whether there is one.
    """

    def __init__(
        self,
        trust: HeldTrust,
        connect: Callable[[], CaConnection | None],
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        fetch_proof: Callable[[], bool] = lambda: True,
    ) -> None:
        self._trust = trust
        self._connect = connect
        self._clock = clock
        self._monotonic = monotonic
        self._fetch_proof = fetch_proof
        self._is_proven = False
        self._stopping, self._waking = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._calls: set[Any] = set()
        self._successor: threading.Thread | None = None
        # Everything came; and anything came, or a stream was begun.
        self._heard_at = self._stirred_at = monotonic()
        self._silence = _FIRST_SILENCE
        self._sequence, self._epoch = 0, ""
        self.refused = ""
        """Why the CA refuses this workload for good; empty if it does not."""
        self.policy = ""
        """The digest of the CA's policy, as it said last."""
        self._threads = [
            threading.Thread(target=self._follow, name="handfast-trust", daemon=True),
            threading.Thread(
                target=self._watch_silence, name="handfast-trust-silence", daemon=True
            ),
        ]

    @property
    def cut_off_since(self) -> datetime | None:
        """Since when the CA has been silent, if that is too long; else None."""
        silent = self._monotonic() - self._heard_at
        if silent <= self._silence * _MISSED:
            return None
        return (self._clock() - timedelta(seconds=silent)).replace(microsecond=0)

    @property
    def last_heard(self) -> datetime:
        """When the CA last said that all is here; when this was made if it has not yet."""
        return self._clock() - timedelta(seconds=self._monotonic() - self._heard_at)

    @property
    def sequence(self) -> int:
        """The number of the newest revocation that is in force here."""
        return self._sequence

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def look_again(self) -> None:
        """Ask the CA again soon: there is another certificate, which it may not refuse."""
        self.refused = ""
        self._waking.set()

    def stop(self) -> None:
        """Stop following."""
        self._stopping.set()
        self._waking.set()
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.cancel()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(2.0)

    def _follow(self) -> None:
        pause = LEAST_PAUSE
        while not self._stopping.is_set():
            heard = self._heard_at
            self._run_stream(None)
            while (successor := self._take_successor()) is not None:
                successor.join()
            if self._heard_at > heard:
                pause = LEAST_PAUSE
            if self.refused and self._is_proven:
                pause = _REFUSED_PAUSE
            # Jitter, so that all followers of a CA that comes back do not come at once.
            self._waking.wait(random.uniform(pause / 2, pause))  # noqa: S311 - no secret
            self._waking.clear()
            pause = min(MOST_PAUSE, pause * 2)

    def _note_end(self, error: grpc.RpcError) -> None:
        if getattr(error, "code", lambda: None)() is grpc.StatusCode.CANCELLED:
            return
        details = getattr(error, "details", lambda: "")()
        metadata = getattr(error, "trailing_metadata", lambda: ())() or ()
        refused = _REFUSED.get(read_reason(metadata) or "", "")
        if not refused:
            defer(log.info, "the CA's stream ended: %s", details)
            return
        try:
            # A list is signed some seconds after the revocation: until it is there, ask again soon.
            self._is_proven = self._fetch_proof()
        except Exception as fault:
            self._is_proven = False
            defer(log.error, "the list that proves it can't be fetched: %s", fault)
        if refused != self.refused:
            self.refused = refused
            defer(
                log.error,
                "the CA refuses the identity in %s: %s. It can't come back by itself: enroll it "
                "again, with a new token",
                self._trust.directory,
                refused,
            )

    def _take_successor(self) -> threading.Thread | None:
        with self._lock:
            successor, self._successor = self._successor, None
            return successor

    def _run_stream(self, before: Any) -> None:
        """Read one stream until it ends.

        Args:
            before: the call of the stream whose place it takes once it has said something.
        """
        call: Any = None
        next_stream: threading.Timer | None = None
        parts: dict[bytes, list[bytes]] = {}
        is_complete = False
        try:
            connection = self._connect()
            if connection is None:
                return
            self._stirred_at = self._monotonic()
            call = connection.trust.WatchTrust(self._request())
            with self._lock:
                self._calls.add(call)
            if self._stopping.is_set():
                call.cancel()
            for update in call:
                self.refused = ""
                self._stirred_at = self._monotonic()
                self._apply(update, parts, is_complete=is_complete)
                is_complete = True
                if before is not None:
                    before.cancel()
                    before = None
                if update.WhichOneof("update") == "heartbeat" and next_stream is None:
                    next_stream = self._plan_next(update.heartbeat, call)
        except grpc.RpcError as error:
            self._note_end(error)
        except Exception as error:
            # It sent what can't be used; the channel was closed; no thread was left for a timer:
            # nothing ends this thread.
            defer(log.error, "the CA can't be followed: %s", error)
        finally:
            if next_stream is not None:
                next_stream.cancel()
            if call is not None:
                call.cancel()
                with self._lock:
                    self._calls.discard(call)

    def _plan_next(self, heartbeat: trust_pb2.Heartbeat, call: Any) -> threading.Timer | None:
        """Plan to begin another stream before this one ends; return what waits for that."""
        try:
            ends_at = heartbeat.stream_ends_at.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            return None
        remaining = (ends_at - self._clock()).total_seconds()
        if remaining <= 0:
            return None

        def begin() -> None:
            name = "handfast-trust-next"
            thread = threading.Thread(target=self._run_stream, args=(call,), name=name, daemon=True)
            with self._lock:
                # Started in the lock: whoever takes it joins it.
                thread.start()
                self._successor = thread

        timer = threading.Timer(remaining * random.uniform(0.5, 0.8), begin)  # noqa: S311
        timer.daemon = True
        timer.start()
        return timer

    def _request(self) -> trust_pb2.WatchTrustRequest:
        request = trust_pb2.WatchTrustRequest(
            since=self._sequence, epoch=self._epoch, bundle_number=self._trust.anchor.number
        )
        for issuer, crl in self._trust.lists.crls.items():
            if crl.number.bit_length() <= 64:
                request.crls.add(issuer_key_id=issuer.key_id, number=crl.number)
        return request

    def _apply(
        self, update: trust_pb2.TrustUpdate, parts: dict[bytes, list[bytes]], *, is_complete: bool
    ) -> None:
        match update.WhichOneof("update"):
            case "heartbeat":
                seconds = update.heartbeat.next_within_milliseconds / 1000
                self._silence = min(max(seconds, 0.1), 600.0)
                # The first one comes before all else.
                if is_complete:
                    self._heard_at = self._monotonic()
                    self._sequence, self._epoch = update.sequence, update.epoch
                    self._trust.settle()
            case "bundles":
                self._trust.accept_bundles(update.bundles.bundles)
            case "revocations":
                announced = {
                    (entry.issuer_key_id, int.from_bytes(entry.serial, "big")): (
                        entry.not_after.seconds
                    )
                    for entry in update.revocations.entries
                }
                self._trust.accept(CrlSet.none(), announced)
                self._sequence, self._epoch = update.sequence, update.epoch
            case "crl":
                self._add_part(update.crl, parts)
            case "policy":
                self.policy = update.policy.digest

    def _add_part(self, part: trust_pb2.CrlPart, parts: dict[bytes, list[bytes]]) -> None:
        gathered = parts.setdefault(part.issuer_key_id, [])
        gathered.append(part.data)
        if sum(map(len, gathered)) > MAX_CRLS_BYTES:
            raise PkiError("the CA sent a revocation list that is too long")
        if not part.more:
            crl = read_crl(b"".join(parts.pop(part.issuer_key_id)))
            self._trust.accept(CrlSet.of([crl]))

    def _watch_silence(self) -> None:
        """End each stream that is silent for too long, so that another one is tried."""
        was_cut_off = False
        while not self._stopping.wait(min(1.0, self._silence / 2)):
            since = self.cut_off_since
            if since is not None and not was_cut_off and not self.refused:
                defer(log.error, "the CA has been silent since %s", since)
            was_cut_off = since is not None
            if self._monotonic() - self._stirred_at > self._silence * _MISSED:
                self._stirred_at = self._monotonic()
                with self._lock:
                    calls = list(self._calls)
                for call in calls:
                    call.cancel()
