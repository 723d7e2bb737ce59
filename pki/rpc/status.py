"""gRPC statuses of refusals: how a refusal is sent, and how the other side reads its reason."""

from __future__ import annotations

from types import MappingProxyType

import grpc

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access.refusal import Refusal
from pki.error_info import DETAILS_KEY, read_reason, write_error_info

_CODES = MappingProxyType(
    {
        ErrorReason.NO_ROLE: grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.METHOD_NOT_GRANTED: grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.SERVER_ROLE_MISSING: grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.REVOCATION_STALE: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.POLICY_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.AUTHORIZATION_ERROR: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.CREDENTIAL_ENDED: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.SERVER_CERTIFICATE_REJECTED: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.SERVER_UNVERIFIED: grpc.StatusCode.UNAVAILABLE,
    }
)


def status_code(refusal: Refusal) -> grpc.StatusCode:
    """Return the status code for a refusal."""
    return _CODES.get(refusal.reason, grpc.StatusCode.UNAUTHENTICATED)


def trailing_metadata(refusal: Refusal) -> tuple[tuple[str, bytes], ...]:
    """Return the structured detail of a refusal: one ``google.rpc.ErrorInfo`` (AIP-193)."""
    number: int = status_code(refusal).value[0]
    value = write_error_info(refusal.name, refusal.metadata, code=number, message=refusal.message)
    return ((DETAILS_KEY, value),)


def reason_of(error: grpc.RpcError) -> str | None:
    """Return the reason that handfast gave for an error, on either side; None if it gave none.

    The reasons are the values of ``handfast.v1.ErrorReason``, e.g. ``CREDENTIAL_ENDED``;
    ``docs/refusals.md`` says what each means and what to do. The other side wrote the reason: use
    it to decide whether to call again, not to decide whom to trust.

    Args:
        error: of a synchronous or an asyncio call.
    """
    trailing = getattr(error, "trailing_metadata", None)
    metadata = trailing() if callable(trailing) else None
    return read_reason(metadata or ())
