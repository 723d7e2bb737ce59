"""Calls of synchronous channels: held by their connection, and what they raise when it ends.

They are read as gRPC's own. When the connection ends under a call, gRPC reports a cancellation,
which nobody asked for: the caller reads ``UNAVAILABLE`` with the reason instead.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access.refusal import Refusal
from pki.rpc.client.active_streams import ClientStreams
from pki.rpc.client.failure_explainer import FailureExplainer
from pki.rpc.client.rotation import Connection


class LocalCallError(grpc.RpcError):
    """A call that ended on this side; read as any ``grpc.RpcError``.

    Args:
        code: the status code.
        words: the words of the status.
        metadata: its trailing metadata.
    """

    def __init__(
        self, code: grpc.StatusCode, words: str, metadata: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        super().__init__(words)
        self._code = code
        self._words = words
        self._metadata = metadata

    @classmethod
    def of(cls, refusal: Refusal) -> LocalCallError:
        """Make the error of a refusal."""
        return cls(refusal.code, refusal.message, refusal.trailing_metadata())

    def code(self) -> grpc.StatusCode:
        """Return the status code."""
        return self._code

    def details(self) -> str:
        """Return the words."""
        return self._words

    def debug_error_string(self) -> str:
        """Return the words."""
        return self._words

    def initial_metadata(self) -> Any:
        """Return nothing: nobody answered."""
        return ()

    def trailing_metadata(self) -> Any:
        """Return the structured status."""
        return self._metadata


class ExplainedCallError(LocalCallError):
    """A call that failed in the handshake; its details say why.

    Args:
        error: gRPC's own.
        words: why.
    """

    def __init__(self, error: Any, words: str) -> None:
        details = f"{error.details()}; {words}"
        super().__init__(error.code(), details, error.trailing_metadata() or ())
        self._debug = error.debug_error_string()

    def debug_error_string(self) -> str:
        """Return gRPC's own words."""
        return str(self._debug)


def ended(
    error: grpc.RpcError,
    generation: Connection[grpc.Channel],
    remaining: float | None,
    refusal: Refusal | None = None,
) -> grpc.RpcError:
    """Return what the caller of a call shall read.

    Args:
        error: gRPC's own.
        generation: the connection; it may have ended under the call, or never come about.
        remaining: the seconds that the call has left; None has no limit.
        refusal: why the call alone was ended on this side, if it was.
    """
    code = error.code() if isinstance(error, grpc.Call) else None
    refusal = refusal or generation.why_ended()
    if code is grpc.StatusCode.CANCELLED and refusal is not None:
        return LocalCallError.of(refusal)
    words = explanation(error, generation, remaining) if code is grpc.StatusCode.UNAVAILABLE else ""
    return ExplainedCallError(error, words) if words else error


def explanation(call: Any, generation: Connection[grpc.Channel], remaining: float | None) -> str:
    """Return why a call failed, if it failed as handshakes fail; empty where nothing is known."""
    inquiry = generation.inquiry
    if inquiry is None or not inquiry.concerns(call.code(), call.details()):
        return ""
    return inquiry.words(remaining)


def turned_away(
    refusal: Refusal, inquiry: FailureExplainer | None, remaining: float | None
) -> LocalCallError:
    """Make the error of a call for which there is no connection, and say why, if that is known.

    Args:
        refusal: what is known already.
        inquiry: finds out why; None where nobody wants to know.
        remaining: the seconds that the call has left; None has no limit.
    """
    unseen = refusal.reason == ErrorReason.SERVER_UNVERIFIED
    words = inquiry.words(remaining) if inquiry is not None and unseen else ""
    return LocalCallError.of(refusal.because(words))


def held(
    call: Any,
    generation: Connection[grpc.Channel],
    method: str | bytes,
    streams: ClientStreams,
) -> Any:
    """Return the caller's view of a call that has begun, which holds its connection until it ends.

    Args:
        call: gRPC's own.
        generation: the connection.
        method: its path.
        streams: those of the channel.
    """
    if hasattr(call, "add_callback"):
        return SyncBoundCall(call, generation, method, streams)
    # OpenTelemetry's instrumentation gives a plain generator for a stream of answers; so do we.
    over: list[Callable[[], object]] = []
    found = _read_through(call, generation, over)
    # It is let go of once: when it has been read to its end, or is given up.
    leave = weakref.finalize(found, generation.leave)
    leave.atexit = False
    over.append(leave)
    return found


