"""Verifies a channel's server at each address that its target stands for.

The rules:

1. Each address is probed by itself. One accepted address is enough for calls; no call waits for the
   others, and gRPC is given the accepted addresses alone.
2. An address that is not accepted is probed again in the background, less and less often. The name
   is resolved again too: replicas come and go.
3. While no address is accepted, nothing is sent. A call may request another round of probes then.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from dataclasses import replace

from cryptography import x509

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access.refusal import Refusal, server_unverified
from pki.errors import quote_untrusted
from pki.identity import SpiffeId
from pki.rpc.client.verification.presented_chains import PresentedChains
from pki.rpc.client.verification.server_check import CheckContext, ServerCheck
from pki.tls.target import Address, Target, format_address
from pki.x509.peer_chain import PeerChain

log = logging.getLogger("handfast.rpc")

_AT_ONCE = 4  # probes that begin together
_STEP_SECONDS = 0.25  # as long as gRPC waits for one address before it tries the next
_TOGETHER_SECONDS = 0.05  # for the others, after the first was accepted
_AGAIN_SECONDS, _LONGEST_AGAIN_SECONDS = 1.0, 60.0
_UNRESOLVED_SECONDS, _LONGEST_UNRESOLVED_SECONDS = 0.2, 5.0
_SHORTEST_DELAY_SECONDS = 0.01
_MOST_DOUBLINGS = 10
_UNSPECIFIED = "UNSPECIFIED"

Probe = Callable[[Address], tuple[x509.Certificate, ...]]


class AddressChecks:
    """The checks of one channel's server at all its addresses.

    Args:
        context: who the server must be, and by what it is verified.
        target: where the server is.
        probe: makes a handshake with the server at one address, and returns its chain.
    """

    def __init__(self, context: CheckContext, target: Target, probe: Probe) -> None:
        self._context = context
        self._target = target
        self._probe = probe
        self._monotonic = context.monotonic
        self._presented = PresentedChains(context)
        # A handler of a signal may close the channel in the midst of a call's own step.
        self._lock = threading.RLock()
        self._checks: dict[Address, ServerCheck] = {}
        self.accepted: Mapping[Address, PeerChain] = {}
        """The accepted addresses, with the verified chain of each; replaced, never changed."""
        self._round: Future[None] | None = None
        self._is_settled = True
        self._closed: Refusal | None = None
        self._unresolved: Refusal | None = None
        self._unresolved_times = 0
        self._not_before = 0.0  # after a round that knows no address
        self._failed_rounds = 0
        self._again_at: float | None = None

    @property
    def server(self) -> SpiffeId:
        """The SPIFFE ID that the server must have."""
        return self._context.server

    @property
    def is_settled(self) -> bool:
        """Whether no further address is likely to be accepted within a moment."""
        return self._is_settled

    @property
    def refusal(self) -> Refusal | None:
        """Why no call may go to any address; None while probes run, and while one is accepted."""
        if self._closed is not None:
            return self._closed
        if self.accepted:
            return None
        checks = list(self._checks.values())
        if not checks:
            return self._unresolved
        refusals = [refusal for item in checks if (refusal := item.refusal) is not None]
        if len(refusals) < len(checks):
            return None
        worst = next((item for item in refusals if _is_rejection(item)), refusals[0])
        return worst if len(refusals) == 1 else worst.for_addresses(len(refusals))

    def refusal_at(self, address: Address) -> Refusal | None:
        """Return why a probe refused the server at an address; None if none did."""
        check = self._checks.get(address)
        refusal = check.refusal if check is not None and check.verified is None else None
        return refusal if refusal is not None and _is_rejection(refusal) else None

    def check_chain(self, chain: PeerChain) -> Refusal | None:
        """Return why a chain that was presented earlier is refused now; None if it is accepted."""
        return self._context.check_chain(chain)

    def request_round(self) -> Future[None] | None:
        """Begin a round of probes for a call that waits, if none runs; None if all failed just now.

        The round is done as soon as an address is accepted, or when all probes have failed.
        """
        with self._lock:
            if self._closed is not None:
                return None
            if self._round is None and not self._may_begin_round():
                return None
            return self._begin_round()

    def retry_delay(self) -> float:
        """Return the seconds until the next round may be requested."""
        checks = list(self._checks.values())
        if self._closed is not None or not checks:
            return max(_SHORTEST_DELAY_SECONDS, self._not_before - self._monotonic())
        return max(_SHORTEST_DELAY_SECONDS, min(item.retry_delay() for item in checks))

    def awaits_probe(self) -> bool:
        """Return whether an accepted address is probed; if not, :attr:`accepted` is up to date."""
        if any(check.is_probed_again for check in list(self._checks.values())):
            return True
        self._update_accepted()
        return False

    def schedule_probes(self) -> None:
        """Probe again within a moment: gRPC has connected again."""
        for check in self._checks_of_name_resolved_soon():
            check.schedule_probe()

    def probe_again(self) -> None:
        """Probe again at once, many addresses within a moment: our credential changed."""
        checks = self._checks_of_name_resolved_soon()
        for check in checks:
            check.probe_again() if len(checks) <= _AT_ONCE else check.schedule_probe()

    def schedule_probe_at(self, address: Address) -> None:
        """Probe one address within a moment: gRPC was presented an unknown issuer there."""
        check = self._checks.get(address)
        if check is not None:
            check.schedule_probe()

    def presented_chain(self, address: Address | None, leaf: x509.Certificate) -> PeerChain | None:
        """Return the chain of a leaf that gRPC was presented; None if its issuer is not known."""
        here = self.accepted.get(address) if address is not None else None
        checks = list(self._checks.values())
        verified = [chain for item in checks if (chain := item.verified) is not None]
        return self._presented.chain_of(leaf, [*([here] if here else []), *verified])

    def reject(self, address: Address, refusal: Refusal) -> None:
        """Reject an address: gRPC was presented a chain there that a probe would refuse."""
        check = self._checks.get(address)
        if check is not None:
            check.reject(refusal)

    def recheck(self) -> None:
        """Check the verified chains by what is in force now, and begin the probes that are due."""
        with self._lock:
            checks = list(self._checks.values())
        for check in checks:
            check.recheck()
        self._update_accepted()
        with self._lock:
            is_due = self._again_at is not None and self._monotonic() >= self._again_at
            if self._closed is None and self.accepted and is_due:
                self._begin_round()

    def close(self, reason: str) -> None:
        """Stop probing and refuse every call, because nobody would notice a change.

        Args:
            reason: why, for later calls.
        """
        with self._lock:
            self._closed = server_unverified(str(self.server), _UNSPECIFIED, reason)
            self.accepted = {}
            self._again_at = None
            self._not_before = self._monotonic() + _LONGEST_UNRESOLVED_SECONDS
            checks = list(self._checks.values())
        for check in checks:
            check.close(reason)

    def _checks_of_name_resolved_soon(self) -> list[ServerCheck]:
        """Return the checks; the name may stand for other addresses by now, so resolve it soon."""
        with self._lock:
            if self.accepted and not self._target.is_literal:
                soon = self._monotonic() + _AGAIN_SECONDS * _random_share()
                self._again_at = min(soon, self._again_at or soon)
            return list(self._checks.values())

    def _may_begin_round(self) -> bool:
        if not self._checks:
            return self._monotonic() >= self._not_before
        return any(item.may_probe for item in self._checks.values() if item.verified is None)

    def _begin_round(self) -> Future[None] | None:
        """Return the round that runs, begun now if none does; None if none can be begun."""
        if self._round is not None:
            return self._round
        done: Future[None] = Future()
        self._again_at = None
        try:
            threading.Thread(
                target=self._run, args=(done,), name="handfast-probes", daemon=True
            ).start()
        except RuntimeError as error:
            # The process is out of threads: a call that waits reports it, and may ask again.
            self._note_no_addresses(f"no thread could be started to verify it: {error}")
            return None
        self._round, self._is_settled = done, False
        return done

    def _run(self, done: Future[None]) -> None:
        try:
            self._resolve()
            self._probe_all(done)
        except Exception:
            # Any error in a round is a round that accepts no address.
            log.exception("probing %s failed", self.server)
        finally:
            with self._lock:
                self._round, self._is_settled = None, True
                self._plan_next_round()
            self._update_accepted()
            self._context.on_change()
            # Calls wait for this, some of them without a deadline.
            if not done.done():
                done.set_result(None)

    def _resolve(self) -> None:
        """Resolve the target; if that fails, keep the known addresses, as gRPC does."""
        try:
            addresses = self._target.addresses()
        except (OSError, UnicodeError) as error:
            with self._lock:
                self._note_no_addresses(
                    f"{self._target.text} was not resolved: {quote_untrusted(error)}"
                )
            return
        with self._lock:
            if self._closed is not None:
                return
            self._unresolved, self._unresolved_times = None, 0
            before = self._checks
            self._checks = {item: before.get(item) or self._new_check(item) for item in addresses}
            gone = [item for address, item in before.items() if address not in self._checks]
        for check in gone:
            check.close("its name does not stand for this address any more")
        self._update_accepted()

    def _note_no_addresses(self, message: str) -> None:
        times = self._unresolved_times = min(self._unresolved_times + 1, _MOST_DOUBLINGS)
        delay = min(_LONGEST_UNRESOLVED_SECONDS, _UNRESOLVED_SECONDS * 2**times)
        self._not_before = self._monotonic() + delay * _random_share()
        self._unresolved = server_unverified(str(self.server), _UNSPECIFIED, message)

    def _new_check(self, address: Address) -> ServerCheck:
        context = replace(self._context, on_change=self._check_changed)
        return ServerCheck(context, format_address(address), lambda: self._probe(address))

    def _probe_all(self, done: Future[None]) -> None:
        """Probe each address that is not accepted, a few at a time, and wait for none for long."""
        with self._lock:
            checks = [item for item in self._checks.values() if item.verified is None]
        probes: set[Future[None]] = set()
        for first in range(0, len(checks), _AT_ONCE):
            for check in checks[first : first + _AT_ONCE]:
                probing = check.request_probe()
                if probing is not None:
                    probes.add(probing)
            probes = self._wait(probes, done, _STEP_SECONDS)
        with self._lock:
            self._is_settled = True
        self._update_accepted()
        self._context.on_change()
        while probes and not self.accepted and self._closed is None:
            probes = self._wait(probes, done, _STEP_SECONDS)

    def _wait(
        self, probes: set[Future[None]], done: Future[None], seconds: float
    ) -> set[Future[None]]:
        """Wait for probes, and end the round for calls at the first success; return the rest."""
        end = self._monotonic() + seconds
        while probes:
            left = end - self._monotonic()
            if left <= 0:
                break
            probes = wait_for(probes, left, FIRST_COMPLETED).not_done
            self._update_accepted()
            if self.accepted and not done.done():
                # Most other addresses answer within the same milliseconds. Waiting for them avoids
                # a second connection.
                probes = wait_for(probes, min(_TOGETHER_SECONDS, max(0.0, left))).not_done
                self._update_accepted()
                self._context.on_change()
                done.set_result(None)
        return probes

    def _check_changed(self) -> None:
        self._update_accepted()
        with self._lock:
            is_settled = self._round is None or self._is_settled
            if self._round is None:
                self._plan_next_round()
        if is_settled or not self.accepted:
            self._context.on_change()

    def _plan_next_round(self) -> None:
        """Plan the next round: soon where an address is not accepted, and then less often."""
        if self._closed is not None or self._again_at is not None:
            return
        if self._unresolved is None and all(item.verified for item in self._checks.values()):
            self._failed_rounds = 0
            return
        self._failed_rounds = min(self._failed_rounds + 1, _MOST_DOUBLINGS)
        delay = min(_LONGEST_AGAIN_SECONDS, _AGAIN_SECONDS * 2 ** (self._failed_rounds - 1))
        self._again_at = self._monotonic() + delay * _random_share()

    def _update_accepted(self) -> None:
        with self._lock:
            if self._closed is not None:
                return
            accepted = {
                address: chain
                for address, item in self._checks.items()
                if (chain := item.verified) is not None
            }
            if accepted != self.accepted:
                self.accepted = accepted


def _is_rejection(refusal: Refusal) -> bool:
    return refusal.reason == ErrorReason.SERVER_CERTIFICATE_REJECTED


def _random_share() -> float:
    return random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret
