"""Calls of synchronous channels that run on a connection, and the errors that they raise.

They are read like gRPC's own calls. When the connection ends under a call, gRPC reports a
cancellation that nobody requested: the caller reads ``UNAVAILABLE`` with the reason instead.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access.refusal import Refusal
from pki.errors import remake_error
from pki.rpc.client.active_streams import ClientStreams
from pki.rpc.client.connection import Connection
from pki.rpc.client.failure_explainer import FailureExplainer
from pki.rpc.status import status_code, trailing_metadata


class LocalCallError(grpc.RpcError):
    """The error of a call that ended on this side; it is read like any ``grpc.RpcError``.

    Args:
        code: the status code.
        message: the message of the status.
        metadata: the trailing metadata.
    """

    def __init__(
        self, code: grpc.StatusCode, message: str, metadata: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        super().__init__(message)
        self._code = code
        self._message = message
        self._metadata = metadata

    def __reduce__(self) -> tuple[object, ...]:
        """Let pickle carry it to another process."""
        return remake_error, (type(self), self.args), self.__dict__

    def code(self) -> grpc.StatusCode:
        """Return the status code."""
        return self._code

    def details(self) -> str:
        """Return the message of the status."""
        return self._message

    def debug_error_string(self) -> str:
        """Return the message of the status."""
        return self._message

    def initial_metadata(self) -> Any:
        """Return no metadata: no server answered."""
        return ()

    def trailing_metadata(self) -> Any:
        """Return the trailing metadata, with the structured status if there is one."""
        return self._metadata


class ExplainedCallError(LocalCallError):
    """The error of a call that failed in the handshake; its details name the cause.

    Args:
        error: gRPC's own error.
        cause: the cause.
    """

    def __init__(self, error: Any, cause: str) -> None:
        details = f"{error.details()}; {cause}"
        super().__init__(error.code(), details, error.trailing_metadata() or ())
        self._debug = error.debug_error_string()

    def debug_error_string(self) -> str:
        """Return gRPC's own error text."""
        return str(self._debug)


def to_rpc_error(refusal: Refusal) -> LocalCallError:
    """Return the error for a call that was refused on this side."""
    return LocalCallError(status_code(refusal), refusal.message, trailing_metadata(refusal))


def translate_error(
    error: grpc.RpcError,
    connection: Connection[grpc.Channel],
    remaining: float | None,
    refusal: Refusal | None = None,
) -> grpc.RpcError:
    """Return the error that the caller reads.

    Args:
        error: gRPC's own error.
        connection: the connection; it may have ended under the call, or was never made.
        remaining: the seconds that the call has left; None: no limit.
        refusal: why the call alone was ended on this side, if it was.
    """
    code = error.code() if isinstance(error, grpc.Call) else None
    refusal = refusal or connection.end_reason()
    if code is grpc.StatusCode.CANCELLED and refusal is not None:
        return to_rpc_error(refusal)
    cause = ""
    if code is grpc.StatusCode.UNAVAILABLE:
        cause = explain_failure(error, connection, remaining)
    return ExplainedCallError(error, cause) if cause else error


def explain_failure(
    call: Any, connection: Connection[grpc.Channel], remaining: float | None
) -> str:
    """Return why a call failed, if it failed in a handshake; empty if that is not known."""
    explainer = connection.explainer
    if explainer is None or not explainer.concerns(call.code(), call.details()):
        return ""
    return explainer.explain(remaining)


def no_connection_error(
    refusal: Refusal, explainer: FailureExplainer | None, remaining: float | None
) -> LocalCallError:
    """Return the error for a call for which there is no connection, with the cause if it is known.

    Args:
        refusal: why there is no connection.
        explainer: finds the cause; None to leave it out.
        remaining: the seconds that the call has left; None: no limit.
    """
    cause = ""
    if explainer is not None and refusal.reason == ErrorReason.SERVER_UNVERIFIED:
        cause = explainer.explain(remaining)
    return to_rpc_error(refusal.with_cause(cause))


def bind_call(
    call: Any,
    connection: Connection[grpc.Channel],
    method: str | bytes,
    streams: ClientStreams,
) -> Any:
    """Return a call that has begun, in a form that holds its connection until the call ends.

    Args:
        call: gRPC's own call.
        connection: the connection.
        method: the path of its method.
        streams: the streams of the channel.
    """
    if hasattr(call, "add_callback"):
        return SyncBoundCall(call, connection, method, streams)
    # OpenTelemetry's instrumentation returns a plain generator for a stream of responses; so do we.
    at_end: list[Callable[[], object]] = []
    responses = _read_responses(call, connection, at_end)
    # Released once: when all responses were read, or when the generator is dropped.
    release = weakref.finalize(responses, connection.release)
    release.atexit = False
    at_end.append(release)
    return responses


