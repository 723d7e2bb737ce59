"""Turn the errors of the CA into gRPC statuses: one reason each, as ``CaErrorReason`` says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import grpc

from pki._proto.handfast.ca.v1.error_reason_pb2 import CaErrorReason
from pki.background import defer
from pki.daemon.limits.budgets import BudgetExhaustedError
from pki.daemon.limits.renewal_queue import ComeBackError
from pki.error_info import DETAILS_KEY, write_error_info
from pki.errors import (
    AlreadyThereError,
    ChangedMeanwhileError,
    InputError,
    NotAnnouncedError,
    NotFoundError,
    NotPermittedError,
    NotRecordedError,
    NotRecoverableError,
    NotRegisteredError,
    NotRenewableError,
    PkiError,
    ProofRefusedError,
    StateError,
    WrongStepError,
)

log = logging.getLogger("handfast.ca")

_Result = TypeVar("_Result")

# The first class that fits counts.
_STATUSES = MappingProxyType(
    {
        BudgetExhaustedError: (CaErrorReason.BUDGET_EXHAUSTED, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ProofRefusedError: (CaErrorReason.PROOF_REFUSED, grpc.StatusCode.UNAUTHENTICATED),
        NotRegisteredError: (CaErrorReason.NOT_REGISTERED, grpc.StatusCode.PERMISSION_DENIED),
        NotRenewableError: (CaErrorReason.NOT_RENEWABLE, grpc.StatusCode.PERMISSION_DENIED),
        NotRecoverableError: (CaErrorReason.NOT_RECOVERABLE, grpc.StatusCode.PERMISSION_DENIED),
        NotPermittedError: (CaErrorReason.NAME_NOT_PERMITTED, grpc.StatusCode.PERMISSION_DENIED),
        NotFoundError: (CaErrorReason.NOT_FOUND, grpc.StatusCode.NOT_FOUND),
        InputError: (CaErrorReason.REQUEST_INVALID, grpc.StatusCode.INVALID_ARGUMENT),
        AlreadyThereError: (CaErrorReason.ALREADY_REGISTERED, grpc.StatusCode.ALREADY_EXISTS),
        ChangedMeanwhileError: (CaErrorReason.REVISION_CHANGED, grpc.StatusCode.ABORTED),
        WrongStepError: (CaErrorReason.WRONG_STEP, grpc.StatusCode.FAILED_PRECONDITION),
        ComeBackError: (CaErrorReason.CA_BUSY, grpc.StatusCode.UNAVAILABLE),
        StateError: (CaErrorReason.CA_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
    }
)
# What these say is not of the CA's inside, and callers need to know it.
_FOR_CALLERS = (
    AlreadyThereError,
    ChangedMeanwhileError,
    NotAnnouncedError,
    NotRecordedError,
    WrongStepError,
)
_UNAVAILABLE = "the CA can't do this now; nothing was changed"


def reason_and_code(error: PkiError) -> tuple[str, grpc.StatusCode]:
    """Return the reason and the status code for an error."""
    for kind, (reason, code) in _STATUSES.items():
        if isinstance(error, kind):
            return CaErrorReason.Name(reason), code
    return CaErrorReason.Name(CaErrorReason.CA_UNAVAILABLE), grpc.StatusCode.UNAVAILABLE


Refused = Callable[[str], None]


def not_counted(reason: str) -> None:
    """Do nothing: what this caller is refused is recorded by itself."""
    del reason


async def answer(
    context: grpc.aio.ServicerContext[Any, Any],
    executor: Executor,
    work: Callable[[], _Result],
    refused: Refused = not_counted,
) -> _Result:
    """Run an operation in a thread, and return its result; end the call with its error.

    An error that says something of the CA's inside (its files, its ledger) is for the log alone.

    Args:
        context: of the call.
        executor: runs the operation.
        work: the operation.
        refused: called with the reason of a refusal, before the caller learns it.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    except StateError as error:
        if isinstance(error, _FOR_CALLERS):
            await refuse(context, error, refused)
        defer(log.error, "a request could not be served: %s", error)
        await _abort(context, error, _UNAVAILABLE)
    except PkiError as error:
        await refuse(context, error, refused)
    except Exception as error:
        defer(log.error, "a request failed: %r", error)
        await _abort(context, StateError(_UNAVAILABLE), _UNAVAILABLE)


async def admit(
    context: grpc.aio.ServicerContext[Any, Any],
    check: Callable[[], _Result],
    refused: Refused = not_counted,
) -> _Result:
    """Run a quick check at once, before a thread is taken; end the call with its error."""
    try:
        return check()
    except PkiError as error:
        await refuse(context, error, refused)


async def refuse(
    context: grpc.aio.ServicerContext[Any, Any], error: PkiError, refused: Refused = not_counted
) -> NoReturn:
    """End a call with an error that its caller may read."""
    refused(reason_and_code(error)[0])
    if isinstance(error, ProofRefusedError):
        defer(log.warning, "a proof was refused: %s", error.cause)
    await _abort(context, error, str(error))


async def _abort(
    context: grpc.aio.ServicerContext[Any, Any], error: PkiError, message: str
) -> NoReturn:
    reason, code = reason_and_code(error)
    number: int = code.value[0]
    retry_after = None
    if isinstance(error, BudgetExhaustedError | ComeBackError):
        retry_after = error.retry_after
    details = write_error_info(reason, (), code=number, message=message, retry_after=retry_after)
    await context.abort(code, message, ((DETAILS_KEY, details),))
    raise AssertionError("abort() raises")
