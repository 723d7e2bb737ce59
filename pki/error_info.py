"""The ``google.rpc.ErrorInfo`` of a refusal: how it is written into a status, and read (AIP-193).

gRPC's richer error model sends it in the trailing metadata, as one detail of a
``google.rpc.Status``. The messages of ``handfast.v1`` that are used here have the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError

from pki._proto.handfast.v1.status_pb2 import ErrorInfo, RetryInfo, Status

DOMAIN = "handfast"
DETAILS_KEY = "grpc-status-details-bin"

_TYPE = "google.rpc.ErrorInfo"
_RETRY = "google.rpc.RetryInfo"


def write_error_info(
    reason: str,
    metadata: Iterable[tuple[str, str]],
    *,
    code: int,
    message: str,
    retry_after: float | None = None,
) -> bytes:
    """Return the value of ``grpc-status-details-bin`` for a refusal.

    Args:
        reason: a value of ``handfast.v1.ErrorReason``.
        metadata: names and values that tell more about it, none of them secret.
        code: the number of the gRPC status code.
        message: the status message.
        retry_after: after how many seconds to call again, as a ``google.rpc.RetryInfo``; None says
            nothing about it.
    """
    info = ErrorInfo(reason=reason, domain=DOMAIN, metadata=dict(metadata))
    status = Status(code=code, message=message)
    status.details.add(type_url=f"type.googleapis.com/{_TYPE}", value=info.SerializeToString())
    if retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(retry_after * 1000))
        status.details.add(
            type_url=f"type.googleapis.com/{_RETRY}", value=retry.SerializeToString()
        )
    data: bytes = status.SerializeToString()
    return data


def read_reason(metadata: Iterable[Any]) -> str | None:
    """Return the reason in trailing metadata; None if handfast gave none.

    Args:
        metadata: pairs of key and value that a server sent; untrusted.
    """
    for key, value in metadata:
        if key == DETAILS_KEY and isinstance(value, bytes):
            info = _info(value)
            return str(info.reason) if info is not None else None
    return None


def read_metadata(metadata: Iterable[Any]) -> dict[str, str]:
    """Return the names and values of a refusal in trailing metadata; none if it has none.

    Args:
        metadata: pairs of key and value that a server sent; untrusted.
    """
    for key, value in metadata:
        if key == DETAILS_KEY and isinstance(value, bytes):
            info = _info(value)
            return dict(info.metadata) if info is not None else {}
    return {}


def read_retry_after(metadata: Iterable[Any]) -> float | None:
    """Return after how many seconds to call again, from trailing metadata; None if it is not said.

    Args:
        metadata: pairs of key and value that a server sent; untrusted.
    """
    for key, value in metadata:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                for detail in Status.FromString(value).details:
                    if detail.type_url.rpartition("/")[2] == _RETRY:
                        delay = RetryInfo.FromString(detail.value).retry_delay
                        return max(0.0, delay.ToMilliseconds() / 1000)
            except DecodeError:
                return None
    return None


def _info(data: bytes) -> ErrorInfo | None:
    try:
        for detail in Status.FromString(data).details:
            if detail.type_url.rpartition("/")[2] == _TYPE:
                info = ErrorInfo.FromString(detail.value)
                if info.domain == DOMAIN:
                    return info
    except DecodeError:
        # Another server uses the same key for bytes of its own.
        return None
    return None
