"""What a channel has seen of its server, at each address that its target stands for.

The rules:

1. Each address is looked at by itself. One that is accepted is enough for calls; no call waits for
   the others, and gRPC is handed the accepted addresses alone.
2. An address that is not accepted is looked at again in the background, less and less often. So is
   the name resolved: replicas come and go.
3. While no address is accepted, nothing goes out. A call may ask for another round then.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for

from cryptography import x509

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access.refusal import Refusal, server_unverified
from pki.clock import Clock
from pki.errors import quote_untrusted
from pki.identity import SpiffeId
from pki.rpc.client.verification.server_check import ServerCheck, refusal_of
from pki.tls.target import Address, Target, format_address
from pki.x509 import ChainVerifier, Purpose
from pki.x509.peer_chain import PeerChain

log = logging.getLogger("handfast.rpc")

_AT_ONCE = 4  # looks that begin together
_STEP_SECONDS = 0.25  # as long as gRPC waits for one address before it tries the next
_TOGETHER_SECONDS = 0.05  # for the others, after the first was accepted
_AGAIN_SECONDS, _LONGEST_AGAIN_SECONDS = 1.0, 60.0
_UNRESOLVED_SECONDS, _LONGEST_UNRESOLVED_SECONDS = 0.2, 5.0
_MOST_DOUBLINGS = 10
_MOST_TAILS = 16  # chains of issuing CAs that are remembered
_UNSPECIFIED = "UNSPECIFIED"

Looking = Callable[[Address], tuple[x509.Certificate, ...]]


class AddressChecks:
    """The server of one channel, as seen at its addresses.

    Args:
        server: who it must be.
        target: where it is.
        look: shakes hands with it at one address, and returns its chain.
        verifier: returns the verifier of the trust in force.
        clock: returns the time.
        changed: called, from any thread, when more is known of it, or less.
        looked: told the result name (gRFC A118) of each look.
    """

    def __init__(
        self,
        server: SpiffeId,
        target: Target,
        look: Looking,
        verifier: Callable[[], ChainVerifier],
        clock: Clock,
        *,
        changed: Callable[[], None],
        looked: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._server = server
        self._target = target
        self._look = look
        self._verifier = verifier
        self._clock = clock
        self._changed = changed
        self._looked = looked
        self._lock = threading.Lock()
        self._sights: dict[Address, ServerCheck] = {}
        self._accepted: Mapping[Address, PeerChain] = {}
        self._round: Future[None] | None = None
        self._settled = True
        self._closed: Refusal | None = None
        self._unresolved: Refusal | None = None
        self._unresolved_times = 0
        self._not_before = 0.0  # after a name that was not resolved
        self._bad_rounds = 0
        self._again_at: float | None = None
        self._tails: list[tuple[x509.Certificate, ...]] = []

    @property
    def server(self) -> SpiffeId:
        """Who it must be."""
        return self._server

    @property
    def accepted(self) -> Mapping[Address, PeerChain]:
        """The addresses that are accepted, with what was seen there; replaced, never changed."""
        return self._accepted

    @property
    def good(self) -> PeerChain | None:
        """What was seen at the first address that is accepted; None where calls must wait."""
        return next(iter(self._accepted.values()), None)

    @property
    def is_settled(self) -> bool:
        """Whether no further address is likely to be accepted within a moment."""
        return self._settled

    @property
    def lost(self) -> Refusal | None:
        """Why nothing may go to any address; None before the looks have ended, and while one is."""
        if self._closed is not None:
            return self._closed
        if self._accepted:
            return None
        sights = list(self._sights.values())
        if not sights:
            return self._unresolved
        refusals = [refusal for item in sights if (refusal := item.lost) is not None]
        if len(refusals) < len(sights):
            return None
        told = next((item for item in refusals if _is_refused(item)), refusals[0])
        return told if len(refusals) == 1 else told.of_several(len(refusals))

    def refused_at(self, address: Address) -> Refusal | None:
        """Return why the server at an address is refused; None if it is not, or was not seen."""
        sight = self._sights.get(address)
        lost = sight.lost if sight is not None and sight.good is None else None
        return lost if lost is not None and _is_refused(lost) else None

    def refusal_of(self, standing: PeerChain) -> Refusal | None:
        """Judge a chain that was seen, by the trust and time of now."""
        return refusal_of(standing, self._server, self._verifier(), self._clock())

    def demand(self) -> Future[None] | None:
        """Have a round of looks on its way, for a call that waits; None if all failed just now.

        It is done when an address is accepted, or none is.
        """
        with self._lock:
            if self._closed is not None:
                return None
            if self._round is None and not self._may_be_asked():
                return None
            return self._begun()

    def pause(self) -> float:
        """Return the seconds until the next round may be asked for."""
        sights = list(self._sights.values())
        if self._closed is not None or not sights:
            return max(0.01, self._not_before - time.monotonic())
        return max(0.01, min(item.pause() for item in sights))

    def look_soon(self) -> None:
        """Look again within a moment: a connection was made anew, or our credential changed."""
        with self._lock:
            sights = list(self._sights.values())
            # The addresses of a name may be others by now.
            if self._accepted and not self._target.is_literal:
                soon = time.monotonic() + _AGAIN_SECONDS * _some()
                self._again_at = min(soon, self._again_at or soon)
        for sight in sights:
            sight.look_soon()

    def look_now(self, address: Address) -> None:
        """Look at an address within a moment: gRPC was shown something there that is new to us."""
        sight = self._sights.get(address)
        if sight is not None:
            sight.look_soon()

    def standing_of(self, address: Address | None, leaf: x509.Certificate) -> PeerChain | None:
        """Return what gRPC was shown at an address, to be judged; None if its issuer is not known.

        gRPC tells the leaf alone; the rest of its chain is one that a look has seen.
        """
        known = [good for item in list(self._sights.values()) if (good := item.good) is not None]
        here = self._accepted.get(address) if address is not None else None
        for standing in (here, *known):
            if standing is not None and standing.leaf == leaf:
                return standing
        with self._lock:
            for standing in known:
                tail = standing.chain[1:]
                if tail not in self._tails:
                    self._tails = [tail, *self._tails][:_MOST_TAILS]
            tails = list(self._tails)
        made = [
            PeerChain((leaf, *tail), Purpose.SERVER, self._server)
            for tail in tails
            if tail and tail[0].subject == leaf.issuer
        ]
        return next((item for item in made if self.refusal_of(item) is None), None) or next(
            iter(made), None
        )

    def refuse(self, address: Address, refusal: Refusal) -> None:
        """Take an address back: gRPC was shown there what a look would refuse."""
        sight = self._sights.get(address)
        if sight is not None:
            sight.refuse(refusal)

    def tick(self) -> None:
        """Hold what was seen against what is in force now, and begin the looks that are due."""
        with self._lock:
            sights = list(self._sights.values())
        for sight in sights:
            sight.tick()
        self._note()
        with self._lock:
            due = self._again_at is not None and time.monotonic() >= self._again_at
            if self._closed is None and self._accepted and due:
                self._begun()

    def close(self, words: str) -> None:
        """Look no more, and let nothing through: nobody would notice what changes.

        Args:
            words: why, for calls that come yet.
        """
        with self._lock:
            self._closed = server_unverified(str(self._server), _UNSPECIFIED, words)
            self._accepted = {}
            self._again_at = None
            self._not_before = time.monotonic() + _LONGEST_UNRESOLVED_SECONDS
            sights = list(self._sights.values())
        for sight in sights:
            sight.close(words)

    def _may_be_asked(self) -> bool:
        if not self._sights:
            return time.monotonic() >= self._not_before
        return any(item.may_be_asked for item in self._sights.values() if item.good is None)

    def _begun(self) -> Future[None] | None:
        """Return the round that is on its way, one begun now if there is none."""
        if self._round is not None:
            return self._round
        done: Future[None] = Future()
        self._again_at = None
        try:
            threading.Thread(
                target=self._run, args=(done,), name="handfast-looks", daemon=True
            ).start()
        except RuntimeError as error:
            # The process is out of threads: a call that waits is told so, and asks again.
            self._not_resolved(quote_untrusted(error))
            return None
        self._round, self._settled = done, False
        return done

    def _run(self, done: Future[None]) -> None:
        try:
            self._resolve()
            self._look_at_all(done)
        except Exception:
            # Whatever goes wrong in a round is a round that accepts nobody.
            log.exception("looking at %s failed", self._server)
        finally:
            with self._lock:
                self._round, self._settled = None, True
                self._plan()
            self._note()
            self._changed()
            # Calls wait for this, some of them without a deadline.
            if not done.done():
                done.set_result(None)

    def _resolve(self) -> None:
        """Find the addresses; where that fails, keep those that are known, as gRPC does."""
        try:
            addresses = self._target.addresses()
        except (OSError, UnicodeError) as error:
            with self._lock:
                self._not_resolved(quote_untrusted(error))
            return
        with self._lock:
            if self._closed is not None:
                return
            self._unresolved, self._unresolved_times = None, 0
            before = self._sights
            self._sights = {item: before.get(item) or self._sight(item) for item in addresses}
            gone = [item for address, item in before.items() if address not in self._sights]
        for sight in gone:
            sight.close("its name does not stand for this address any more")
        self._note()

    def _not_resolved(self, words: str) -> None:
        times = self._unresolved_times = min(self._unresolved_times + 1, _MOST_DOUBLINGS)
        pause = min(_LONGEST_UNRESOLVED_SECONDS, _UNRESOLVED_SECONDS * 2**times)
        self._not_before = time.monotonic() + pause * _some()
        self._unresolved = server_unverified(
            str(self._server), _UNSPECIFIED, f"{self._target.text} was not resolved: {words}"
        )

    def _sight(self, address: Address) -> ServerCheck:
        return ServerCheck(
            self._server,
            format_address(address),
            lambda: self._look(address),
            self._verifier,
            self._clock,
            changed=self._sight_changed,
            looked=self._looked,
        )

    def _look_at_all(self, done: Future[None]) -> None:
        """Look at each address that is not accepted, a few at a time and none waited for long."""
        with self._lock:
            sights = [item for item in self._sights.values() if item.good is None]
        looks: set[Future[None]] = set()
        for first in range(0, len(sights), _AT_ONCE):
            for sight in sights[first : first + _AT_ONCE]:
                looking = sight.demand()
                if looking is not None:
                    looks.add(looking)
            looks = self._waited(looks, done, _STEP_SECONDS)
        with self._lock:
            self._settled = True
        self._note()
        self._changed()
        while looks and not self._accepted and self._closed is None:
            looks = self._waited(looks, done, _STEP_SECONDS)

    def _waited(
        self, looks: set[Future[None]], done: Future[None], seconds: float
    ) -> set[Future[None]]:
        """Wait for looks, and let calls go as soon as one was good; return those not ended."""
        end = time.monotonic() + seconds
        while looks:
            left = end - time.monotonic()
            if left <= 0:
                break
            looks = wait_for(looks, left, FIRST_COMPLETED).not_done
            self._note()
            if self._accepted and not done.done():
                # Its neighbours mostly answer within the same milliseconds: one connection less.
                looks = wait_for(looks, min(_TOGETHER_SECONDS, max(0.0, left))).not_done
                self._note()
                self._changed()
                done.set_result(None)
        return looks

    def _sight_changed(self) -> None:
        self._note()
        with self._lock:
            settled = self._round is None or self._settled
            if self._round is None:
                self._plan()
        if settled or not self._accepted:
            self._changed()

    def _plan(self) -> None:
        """Plan the next round: soon where an address is not accepted, and then less often."""
        if self._closed is not None or self._again_at is not None:
            return
        if self._unresolved is None and all(item.good for item in self._sights.values()):
            self._bad_rounds = 0
            return
        self._bad_rounds = min(self._bad_rounds + 1, _MOST_DOUBLINGS)
        pause = min(_LONGEST_AGAIN_SECONDS, _AGAIN_SECONDS * 2 ** (self._bad_rounds - 1))
        self._again_at = time.monotonic() + pause * _some()

    def _note(self) -> None:
        """Take down which addresses are accepted now."""
        with self._lock:
            if self._closed is None:
                accepted = _accepted(self._sights.items())
                if accepted != self._accepted:
                    self._accepted = accepted


def _accepted(sights: Iterable[tuple[Address, ServerCheck]]) -> dict[Address, PeerChain]:
    return {address: good for address, item in sights if (good := item.good) is not None}


def _is_refused(refusal: Refusal) -> bool:
    return refusal.reason == ErrorReason.SERVER_CERTIFICATE_REJECTED


def _some() -> float:
    return random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret
