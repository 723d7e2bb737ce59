"""What a channel has seen of its server at one address: by looks of its own, beside gRPC's.

The rules:

1. Before an address is used the server must have been seen and accepted there: chain, profile,
   revocation and the exact SPIFFE ID.
2. What was seen stands while trust, lists and time let it, and is held against each change at once.
   When it falls, new calls wait for another look.
3. The channel looks again, with jitter and off the calls' path: well before the leaf seen ends,
   when the connection is seen to be made anew, and when our own credential has changed.
4. A look that finds a wrong server, or none four times in a row, takes the address back. A call may
   ask for another look then, less and less often.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
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
_APART_SECONDS = 1.0  # between two looks that no call waits for
_TRIES = 4
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_EARLIEST, _LATEST = 0.5, 0.8  # of what is left of the leaf's life
_UNSPECIFIED = "UNSPECIFIED"
_SOONEST = timedelta(seconds=1)


class ServerCheck:
    """The server of one channel at one address, as seen.

    Args:
        server: who it must be.
        where: the address, for the log.
        look: shakes hands with it, and gives its chain.
        verifier: gives the verifier of the trust in force.
        clock: gives the time.
        changed: called, from any thread, when more is known of it, or less.
        looked: told the result name (gRFC A118) of each look.
    """

    def __init__(
        self,
        server: SpiffeId,
        where: str,
        look: Callable[[], tuple[x509.Certificate, ...]],
        verifier: Callable[[], ChainVerifier],
        clock: Clock,
        *,
        changed: Callable[[], None],
        looked: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._server = server
        self._where = where
        self._look = look
        self._verifier = verifier
        self._clock = clock
        self._changed = changed
        self._looked = looked
        self._lock = threading.Lock()
        self._good: PeerChain | None = None
        self._lost: Refusal | None = None
        self._looking: Future[None] | None = None
        self._closed = False
        self._failures = 0
        self._told = ""
        self._due: float | None = None
        self._due_before_end: datetime | None = None
        self._not_before = 0.0  # after a look that failed
        self._apart_until = 0.0  # after one that did not

    @property
    def good(self) -> PeerChain | None:
        """The chain that was seen and stands; None where calls must wait for a look."""
        return self._good

    @property
    def lost(self) -> Refusal | None:
        """Why nothing may go to it, after a look that failed; None before one, and while good."""
        return self._lost

    @property
    def may_be_asked(self) -> bool:
        """Whether a look may be asked for: not if one failed a moment ago."""
        failed_just_now = self._lost is not None and time.monotonic() < self._not_before
        return not self._closed and (self._looking is not None or not failed_just_now)

    def demand(self) -> Future[None] | None:
        """Have a look on its way, for a call that waits; None if one failed a moment ago."""
        with self._lock:
            return self._begun() if self.may_be_asked else None

    def close(self, words: str) -> None:
        """Look no more, and let nothing through: nobody would notice what changes.

        Args:
            words: why, for calls that come yet.
        """
        with self._lock:
            self._closed = True
            self._good, self._due, self._due_before_end = None, None, None
            self._lost = server_unverified(str(self._server), _UNSPECIFIED, words)

    def refuse(self, refusal: Refusal) -> None:
        """Take the address back: gRPC itself was shown there what a look would refuse."""
        with self._lock:
            if not self._closed:
                self._refuse(refusal)
        self._changed()

    def pause(self) -> float:
        """Return the seconds until the next look may be asked for."""
        if self._closed:
            return _LONGEST_PAUSE_SECONDS
        return max(0.0, self._not_before - time.monotonic())

    def look_soon(self) -> None:
        """Look again within a moment: the connection was made anew, or our credential changed."""
        with self._lock:
            # A server that was never seen is looked at when the first call asks.
            if self._good is not None and self._due is None:
                self._due = max(time.monotonic(), self._apart_until) + _jitter()

    def tick(self) -> None:
        """Hold what was seen against what is in force now, and begin a look that is due."""
        good = self._good
        verifier, now = self._verifier(), self._clock()
        fallen = good is not None and good.error(verifier, now) is not None
        with self._lock:
            if fallen and self._good is good:
                self._good, self._due = None, time.monotonic() + _jitter()
            elif self._is_due():
                self._begun()

    def _is_due(self) -> bool:
        if self._due is not None and time.monotonic() >= self._due:
            return True
        before_end = self._due_before_end
        return before_end is not None and self._clock() >= before_end

    def _begun(self) -> Future[None]:
        """Return the look that is on its way, one begun now if there is none."""
        self._due = self._due_before_end = None
        if self._looking is None:
            looking: Future[None] = Future()
            # A thread of its own: a server that doesn't answer keeps nobody else waiting, and the
            # process may end meanwhile.
            thread = threading.Thread(
                target=self._run, args=(looking,), name="handfast-look", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                # The process is out of threads: a look that failed, and is tried again.
                words = f"no thread could be begun for it: {error}"
                self._refuse(server_unverified(str(self._server), _UNSPECIFIED, words))
                looking.set_result(None)
                return looking
            self._looking = looking
        return self._looking

    def _run(self, done: Future[None]) -> None:
        verdict, seen, refusal = self._seen()
        try:
            with self._lock:
                self._looking = None
                if self._closed:
                    pass
                elif refusal is not None:
                    self._refuse(refusal)
                elif seen is not None:
                    self._accept(seen)
            self._looked(verdict)
            self._changed()
        finally:
            # Calls wait for this, some of them without a deadline.
            done.set_result(None)

    def _seen(self) -> tuple[str, PeerChain | None, Refusal | None]:
        """Look; give the result name of gRFC A118, and what was seen or why it is refused."""
        seen: PeerChain | None = None
        try:
            seen = PeerChain(self._look(), Purpose.SERVER, self._server)
            error = seen.error(self._verifier(), self._clock())
        except VerificationError as refused:
            error = refused
        except ProbeError as unseen:
            self._tell(logging.WARNING, f"no look at {self._server} at {self._where}: {unseen}")
            refusal = server_unverified(str(self._server), unseen.verdict, unseen.words)
            return unseen.verdict, None, refusal
        except Exception:
            # Whatever goes wrong in a look is a look that failed.
            log.exception("looking at %s failed", self._server)
            refusal = server_unverified(str(self._server), _UNSPECIFIED, "the look itself failed")
            return _UNSPECIFIED, None, refusal
        if error is None:
            self._told = ""
            return "SUCCESS", seen, None
        self._tell(logging.ERROR, f"{self._server} at {self._where} is refused: {error}")
        leaf = seen.leaf if seen else None
        return error.fault.verdict, None, _refusal(self._server, error, leaf)

    def _tell(self, level: int, words: str) -> None:
        """Log what is wrong, once for as long as it stays so."""
        if words != self._told:
            self._told = words
            log.log(level, "%s", words)

    def _accept(self, seen: PeerChain) -> None:
        if self._good is None or self._good.chain != seen.chain:
            self._good = seen
        self._lost, self._failures = None, 0
        self._apart_until = time.monotonic() + _APART_SECONDS
        now = self._clock()
        left = seen.leaf.not_valid_after_utc - now
        share = random.uniform(_EARLIEST, _LATEST)  # noqa: S311 - spreads load
        self._due_before_end = now + max(_SOONEST, left * share)

    def _refuse(self, refusal: Refusal) -> None:
        self._failures += 1
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10))
        self._not_before = time.monotonic() + pause * random.uniform(0.5, 1)  # noqa: S311
        is_unseen = refusal.reason == ErrorReason.SERVER_UNVERIFIED
        if self._good is not None and is_unseen and self._failures < _TRIES:
            # It stands still, and may only be busy: look again before anybody is turned away.
            self._due = self._not_before
            return
        self._good, self._lost = None, refusal


def refusal_of(
    standing: PeerChain, server: SpiffeId, verifier: ChainVerifier, now: datetime
) -> Refusal | None:
    """Judge a chain that was seen earlier, by the trust and time of now.

    Args:
        standing: what was seen.
        server: who it must be.
        verifier: the verifier of the trust in force.
        now: the time.
    """
    error = standing.error(verifier, now)
    return None if error is None else _refusal(server, error, standing.leaf)


def _refusal(server: SpiffeId, error: VerificationError, leaf: x509.Certificate | None) -> Refusal:
    serial = leaf.serial_number if leaf is not None else None
    return server_refusal(str(server), error.fault, serial)


def _jitter() -> float:
    return random.uniform(0, _JITTER_SECONDS)  # noqa: S311 - spreads load, keeps no secret
