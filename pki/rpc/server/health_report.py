"""Keeps the status of a health servicer true: serving only while a call can succeed."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pki.background import defer
from pki.credentials.periodic import PeriodicTask

log = logging.getLogger("handfast.rpc")

# grpc.health.v1.HealthCheckResponse.ServingStatus
_SERVING, _NOT_SERVING = 1, 2
_SECONDS = 0.25
_SET_SECONDS = 5.0


class HealthServicer(Protocol):
    """``grpc_health.v1.health.HealthServicer`` or its asyncio kind."""

    def set(self, service: str, status: Any) -> Any:
        """Set a service's status; a coroutine in the asyncio kind."""


class HealthReport:
    """Sets the status of services when a workload can't serve any more, or can again.

    Args:
        servicer: the health servicer, of either kind. For the asyncio kind, make this object on the
            event loop that the servicer runs on.
        services: the names whose status is set; the empty name stands for the whole server.
        can_serve: returns whether calls can succeed now.
    """

    def __init__(
        self,
        servicer: HealthServicer,
        services: Iterable[str],
        can_serve: Callable[[], bool],
    ) -> None:
        self._servicer = servicer
        self._services = tuple(services)
        self._can_serve = can_serve
        self._reported: bool | None = None
        self._closing = False
        self._loop = (
            asyncio.get_running_loop() if inspect.iscoroutinefunction(servicer.set) else None
        )
        self._task = PeriodicTask(_SECONDS, self._update, "handfast-health")

    def start(self) -> None:
        """Start the thread."""
        self._task.start()

    def close(self, seconds: float) -> None:
        """Report that nothing is served any more, then stop the thread; wait this long.

        On the event loop of an asyncio servicer nobody can wait for the report: then the thread
        stops by itself once the loop has run it.
        """
        self._closing = True
        if self._task.wait_done(self._task.wake(), seconds):
            self._task.stop(seconds)

    def _update(self) -> None:
        try:
            self._report()
        finally:
            if self._closing:
                self._task.stop(0)

    def _report(self) -> None:
        can_serve = self._can_serve()
        if can_serve is self._reported:
            return
        status = _SERVING if can_serve else _NOT_SERVING
        for service in self._services:
            result = self._servicer.set(service, status)
            if self._loop is not None:
                asyncio.run_coroutine_threadsafe(result, self._loop).result(_SET_SECONDS)
        self._reported = can_serve
        defer(
            # Whoever closes the workload knows.
            log.info if can_serve or self._closing else log.warning,
            "health%s: %s",
            f" of {', '.join(named)}"
            if (named := [name for name in self._services if name])
            else "",
            "SERVING" if can_serve else "NOT_SERVING",
        )
