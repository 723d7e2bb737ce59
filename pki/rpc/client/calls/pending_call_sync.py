"""Calls of synchronous channels that begin once the server is verified: streams, and futures.

gRPC returns such a call at once, and the caller reads its result later. So does this one: a thread
of its own waits for the server.
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

from pki.rpc.client.calls.call_sync import LocalCallError
from pki.rpc.client.calls.deadline import deadline


class SyncPendingCall(grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """A call that begins when the server is verified; it is read like gRPC's own calls.

    Args:
        begin: waits until the server is verified, and returns the call that has begun.
        timeout: the seconds that the call has in all; None: no limit.
    """

    def __init__(self, begin: Callable[[], Any], timeout: float | None) -> None:
        self._end = deadline(timeout)
        self._lock = threading.Lock()
        self._begun: Future[Any] = Future()
        self._was_cancelled = False
        # The caller's context, with its span for example, belongs to the call.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._run, begin), name="handfast-call", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            # The process is out of threads: the call ends, and its caller goes on.
            message = f"no thread could be started to wait for the server: {error}"
            self._begun.set_exception(LocalCallError(grpc.StatusCode.RESOURCE_EXHAUSTED, message))

    def __iter__(self) -> Iterator[Any]:
        """Return self."""
        return self

    def __next__(self) -> Any:
        """Read one message."""
        return next(self._begun.result())

    def is_active(self) -> bool:
        """Return whether the call runs, or waits."""
        call = self._call()
        return not self._begun.done() if call is None else bool(call.is_active())

    def time_remaining(self) -> Any:
        """Return the seconds until the deadline; None without one."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def cancel(self) -> bool:
        """Cancel the call."""
        with self._lock:
            waiting = not self._begun.done()
            if waiting:
                self._was_cancelled = True
                self._begun.set_exception(
                    LocalCallError(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
                )
        call = self._call()
        return waiting if call is None else bool(call.cancel())

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call a function when the call has ended; return False if it has ended already."""
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
        return self._status().initial_metadata()

    def trailing_metadata(self) -> Any:
        """Return the server's trailing metadata."""
        return self._status().trailing_metadata()

    def code(self) -> Any:
        """Return the status code."""
        return self._status().code()

    def details(self) -> Any:
        """Return the message of the status."""
        return self._status().details()

    def debug_error_string(self) -> Any:
        """Return gRPC's own error text."""
        return self._status().debug_error_string()

    def cancelled(self) -> bool:
        """Return whether the caller cancelled the call."""
        call = self._call()
        return self._was_cancelled if call is None else bool(call.cancelled())

    def running(self) -> bool:
        """Return whether the call runs, or waits."""
        return not self.done()

    def done(self) -> bool:
        """Return whether the call has ended."""
        call = self._call()
        return self._begun.done() if call is None else bool(call.done())

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the response."""
        end = None if timeout is None else time.monotonic() + timeout
        error = self._failure(timeout)
        if error is not None:
            raise error
        return self._begun.result().result(_left(end))

    def exception(self, timeout: float | None = None) -> Any:
        """Wait for the error; return None if there was a response."""
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
        """Call a function with this call when the call has ended."""

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
            # The caller reads it, whatever it is.
            with self._lock:
                if not self._begun.done():
                    self._begun.set_exception(error)
            return
        with self._lock:
            is_wanted = not self._begun.done()
            if is_wanted:
                self._begun.set_result(call)
        if not is_wanted:
            # OpenTelemetry's instrumentation returns a plain generator for a stream of responses.
            (call.cancel if hasattr(call, "cancel") else call.close)()

    def _call(self) -> Any:
        """Return the call that has begun; None if it has not."""
        if self._begun.done() and self._begun.exception() is None:
            return self._begun.result()
        return None

    def _failure(self, timeout: float | None) -> BaseException | None:
        """Wait until the call has begun; return the error if it could not."""
        try:
            error = self._begun.exception(timeout)
        except WaitTimeoutError:
            raise grpc.FutureTimeoutError from None
        if self._was_cancelled:
            raise grpc.FutureCancelledError
        return error

    def _status(self) -> Any:
        """Return what has the status: the call that has begun, or the error that prevented it."""
        error = self._begun.exception()
        if error is None:
            return self._begun.result()
        if isinstance(error, LocalCallError):
            return error
        raise error


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())
