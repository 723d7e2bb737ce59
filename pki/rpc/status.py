"""Reads why a call was refused or ended: the reason of the one ``google.rpc.ErrorInfo`` in it."""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from pki.access.refusal import DETAILS_KEY, DOMAIN


def reason_of(error: grpc.RpcError) -> str | None:
    """Return the reason that handfast gave for an error, on either side; None if it gave none.

    The reasons are the values of ``handfast.v1.ErrorReason``, e.g. ``CREDENTIAL_ENDED``; what each
    means and what to do stands in ``docs/refusals.md``. The other side wrote it: a reason is good
    for deciding whether to call again, not for trusting anybody.

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