def _read_through(
    items: Iterator[Any], generation: Connection[grpc.Channel], over: list[Callable[[], object]]
) -> Iterator[Any]:
    try:
        yield from items
    except grpc.RpcError as error:
        raise ended(error, generation, None) from None
    finally:
        for tell in over:
            tell()


class SyncBoundCall(grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """A call that runs on one connection: a stream of answers, or an answer that comes later.

    Args:
        call: gRPC's own.
        generation: the connection, held until the call has ended.
        method: its path.
        streams: those of the channel; it is among them until it ends.
    """

    def __init__(
        self,
        call: Any,
        generation: Connection[grpc.Channel],
        method: str | bytes,
        streams: ClientStreams,
    ) -> None:
        self.method = method
        self._call = call
        self._generation = generation
        self._cancelled = False
        self._ended: Refusal | None = None
        streams.add(self)
        weak = weakref.ref(self)

        def leave() -> None:
            # Held by gRPC until the call ends: it must not hold this one, or no call that its
            # caller has dropped would ever be cancelled.
            generation.leave()
            ended_call = weak()
            if ended_call is not None:
                streams.discard(ended_call)

        if not call.add_callback(leave):
            leave()

    def end(self, refusal: Refusal) -> None:
        """End it, and have its caller read why."""
        self._ended = refusal
        self._call.cancel()

    def __iter__(self) -> Iterator[Any]:
        """Return self."""
        return self

    def __next__(self) -> Any:
        """Read one message."""
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise self._read(error) from None

    def is_active(self) -> bool:
        """Return whether it runs."""
        return bool(self._call.is_active())

    def time_remaining(self) -> Any:
        """Return the seconds until its deadline."""
        return self._call.time_remaining()

    def cancel(self) -> Any:
        """Cancel it."""
        self._cancelled = True
        return self._call.cancel()

    def add_callback(self, callback: Any) -> Any:
        """Have a function called when it has ended; False if it has."""
        return self._call.add_callback(callback)

    def initial_metadata(self) -> Any:
        """Return the server's initial metadata."""
        return self._call.initial_metadata()

    def trailing_metadata(self) -> Any:
        """Return the server's trailing metadata."""
        refusal = self._refusal()
        return self._call.trailing_metadata() if refusal is None else refusal.trailing_metadata()

    def code(self) -> Any:
        """Return the status code."""
        refusal = self._refusal()
        return self._call.code() if refusal is None else refusal.code

    def details(self) -> Any:
        """Return the words of the status."""
        refusal = self._refusal()
        if refusal is not None:
            return refusal.message
        details = self._call.details()
        words = "" if self._cancelled else self._explanation()
        return f"{details}; {words}" if words else details

    def debug_error_string(self) -> Any:
        """Return gRPC's own words."""
        return self._call.debug_error_string()

    def cancelled(self) -> bool:
        """Return whether its caller cancelled it."""
        return bool(self._call.cancelled())

    def running(self) -> bool:
        """Return whether it runs."""
        return bool(self._call.running())

    def done(self) -> bool:
        """Return whether it has ended."""
        return bool(self._call.done())

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the answer."""
        try:
            return self._call.result(timeout)
        except grpc.RpcError as error:
            raise self._read(error) from None

    def exception(self, timeout: float | None = None) -> Any:
        """Wait for the error; None if it answered."""
        found = self._call.exception(timeout)
        return self._read(found) if isinstance(found, grpc.RpcError) else found

    def traceback(self, timeout: float | None = None) -> Any:
        """Wait for the error's traceback."""
        return self._call.traceback(timeout)

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Have a function called with this call when it has ended."""
        self._call.add_done_callback(lambda _: fn(self))

    def _refusal(self) -> Refusal | None:
        """Wait for the end, and give why it was ended on this side, if that ended the call."""
        found = self._call.code()
        if self._cancelled or found is not grpc.StatusCode.CANCELLED:
            return None
        return self._ended or self._generation.why_ended()

    def _read(self, error: grpc.RpcError) -> grpc.RpcError:
        # gRPC raises the call itself; so do we where it is read as it is.
        if self._cancelled:
            return error
        return ended(error, self._generation, self._call.time_remaining(), self._ended)

    def _explanation(self) -> str:
        return explanation(self._call, self._generation, self._call.time_remaining())
