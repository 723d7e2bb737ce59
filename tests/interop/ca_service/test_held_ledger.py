"""A CA whose ledger another process holds: it says so, to its callers and to whoever watches it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pki._proto.handfast.ca.v1 import enrollment_pb2
from pki.ca_client import CaIdentity
from pki.ca_client.calls import signing_request
from pki.ca_client.contact import stranger_channel
from pki.keys import generate_key
from pki.proofs import EnrollmentToken, Purpose, bind_request
from tests.ca_service import Served
from tests.interop.asking import reason, stranger
from tests.interop.shop import SECONDS, eventually
from tests.stuck_ledger import stuck_ledger


def health(ca: Served, service: str) -> str:
    root = ca.authority.trust()[0].all_roots()[0]
    with stranger_channel(ca.enroll_address, ca.authority.trust_domain, root) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def test_the_health_of_its_services_says_that_it_can_issue_nothing(
    ca: Served, tmp_path: Path
) -> None:
    services = ("handfast.ca.v1.Authority", "handfast.ca.v1.Enrollment")
    assert eventually(lambda: {health(ca, service) for service in services} == {"SERVING"})
    root = ca.authority.trust()[0].all_roots()[0]
    with stuck_ledger(tmp_path / "ca"):
        with stranger_channel(ca.enroll_address, ca.authority.trust_domain, root) as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            def is_told() -> bool:
                asked = health_pb2.HealthCheckRequest(service=services[0])
                answer = stub.Check(asked, timeout=SECONDS)
                return bool(answer.status == health_pb2.HealthCheckResponse.NOT_SERVING)

            assert eventually(is_told, 15)
            # To restart the process would not help.
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert eventually(lambda: health(ca, services[0]) == "SERVING")


def test_who_enrolls_hears_in_time_that_the_ledger_is_held(ca: Served, tmp_path: Path) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    key = generate_key()
    request = signing_request(key)
    binding = bind_request(
        key, Purpose.ENROLL, token.trust_domain, proof=token.credential.id, request=request
    )
    asked = enrollment_pb2.EnrollRequest(
        token=token.credential.encode(), request=request, binding=binding
    )
    with stranger(ca) as stub, stuck_ledger(tmp_path / "ca"):
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            stub.Enroll(asked, timeout=15)
        assert reason(caught.value) == "CA_UNAVAILABLE"
        assert time.monotonic() - began < 10


def test_who_enrolls_or_renews_meanwhile_tries_again_by_itself(ca: Served, tmp_path: Path) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    with ThreadPoolExecutor(1) as threads:
        with stuck_ledger(tmp_path / "ca"):
            enrolling = threads.submit(CaIdentity, tmp_path / "orders", token=token)
            time.sleep(6)  # the CA has answered once
            assert not enrolling.done()
        with enrolling.result(20) as identity:
            assert not identity.problem
