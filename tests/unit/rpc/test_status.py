"""Reading why a call was refused or ended, from whatever a server sends."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from pki import reason_of
from pki.access.refusal import CREDENTIAL_ENDED
from pki.error_info import DETAILS_KEY
from pki.rpc.client.calls import call_aio, call_sync
from pki.rpc.client.calls.call_sync import LocalCallError


def error_with(value: bytes) -> grpc.RpcError:
    return LocalCallError(grpc.StatusCode.UNAVAILABLE, "words", ((DETAILS_KEY, value),))


def status_of(domain: str, reason: str) -> bytes:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(domain=domain, reason=reason))
    made: bytes = status_pb2.Status(details=[detail]).SerializeToString()
    return made


def test_both_kinds_of_error_are_read() -> None:
    assert reason_of(call_sync.to_rpc_error(CREDENTIAL_ENDED)) == "CREDENTIAL_ENDED"
    assert reason_of(call_aio.to_rpc_error(CREDENTIAL_ENDED)) == "CREDENTIAL_ENDED"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xff\xff",
        status_of("elsewhere.test", "CREDENTIAL_ENDED"),
        status_pb2.Status(details=[any_pb2.Any(type_url="x/y", value=b"z")]).SerializeToString(),
        status_pb2.Status(
            details=[any_pb2.Any(type_url="x/google.rpc.ErrorInfo", value=b"\xff")]
        ).SerializeToString(),
    ],
)
def test_what_is_not_ours_gives_no_reason(value: bytes) -> None:
    assert reason_of(error_with(value)) is None


def test_an_error_without_metadata_gives_no_reason() -> None:
    assert reason_of(grpc.RpcError()) is None
    assert reason_of(LocalCallError(grpc.StatusCode.UNAVAILABLE, "words")) is None
