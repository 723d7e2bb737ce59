"""Verifies the server at one address, with probes of our own beside gRPC.

The rules:

1. Before an address is used, a probe must have verified the server there: chain, profile,
   revocation and the exact SPIFFE ID.
2. The verified chain is checked again at each change of trust, lists or time. When it is refused,
   new calls wait for another probe.
3. Further probes run in the background, with jitter: well before the verified leaf ends, and when
   gRPC has connected again. One runs at once when our own credential has changed, so that the next
   connection is made to the leaf that the server has now.
4. A probe that reaches a wrong server rejects the address at once. Four probes in a row that make
   no handshake reject it too. A call may request another probe then, less and less often.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access.refusal import Refusal, server_refusal, server_unverified
from pki.clock import Clock
from pki.errors import VerificationError
from pki.identity import SpiffeId
from pki.rpc.client.verification.probe import ProbeError
from pki.x509 import ChainVerifier, Purpose
from pki.x509.peer_chain import PeerChain

log = logging.getLogger("handfast.rpc")

_JITTER_SECONDS = 0.5
_APART_SECONDS = 1.0  # between two probes that no call waits for
_MOST_FAILURES = 4
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 5.0
_EARLIEST, _LATEST = 0.5, 0.8  # of the rest of the leaf's life
_UNSPECIFIED = "UNSPECIFIED"
_SOONEST = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What every check of one server needs.

    Args:
        server: the SPIFFE ID that the server must have.
        verifier: returns the verifier of the trust in force.
        clock: returns the time.
        on_change: called, from any thread, when the result of a check has changed.
        on_result: called with the result name (gRFC A118) of each probe.
        monotonic: returns seconds that only grow.
    """

    server: SpiffeId
    verifier: Callable[[], ChainVerifier]
    clock: Clock
    on_change: Callable[[], None]
    on_result: Callable[[str], None] = lambda _: None
    monotonic: Callable[[], float] = time.monotonic

    def check_chain(self, chain: PeerChain) -> Refusal | None:
        """Return why a chain that was presented earlier is refused now; None if it is accepted."""
        error = chain.error(self.verifier(), self.clock())
        return None if error is None else _refusal(self.server, error, chain.leaf)


