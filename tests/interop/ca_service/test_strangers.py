"""What a stranger can make the CA do, and what a flood of them takes from others."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pki._proto.handfast.ca.v1 import (
    enrollment_pb2,
    trust_pb2,
)
from pki.authority import Authority
from pki.ca_client import CaIdentity
from pki.ca_client.contact import stranger_channel
from pki.identity import TrustDomain
from pki.proofs import EnrollmentToken, TokenCredential
from tests.ca_service import Served
from tests.interop.asking import Asking, reason, refused, stranger
from tests.interop.shop import SECONDS, eventually
from tests.served_process import running


def test_strangers_reach_their_own_services_alone(ca: Served) -> None:
    root = ca.authority.trust()[0].all_roots()[0]
    with stranger_channel(ca.enroll_address, ca.authority.trust_domain, root) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        asked = Asking(channel)
        for call in (
            lambda: asked.register("orders"),
            asked.listed,
            lambda: asked.revoke(own=True),
            lambda: next(asked.trust.WatchTrust(trust_pb2.WatchTrustRequest())),
        ):
            assert refused(call) == "UNIMPLEMENTED"
    with stranger_channel(ca.address, ca.authority.trust_domain, root) as channel:
        # Without a certificate nobody gets through the handshake of the other port.
        assert refused(lambda: Asking(channel).listed()) == "UNAVAILABLE"


@pytest.mark.parametrize(
    "request_",
    [
        enrollment_pb2.EnrollRequest(),
        enrollment_pb2.EnrollRequest(token=b"x"),
        enrollment_pb2.EnrollRequest(token=bytes(64)),
        enrollment_pb2.EnrollRequest(jwt="a.b.c"),
        enrollment_pb2.EnrollRequest(token=TokenCredential.make(b"k" * 32).encode()),
    ],
)
def test_a_stranger_without_a_proof_is_refused(
    ca: Served, request_: enrollment_pb2.EnrollRequest
) -> None:
    with stranger(ca) as stub:
        assert refused(lambda: stub.Enroll(request_, timeout=SECONDS)) in {
            "PROOF_REFUSED",
            "REQUEST_INVALID",
        }
        ask = enrollment_pb2.GetNonceRequest(recovery_id="hfr1_" + "A" * 43)
        assert refused(lambda: stub.GetNonce(ask, timeout=SECONDS)) != "OK"
        again = enrollment_pb2.RecoverRequest(recovery_id="\0", nonce=b"x" * 100_000)
        assert refused(lambda: stub.Recover(again, timeout=SECONDS)) == "REQUEST_INVALID"


def test_a_message_that_is_too_large_is_refused_before_it_is_read(ca: Served) -> None:
    with stranger(ca) as stub:
        huge = enrollment_pb2.EnrollRequest(request=bytes(1_000_000))
        assert refused(lambda: stub.Enroll(huge, timeout=SECONDS)) == "RESOURCE_EXHAUSTED"


def test_a_flood_of_strangers_takes_nothing_from_a_token_or_a_renewal(
    ca: Served, tmp_path: Path
) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    later = EnrollmentToken.parse(ca.token("payments"))
    told: list[float] = []
    cut: list[str] = []
    stop = threading.Event()

    def flood() -> None:
        with stranger(ca) as stub:
            while not stop.is_set():
                credential = TokenCredential.make(b"k" * 32)
                request = enrollment_pb2.EnrollRequest(token=credential.encode())
                try:
                    stub.Enroll(request, timeout=SECONDS)
                except grpc.RpcError as error:
                    why = reason(error)
                    if why == "BUDGET_EXHAUSTED":
                        told.append(retry_after(error))
                    elif why == "UNAVAILABLE":
                        # The streams of refused calls must not count for the connection.
                        cut.append(why)

    threads = [threading.Thread(target=flood) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert eventually(lambda: len(told) > 500, 60)
        with CaIdentity(tmp_path / "orders", token=token) as identity:
            first = identity.credential.leaf.serial_number
            identity.renew_now()
            assert identity.credential.leaf.serial_number != first
            assert identity.revoke_own("key-compromise")
        with CaIdentity(tmp_path / "payments", token=later):
            pass
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not cut
    assert all(0 < seconds < 60 for seconds in told)


def retry_after(error: grpc.RpcError) -> float:
    call: Any = error
    for key, value in call.trailing_metadata():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.ToMilliseconds()) / 1000
    raise AssertionError("no RetryInfo")


def test_one_token_has_a_budget_of_its_own(ca: Served) -> None:
    token = EnrollmentToken.parse(ca.token("orders")).credential
    wrong = TokenCredential(token.id, token.mac, bytes(32))
    with stranger(ca) as stub:
        request = enrollment_pb2.EnrollRequest(token=wrong.encode(), request=b"x")
        reasons = [refused(lambda: stub.Enroll(request, timeout=SECONDS)) for _ in range(20)]
        assert reasons[0] == "REQUEST_INVALID"
        assert "BUDGET_EXHAUSTED" in reasons[10:]
        fresh = EnrollmentToken.parse(ca.token("orders")).credential
        request = enrollment_pb2.EnrollRequest(token=fresh.encode(), request=b"x")
        assert refused(lambda: stub.Enroll(request, timeout=SECONDS)) == "REQUEST_INVALID"


def test_bytes_that_are_no_request_write_nothing_into_the_log(tmp_path: Path) -> None:
    Authority.create(tmp_path / "ca", "shop.internal").close()
    with Authority.open(tmp_path / "ca") as authority:
        root = authority.trust()[0].all_roots()[0]
    ports = ("--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")
    with running(tmp_path, "ca", "serve", *ports) as ca:
        target = ca.line("Serving the CA").rpartition(" ")[2]
        with stranger_channel(target, TrustDomain("shop.internal"), root) as channel:
            call: Any = channel.unary_unary("/handfast.ca.v1.Enrollment/Enroll")
            for _ in range(3):
                assert refused(lambda: call(b"\xff", timeout=SECONDS)) == "UNKNOWN"
        assert ca.stop() == 0
        assert "DecodeError" not in ca.output
