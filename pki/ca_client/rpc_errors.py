"""gRPC's errors of calls to the CA, as ours."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import grpc

from pki.error_info import read_reason, read_retry_after
from pki.errors import CaRefusedError, CaUnreachableError

_LATER = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
    }
)
_UNKNOWN_METHOD = "Method not found!"  # what gRPC says itself, of a service that is not there
_FIRST_PAUSE = 0.5
_Answer = TypeVar("_Answer")


class BusyCaError(CaUnreachableError):
    """The CA can't answer now.

    Args:
        message: why.
        retry_after: seconds until it wants to be asked again; None if it did not say.
    """

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def call(ask: Callable[[], _Answer]) -> _Answer:
    """Make a call to the CA; turn gRPC's errors into ours.

    Raises:
        CaUnreachableError: if the CA can't be reached or can't answer now.
        CaRefusedError: if the CA refuses.
    """
    try:
        return ask()
    except grpc.RpcError as error:
        raise of_rpc_error(error) from error


def call_again(ask: Callable[[float], _Answer], *, each: float, seconds: float) -> _Answer:
    """Make a call that may be repeated, again and again while the CA can't answer.

    Args:
        ask: makes the call, with its time.
        each: the time of each call in seconds.
        seconds: for how long in all.

    Raises:
        CaUnreachableError: if the CA can't be reached or can't answer until then.
        CaRefusedError: if the CA refuses.
    """
    end, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        remaining = end - time.monotonic()
        try:
            return call(lambda: ask(min(each, remaining)))  # noqa: B023 - called before the next
        except BusyCaError as error:
            wait = max(random.uniform(pause / 2, pause), error.retry_after or 0.0)  # noqa: S311
            pause *= 2
            if time.monotonic() + wait + _FIRST_PAUSE > end:
                raise
            time.sleep(wait)


def of_rpc_error(error: grpc.RpcError) -> CaUnreachableError | CaRefusedError:
    """Return our error for one of gRPC's."""
    details = getattr(error, "details", lambda: "")() or "the call failed"
    metadata = getattr(error, "trailing_metadata", lambda: ())() or ()
    code = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)()
    if code in _LATER:
        return BusyCaError(f"the CA can't answer now: {details}", read_retry_after(metadata))
    if code is grpc.StatusCode.UNIMPLEMENTED and details == _UNKNOWN_METHOD:
        return CaRefusedError(
            "the server does not offer this call: it is the CA's port for enrollment, or a CA of "
            "an older version",
            remedy="Use the CA's port for mutual TLS, 8443 by default (enrollment has 8444)",
        )
    return CaRefusedError(f"the CA refused: {details}", reason=read_reason(metadata) or "")
