"""Finds out why a channel's handshakes fail, once, for the errors of all its calls.

gRPC says ``Socket closed`` when a server refuses our certificate. So when a call fails as calls do
in a handshake, a handshake of our own finds the cause. Successful calls are not affected: only a
call that has failed waits, for a moment at most, and one diagnosis serves all calls that fail
within half a minute.
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

log = logging.getLogger("handfast.rpc")

_APART_SECONDS = 30.0
_WAIT_SECONDS = 1.5
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
    """Explains why handshakes fail, with one diagnosis every half a minute at most.

    Args:
        diagnose: returns the cause and the remedy; empty if no fault was observed.
    """

    def __init__(self, diagnose: Callable[[], str]) -> None:
        self._diagnose = diagnose
        self._lock = threading.Lock()
        self._diagnosis: Future[str] | None = None
        self._again_at = 0.0

    def concerns(self, code: object, details: str | None) -> bool:
        """Return whether the error of a call looks like that of a failed handshake."""
        if code is not grpc.StatusCode.UNAVAILABLE or not details:
            return False
        lower = details.lower()
        return any(sign in lower for sign in _SIGNS)

    def explain(self, remaining: float | None = None) -> str:
        """Return the cause, after a moment's wait; empty if it is not known by then.

        Args:
            remaining: the seconds that the call has left; None: no limit.
        """
        try:
            return self._begin().result(_patience(remaining))
        except WaitTimeoutError:
            return ""

    async def explain_async(self, remaining: float | None = None) -> str:
        """Return the cause as :meth:`explain` does, without holding up the event loop."""
        try:
            diagnosis = asyncio.wrap_future(self._begin())
            return await asyncio.wait_for(diagnosis, _patience(remaining))
        except TimeoutError:
            return ""

    def _begin(self) -> Future[str]:
        with self._lock:
            if self._diagnosis is None or time.monotonic() >= self._again_at:
                self._diagnosis = Future()
                # One caller must not cancel it: others wait for it too.
                self._diagnosis.set_running_or_notify_cancel()
                self._again_at = time.monotonic() + _APART_SECONDS
                thread = threading.Thread(
                    target=self._run, args=(self._diagnosis,), name="handfast-explain", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:
                    # The process is out of threads: the call reports what gRPC says.
                    self._diagnosis.set_result("")
            return self._diagnosis

    def _run(self, diagnosis: Future[str]) -> None:
        explanation = ""
        try:
            explanation = self._diagnose()
            if explanation:
                log.warning("%s", explanation)
        except Exception:
            # The call has failed already; only its cause is not known.
            log.exception("the diagnosis of a failed handshake raised an error")
        finally:
            diagnosis.set_result(explanation)


def _patience(remaining: float | None) -> float:
    return _WAIT_SECONDS if remaining is None else max(0.0, min(_WAIT_SECONDS, remaining))