def _read_responses(
    responses: Iterator[Any],
    connection: Connection[grpc.Channel],
    at_end: list[Callable[[], object]],
) -> Iterator[Any]:
    try:
        yield from responses
    except grpc.RpcError as error:
        raise translate_error(error, connection, None) from None
    finally:
        for step in at_end:
            step()


class SyncBoundCall(grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """A call that runs on one connection: a stream of responses, or a future response.

    Args:
        call: gRPC's own call.
        connection: the connection, held until the call has ended.
        method: the path of its method.
        streams: the streams of the channel; the call is one of them until it ends.
    """

    def __init__(
        self,
        call: Any,
        connection: Connection[grpc.Channel],
        method: str | bytes,
        streams: ClientStreams,
    ) -> None:
        self.method = method
        self._call = call
        self._connection = connection
        self._cancelled = False
        self._refused: Refusal | None = None
        streams.add(self)
        weak = weakref.ref(self)

        def release() -> None:
            # gRPC holds this function until the call ends. It must not hold the call, or a call
            # that its caller has dropped would never be cancelled.
            connection.release()
            ended_call = weak()
            if ended_call is not None:
                streams.remove(ended_call)

        if not call.add_callback(release):
            release()

    def end(self, refusal: Refusal) -> None:
        """End the call; its caller reads the refusal."""
        self._refused = refusal
        self._call.cancel()

    def __iter__(self) -> Iterator[Any]:
        """Return self."""
        return self

    def __next__(self) -> Any:
        """Read one message."""
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise self._translate(error) from None

    def is_active(self) -> bool:
        """Return whether the call runs."""
        return bool(self._call.is_active())

    def time_remaining(self) -> Any:
        """Return the seconds until the deadline; None without one."""
        return self._call.time_remaining()

    def cancel(self) -> Any:
        """Cancel the call."""
        self._cancelled = True
        return self._call.cancel()

    def add_callback(self, callback: Any) -> Any:
        """Call a function when the call has ended; return False if it has ended already."""
        return self._call.add_callback(callback)

    def initial_metadata(self) -> Any:
        """Return the server's initial metadata."""
        return self._call.initial_metadata()

    def trailing_metadata(self) -> Any:
        """Return the server's trailing metadata."""
        refusal = self._refusal()
        return self._call.trailing_metadata() if refusal is None else trailing_metadata(refusal)

    def code(self) -> Any:
        """Return the status code."""
        refusal = self._refusal()
        return self._call.code() if refusal is None else status_code(refusal)

    def details(self) -> Any:
        """Return the message of the status."""
        refusal = self._refusal()
        if refusal is not None:
            return refusal.message
        details = self._call.details()
        cause = "" if self._cancelled else self._explain()
        return f"{details}; {cause}" if cause else details

    def debug_error_string(self) -> Any:
        """Return gRPC's own error text."""
        return self._call.debug_error_string()

    def cancelled(self) -> bool:
        """Return whether the caller cancelled the call; False if the channel ended it."""
        return bool(self._call.cancelled()) and self._end_reason() is None

    def running(self) -> bool:
        """Return whether the call runs."""
        return bool(self._call.running())

    def done(self) -> bool:
        """Return whether the call has ended."""
        return bool(self._call.done())

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the response."""
        try:
            return self._call.result(timeout)
        except grpc.FutureCancelledError:
            reason = self._end_reason()
            if reason is None:
                raise
            raise to_rpc_error(reason) from None
        except grpc.RpcError as error:
            raise self._translate(error) from None

    def exception(self, timeout: float | None = None) -> Any:
        """Wait for the error; return None if there was a response."""
        try:
            error = self._call.exception(timeout)
        except grpc.FutureCancelledError:
            reason = self._end_reason()
            if reason is None:
                raise
            return to_rpc_error(reason)
        return self._translate(error) if isinstance(error, grpc.RpcError) else error

    def traceback(self, timeout: float | None = None) -> Any:
        """Wait for the error's traceback."""
        try:
            return self._call.traceback(timeout)
        except grpc.FutureCancelledError:
            if self._end_reason() is None:
                raise
            return None

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call a function with this call when the call has ended."""
        self._call.add_done_callback(lambda _: fn(self))

    def _end_reason(self) -> Refusal | None:
        """Return why the call was ended on this side, other than by its caller."""
        return None if self._cancelled else self._refused or self._connection.end_reason()

    def _refusal(self) -> Refusal | None:
        """Wait for the end; return why the call was ended on this side, if that ended it."""
        was_cancelled = self._call.code() is grpc.StatusCode.CANCELLED
        return self._end_reason() if was_cancelled else None

    def _translate(self, error: grpc.RpcError) -> grpc.RpcError:
        # gRPC raises the call itself; so do we where there is nothing to translate.
        if self._cancelled:
            return error
        return translate_error(error, self._connection, self._call.time_remaining(), self._refused)

    def _explain(self) -> str:
        return explain_failure(self._call, self._connection, self._call.time_remaining())