class ServerCheck:
    """The check of one channel's server at one address.

    Args:
        context: who the server must be, and by what it is verified.
        address: the address, for the log.
        probe: makes a handshake with the server, and returns its chain.
    """

    def __init__(
        self,
        context: CheckContext,
        address: str,
        probe: Callable[[], tuple[x509.Certificate, ...]],
    ) -> None:
        self._context = context
        self._address = address
        self._probe = probe
        self._monotonic = context.monotonic
        self._lock = threading.RLock()
        self._verified: PeerChain | None = None
        self._failure: Refusal | None = None
        self._probing: Future[None] | None = None
        self._is_closed = False
        self._failures = 0
        self._last_logged = ""
        self._due: float | None = None
        self._due_before_end: datetime | None = None
        self._not_before = 0.0  # after a probe that failed
        self._apart_until = 0.0  # after a probe that succeeded

    @property
    def verified(self) -> PeerChain | None:
        """The chain that a probe verified; None where calls must wait for a probe."""
        return self._verified

    @property
    def refusal(self) -> Refusal | None:
        """Why no call may go to the address; None before the first probe, and while verified."""
        return self._failure

    @property
    def is_probed_again(self) -> bool:
        """Whether a probe runs at a server that an earlier one verified."""
        with self._lock:
            return self._verified is not None and self._probing is not None

    @property
    def may_probe(self) -> bool:
        """Whether a probe may be requested: not if one failed a moment ago."""
        failed_just_now = self._failure is not None and self._monotonic() < self._not_before
        return not self._is_closed and (self._probing is not None or not failed_just_now)

    def request_probe(self) -> Future[None] | None:
        """Begin a probe for a call that waits, if none runs; None if one failed a moment ago."""
        with self._lock:
            return self._begin_probe() if self.may_probe else None

    def close(self, reason: str) -> None:
        """Stop probing and refuse every call, because nobody would notice a change.

        Args:
            reason: why, for later calls.
        """
        with self._lock:
            self._is_closed = True
            self._verified, self._due, self._due_before_end = None, None, None
            self._failure = server_unverified(str(self._context.server), _UNSPECIFIED, reason)

    def reject(self, refusal: Refusal) -> None:
        """Reject the address: gRPC was presented a chain there that a probe would refuse."""
        with self._lock:
            if not self._is_closed:
                self._note_failure(refusal)
        self._context.on_change()

    def retry_delay(self) -> float:
        """Return the seconds until the next probe may be requested."""
        if self._is_closed:
            return _LONGEST_DELAY_SECONDS
        return max(0.0, self._not_before - self._monotonic())

    def schedule_probe(self) -> None:
        """Probe again within a moment: gRPC has connected again."""
        with self._lock:
            # A server that was never verified is probed when the first call asks for it.
            if self._verified is not None and self._due is None:
                self._due = max(self._monotonic(), self._apart_until) + _jitter()

    def probe_again(self) -> None:
        """Probe a verified server again at once: our credential changed."""
        with self._lock:
            if self._verified is not None:
                self._begin_probe()

    def recheck(self) -> None:
        """Check the verified chain by what is in force now, and begin a probe that is due."""
        verified = self._verified
        verifier, now = self._context.verifier(), self._context.clock()
        is_invalid = verified is not None and verified.error(verifier, now) is not None
        with self._lock:
            if is_invalid and self._verified is verified:
                self._verified, self._due = None, self._monotonic() + _jitter()
            elif self._is_due():
                self._begin_probe()

    def _is_due(self) -> bool:
        if self._due is not None and self._monotonic() >= self._due:
            return True
        before_end = self._due_before_end
        return before_end is not None and self._context.clock() >= before_end

    def _begin_probe(self) -> Future[None]:
        """Return the probe that runs, begun now if none does."""
        self._due = self._due_before_end = None
        if self._probing is None:
            probing: Future[None] = Future()
            # In a thread of its own: a server that doesn't answer holds up nobody else, and the
            # process may end meanwhile.
            thread = threading.Thread(
                target=self._run, args=(probing,), name="handfast-probe", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                # The process is out of threads. The probe has failed, and is tried again.
                reason = f"no thread could be started to verify it: {error}"
                self._note_failure(
                    server_unverified(str(self._context.server), _UNSPECIFIED, reason)
                )
                probing.set_result(None)
                return probing
            self._probing = probing
        return self._probing

    def _run(self, done: Future[None]) -> None:
        result, chain, refusal = self._verify()
        try:
            with self._lock:
                self._probing = None
                if self._is_closed:
                    pass
                elif refusal is not None:
                    self._note_failure(refusal)
                elif chain is not None:
                    self._note_success(chain)
            self._context.on_result(result)
            self._context.on_change()
        finally:
            # Calls wait for this, some of them without a deadline.
            done.set_result(None)

    def _verify(self) -> tuple[str, PeerChain | None, Refusal | None]:
        """Probe the server; return the result name of gRFC A118, and its chain or the refusal."""
        chain: PeerChain | None = None
        server = self._context.server
        try:
            chain = PeerChain(self._probe(), Purpose.SERVER, server)
            error = chain.error(self._context.verifier(), self._context.clock())
        except VerificationError as verification_error:
            error = verification_error
        except ProbeError as probe_error:
            self._log_once(
                logging.WARNING,
                f"could not verify the certificate of {server} at {self._address}: {probe_error}",
            )
            refusal = server_unverified(str(server), probe_error.result, probe_error.message)
            return probe_error.result, None, refusal
        except Exception:
            # Any error in a probe is a probe that failed.
            log.exception("probing %s failed", server)
            refusal = server_unverified(
                str(server),
                _UNSPECIFIED,
                "an unexpected error occurred; the log of this process says which",
            )
            return _UNSPECIFIED, None, refusal
        if error is None:
            self._last_logged = ""
            return "SUCCESS", chain, None
        self._log_once(logging.ERROR, f"{server} at {self._address} is refused: {error}")
        leaf = chain.leaf if chain else None
        return error.fault.handshake_result, None, _refusal(server, error, leaf)

    def _log_once(self, level: int, message: str) -> None:
        """Log a lasting problem once."""
        if message != self._last_logged:
            self._last_logged = message
            log.log(level, "%s", message)

    def _note_success(self, chain: PeerChain) -> None:
        if self._verified is None or self._verified.chain != chain.chain:
            self._verified = chain
        self._failure, self._failures = None, 0
        self._apart_until = self._monotonic() + _APART_SECONDS
        now = self._context.clock()
        rest = chain.leaf.not_valid_after_utc - now
        share = random.uniform(_EARLIEST, _LATEST)  # noqa: S311 - spreads load
        self._due_before_end = now + max(_SOONEST, rest * share)

    def _note_failure(self, refusal: Refusal) -> None:
        self._failures += 1
        delay = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** min(self._failures, 10))
        self._not_before = self._monotonic() + delay * random.uniform(0.5, 1)  # noqa: S311
        is_unverified = refusal.reason == ErrorReason.SERVER_UNVERIFIED
        if self._verified is not None and is_unverified and self._failures < _MOST_FAILURES:
            # The verified chain still holds, and the server may only be busy: probe again first.
            self._due = self._not_before
            return
        self._verified, self._failure = None, refusal


def _refusal(server: SpiffeId, error: VerificationError, leaf: x509.Certificate | None) -> Refusal:
    serial = leaf.serial_number if leaf is not None else None
    return server_refusal(str(server), error.fault, serial)


def _jitter() -> float:
    return random.uniform(0, _JITTER_SECONDS)  # noqa: S311 - spreads load, keeps no secret
