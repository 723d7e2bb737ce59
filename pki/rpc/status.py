"""gRPC statuses of refusals: how a refusal is sent, and how the other side reads its reason."""

from __future__ import annotations

from types import MappingProxyType

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from pki.access.refusal import Refusal

DOMAIN = "handfast"
DETAILS_KEY = "grpc-status-details-bin"

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
    info = error_details_pb2.ErrorInfo(
        reason=refusal.name, domain=DOMAIN, metadata=dict(refusal.metadata)
    )
    detail = any_pb2.Any()
    detail.Pack(info)
    number: int = status_code(refusal).value[0]
    status = status_pb2.Status(code=number, message=refusal.message, details=[detail])
    return ((DETAILS_KEY, status.SerializeToString()),)


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
    for key, value in metadata or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return _reason_in(value)
    return None


def _reason_in(data: bytes) -> str | None:
    info = error_details_pb2.ErrorInfo()
    try:
        status = status_pb2.Status.FromString(data)
        for detail in status.details:
            if detail.Unpack(info) and info.domain == DOMAIN:
                return str(info.reason)
    except DecodeError:
        # Another server's own bytes under the same key.
        return None
    return None
