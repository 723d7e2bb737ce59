"""Keeps a health servicer's answer true: serving only while a call could succeed."""

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
    """Sets the status of services whenever a workload can't serve, or can again.

    Args:
        servicer: the health servicer, of either kind. For the asyncio kind this is made on the
            event loop that it serves on.
        services: the names whose status is kept; the empty one stands for the whole server.
        can_serve: tells whether calls can succeed now.
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
        self._told: bool | None = None
        self._loop = (
            asyncio.get_running_loop() if inspect.iscoroutinefunction(servicer.set) else None
        )
        self._ticker = PeriodicTask(_SECONDS, self._tick, "handfast-health")

    def start(self) -> None:
        """Begin."""
        self._ticker.start()

    def close(self, seconds: float) -> None:
        """Report that nothing is served any more, and end; wait for so long."""
        self._ticker.wait_done(self._ticker.wake(), seconds)
        self._ticker.stop(seconds)

    def _tick(self) -> None:
        can_serve = self._can_serve()
        if can_serve is self._told:
            return
        status = _SERVING if can_serve else _NOT_SERVING
        for service in self._services:
            answer = self._servicer.set(service, status)
            if self._loop is not None:
                asyncio.run_coroutine_threadsafe(answer, self._loop).result(_SET_SECONDS)
        self._told = can_serve
        defer(log.warning if not can_serve else log.info, "health: %s", _word_of(can_serve))


def _word_of(can_serve: bool) -> str:
    return "SERVING" if can_serve else "NOT_SERVING"
