"""Counts what the CA is asked for, and how that ends."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import wraps
from typing import Any, Final, TypeVar

import grpc

from pki.error_info import read_reason

_Servicer = TypeVar("_Servicer")
OK: Final = "OK"
CANCELLED: Final = "CANCELLED"
WATCH: Final = "WatchTrust"


class RequestCounters:
    """The numbers of a CA that is served. Safe for use by several threads.

    Operations are the methods that a handler has, and results are ``OK``, ``CANCELLED``, and the
    reasons of ``CaErrorReason``: no caller chooses one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._followers = self._issued = 0
        self.last_issue: datetime | None = None
        """When the last certificate was issued; None for never in this process."""
        self.lists_signed: datetime | None = None
        """When revocation lists were last signed, or found to need no signature."""
        self.lists_failed: datetime | None = None
        """When that failed last; None for never."""

    def requests(self) -> dict[tuple[str, str], int]:
        """Return how many requests ended, by operation and result."""
        with self._lock:
            return dict(self._requests)

    @property
    def followers(self) -> int:
        """How many streams follow the CA now."""
        return self._followers

    @property
    def issued(self) -> int:
        """How many certificates were issued, without those that were handed out again."""
        return self._issued

    def count_issued(self, now: datetime) -> None:
        """Count a new certificate."""
        with self._lock:
            self._issued += 1
            self.last_issue = now

    def watched(self, servicer: _Servicer) -> _Servicer:
        """Return a servicer that counts each call of its methods; change and return the same one.

        Calls that are refused before a handler runs (by the CA's policy) are not seen here.
        """
        for name, method in inspect.getmembers(servicer, inspect.ismethod):
            if name[:1].isupper():
                counted = self._stream if inspect.isasyncgenfunction(method) else self._unary
                setattr(servicer, name, counted(name, method))
        return servicer

    def _unary(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        @wraps(method)
        async def call(request: Any, context: Any) -> Any:
            result = CANCELLED
            try:
                answer = await method(request, context)
                result = OK
            except Exception:
                result = _result(context)
                raise
            finally:
                self._count(name, result)
            return answer

        return call

    def _stream(self, name: str, method: Callable[..., AsyncIterator[Any]]) -> Callable[..., Any]:
        @wraps(method)
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            result = CANCELLED
            with self._lock:
                self._followers += name == WATCH
            try:
                async for message in method(request, context):
                    yield message
                result = OK
            except Exception:
                result = _result(context)
                raise
            finally:
                with self._lock:
                    self._followers -= name == WATCH
                self._count(name, result)

        return call

    def _count(self, operation: str, result: str) -> None:
        with self._lock:
            self._requests[operation, result] += 1


def _result(context: Any) -> str:
    """Return the reason with which a call was ended; ``INTERNAL`` for an error of our own."""
    reason = read_reason(context.trailing_metadata() or ())
    return reason or grpc.StatusCode.INTERNAL.name
