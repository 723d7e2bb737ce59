"""Calls of synchronous channels that begin once the server was seen: streams, and futures.

gRPC gives such a call back at once, and it tells of its end when it is read. So does this one: a
thread of its own waits for the server.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeoutError
from typing import Any

import grpc

from pki.rpc.client.call_sync import LocalCallError
from pki.rpc.client.deadline import deadline


class SyncPendingCall(grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """A call that has perhaps not begun yet. Read as gRPC's own.

    Args:
        begin: waits until the server was seen, and gives the call that has begun.
        timeout: the seconds that it has in all; None has no limit.
    """

    def __init__(self, begin: Callable[[], Any], timeout: float | None) -> None:
        self._end = deadline(timeout)
        self._lock = threading.Lock()
        self._begun: Future[Any] = Future()
        self._given_up = False
        # What the caller's context holds, e.g. a span, belongs to the call.
        context = contextvars.copy_context()
        waiting = threading.Thread(
            target=context.run, args=(self._run, begin), name="handfast-call", daemon=True
        )
        try:
            waiting.start()
        except RuntimeError as error:
            # The process is out of threads: that is the call's end, and not its caller's.
            words = f"no thread could be begun to wait for the server: {error}"
            self._begun.set_exception(LocalCallError(grpc.StatusCode.RESOURCE_EXHAUSTED, words))

    def __iter__(self) -> Iterator[Any]:
        """Return self."""
        return self

    def __next__(self) -> Any:
        """Read one message."""
        return next(self._begun.result())

    def is_active(self) -> bool:
        """Return whether it runs, or waits."""
        call = self._call()
        return not self._begun.done() if call is None else bool(call.is_active())

    def time_remaining(self) -> Any:
        """Return the seconds until its deadline."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def cancel(self) -> bool:
        """Cancel it."""
        with self._lock:
            waiting = not self._begun.done()
            if waiting:
                self._given_up = True
                self._begun.set_exception(
                    LocalCallError(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
                )
        call = self._call()
        return waiting if call is None else bool(call.cancel())

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have a function called when it has ended; False if it has."""
        call = self._call()
        if call is not None:
            return bool(call.add_callback(callback))
        if self._begun.done():
            return False

        def pass_on(_: Future[Any]) -> None:
            begun = self._call()
            if begun is None or not begun.add_callback(callback):
                callback()

        self._begun.add_done_callback(pass_on)
        return True

    def initial_metadata(self) -> Any:
        """Return the server's initial metadata."""
        return self._outcome().initial_metadata()

    def trailing_metadata(self) -> Any:
        """Return the server's trailing metadata."""
        return self._outcome().trailing_metadata()

    def code(self) -> Any:
        """Return the status code."""
        return self._outcome().code()

    def details(self) -> Any:
        """Return the words of the status."""
        return self._outcome().details()

    def debug_error_string(self) -> Any:
        """Return gRPC's own words."""
        return self._outcome().debug_error_string()

    def cancelled(self) -> bool:
        """Return whether its caller cancelled it."""
        call = self._call()
        return self._given_up if call is None else bool(call.cancelled())

    def running(self) -> bool:
        """Return whether it runs, or waits."""
        return not self.done()

    def done(self) -> bool:
        """Return whether it has ended."""
        call = self._call()
        return self._begun.done() if call is None else bool(call.done())

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the answer."""
        end = None if timeout is None else time.monotonic() + timeout
        error = self._failure(timeout)
        if error is not None:
            raise error
        return self._begun.result().result(_left(end))

    def exception(self, timeout: float | None = None) -> Any:
        """Wait for the error; None if it answered."""
        end = None if timeout is None else time.monotonic() + timeout
        error = self._failure(timeout)
        return self._begun.result().exception(_left(end)) if error is None else error

    def traceback(self, timeout: float | None = None) -> Any:
        """Wait for the error's traceback."""
        end = None if timeout is None else time.monotonic() + timeout
        error = self._failure(timeout)
        if error is not None:
            return error.__traceback__
        return self._begun.result().traceback(_left(end))

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Have a function called with this call when it has ended."""

        def pass_on(_: Future[Any]) -> None:
            call = self._call()
            if call is None:
                fn(self)
            else:
                call.add_done_callback(lambda _: fn(self))

        self._begun.add_done_callback(pass_on)

    def _run(self, begin: Callable[[], Any]) -> None:
        try:
            call = begin()
        except BaseException as error:
            # Whoever reads the call gets it, whatever it is.
            with self._lock:
                if not self._begun.done():
                    self._begun.set_exception(error)
            return
        with self._lock:
            wanted = not self._begun.done()
            if wanted:
                self._begun.set_result(call)
        if not wanted:
            # OpenTelemetry's instrumentation gives a plain generator for a stream of answers.
            (call.cancel if hasattr(call, "cancel") else call.close)()

    def _call(self) -> Any:
        """Return the call that has begun; None if none has."""
        if self._begun.done() and self._begun.exception() is None:
            return self._begun.result()
        return None

    def _failure(self, timeout: float | None) -> BaseException | None:
        """Wait until it has begun; give why it never did, if so."""
        try:
            error = self._begun.exception(timeout)
        except WaitTimeoutError:
            raise grpc.FutureTimeoutError from None
        if self._given_up:
            raise grpc.FutureCancelledError
        return error

    def _outcome(self) -> Any:
        """Return what tells the status: the call that has begun, or the error that kept it."""
        error = self._begun.exception()
        if error is None:
            return self._begun.result()
        if isinstance(error, LocalCallError):
            return error
        raise error


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())
