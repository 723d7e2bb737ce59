"""Finds out why a channel's handshakes fail, once, and says it in the errors of its calls.

gRPC says ``Socket closed`` when a server refuses our certificate. So when a call fails as in a
handshake, one of our own asks why. Healthy calls know nothing of it: only a call that has failed
waits, a moment at most, and one inquiry serves all that fail within half a minute.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeoutError

import grpc

from pki.clock import Clock
from pki.diagnosis import (
    EXPECTED_NAME,
    Observations,
    OwnCredential,
    Report,
    ServerExamination,
    check_observations,
    shake_hands,
)
from pki.failures import FAILURES
from pki.identity import SpiffeId
from pki.tls.target import Target
from pki.x509 import Credential

log = logging.getLogger("handfast.rpc")

_APART_SECONDS = 30.0
_WAIT_SECONDS = 1.5
_HANDSHAKE_SECONDS = 1.0
_ROOT, _CLOCK = "unknown-ca", "clock-skew"
_SIGNS = (
    "socket closed",
    "handshake",
    "ssl",
    "certificate",
    "hostname verification",
    "cannot check peer",
    "alpn",
    "connection reset",
    "closed by peer",
    "end of file",
)


class FailureExplainer:
    """Asks why, at most every half a minute.

    Args:
        ask: finds out, in words; empty where nothing is wrong that can be seen.
    """

    def __init__(self, ask: Callable[[], str]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._asking: Future[str] | None = None
        self._again_at = 0.0

    def concerns(self, code: object, details: str | None) -> bool:
        """Return whether a call failed as handshakes fail."""
        if code is not grpc.StatusCode.UNAVAILABLE or not details:
            return False
        lower = details.lower()
        return any(sign in lower for sign in _SIGNS)

    def words(self, remaining: float | None = None) -> str:
        """Return the cause, waiting a moment for it; empty where none is known by then.

        Args:
            remaining: the seconds that the call has left; None has no limit.
        """
        try:
            return self._begun().result(_patience(remaining))
        except WaitTimeoutError:
            return ""

    async def words_soon(self, remaining: float | None = None) -> str:
        """Return the cause as :meth:`words` does, without holding up the event loop."""
        try:
            asking = asyncio.wrap_future(self._begun())
            return await asyncio.wait_for(asking, _patience(remaining))
        except TimeoutError:
            return ""

    def _begun(self) -> Future[str]:
        with self._lock:
            if self._asking is None or time.monotonic() >= self._again_at:
                self._asking = Future()
                # Nobody may cancel it: others wait for it too.
                self._asking.set_running_or_notify_cancel()
                self._again_at = time.monotonic() + _APART_SECONDS
                asking = threading.Thread(
                    target=self._run, args=(self._asking,), name="handfast-inquiry", daemon=True
                )
                try:
                    asking.start()
                except RuntimeError:
                    # The process is out of threads: the call reads what gRPC says.
                    self._asking.set_result("")
            return self._asking

    def _run(self, found: Future[str]) -> None:
        words = ""
        try:
            words = self._ask()
            if words:
                log.warning("%s", words)
        except Exception:
            # The call has failed already; why is not known, and that is all.
            log.exception("finding out why a handshake fails has failed")
        finally:
            found.set_result(words)


def _patience(remaining: float | None) -> float:
    return _WAIT_SECONDS if remaining is None else max(0.0, min(_WAIT_SECONDS, remaining))


def why(target: Target, server: SpiffeId, credential: Credential, clock: Clock) -> str:
    """Find out why handshakes with a server fail, by one of our own.

    Args:
        target: where it is.
        server: who it must be.
        credential: what we show, and what we believe.
        clock: gives the time.

    Returns:
        A sentence with causes and remedy; empty where nothing is wrong.
    """
    own = OwnCredential(
        credential.chain,
        credential.key,
        credential.bundle.roots_of(server.trust_domain),
        credential.crls,
    )
    examination = ServerExamination(target, server, own, (), calls=False)
    seen = shake_hands(
        target,
        examination.server_name,
        own.certified_key,
        seconds=_HANDSHAKE_SECONDS,
        # As in a look: a stranger at the address is not shown who we are.
        roots=own.roots,
    )
    findings = check_observations(examination, Observations(seen, seen, None), clock())
    report = Report(target.text, tuple(findings))
    if report.causes:
        first = report.causes[0]
        assert first.failure is not None
        remedy = first.remedy or FAILURES[first.failure].remedy
        return f"{first.check}: {first.message}. {remedy}"
    if report.likely_causes:
        first = report.likely_causes[0]
        assert first.failure is not None
        remedy = first.remedy or FAILURES[first.failure].remedy
        clocks = next((item for item in report.likely_causes if item.failure == _CLOCK), None)
        if clocks is None or first.failure != _ROOT:
            return f"likely: {first.message}. {remedy}"
        # To us the two look alike: a server refuses both without a word.
        also = clocks.message.rpartition("; ")[2]
        return f"likely: {first.message}; or {also}. {remedy} {FAILURES[_CLOCK].remedy}"
    # To others it may be well, as they check the SPIFFE ID; our channels pin a DNS name.
    unpinned = (item for item in report.findings if item.check == EXPECTED_NAME and item.failure)
    return next((f"{item.check}: {item.message}. {item.remedy}" for item in unpinned), "")
