"""Who may ask the CA for what, and what a stranger can make it do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

import pki
from pki._proto.handfast.ca.v1 import (
    authority_pb2,
    authority_pb2_grpc,
    enrollment_pb2,
    enrollment_pb2_grpc,
    registrations_pb2,
    registrations_pb2_grpc,
    trust_pb2,
    trust_pb2_grpc,
)
from pki.authority.registrations import Proof
from pki.ca_client import CaIdentity
from pki.ca_client.contact import stranger_channel
from pki.identity import SpiffeId
from pki.keys import generate_key
from pki.proofs import EnrollmentToken, TokenCredential
from tests.ca_service import Served
from tests.enrolling import request_of
from tests.interop.shop import SECONDS, eventually

BATCH = frozenset({Proof.REGISTRAR, Proof.TOKEN, Proof.RENEWAL})


def reason(error: grpc.RpcError) -> str:
    """Return the reason of a refusal, wherever it was decided."""
    call: Any = error
    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = error_details_pb2.ErrorInfo()
            status = status_pb2.Status.FromString(value)
            assert status.details[0].Unpack(info)
            assert info.domain == "handfast"
            return str(info.reason)
    return str(call.code().name)


class Asking:
    """A workload that asks the CA."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.authority = authority_pb2_grpc.AuthorityStub(channel)
        self.registrations = registrations_pb2_grpc.RegistrationsStub(channel)
        self.trust = trust_pb2_grpc.TrustStub(channel)
        self.channel = channel

    def register(self, path: str, **settings: Any) -> registrations_pb2.Registration:
        registration = registrations_pb2.Registration(
            spiffe_id=f"spiffe://shop.internal/{path}", **settings
        )
        request = registrations_pb2.CreateRegistrationRequest(registration=registration)
        return self.registrations.CreateRegistration(request, timeout=SECONDS)

    def token(self, path: str) -> str:
        request = authority_pb2.CreateTokenRequest(spiffe_id=f"spiffe://shop.internal/{path}")
        return self.authority.CreateToken(request, timeout=SECONDS).token

    def batch(self, *paths: str) -> list[authority_pb2.BatchResult]:
        items = [
            authority_pb2.BatchItem(
                spiffe_id=f"spiffe://shop.internal/{path}", request=request_of(generate_key())
            )
            for path in paths
        ]
        request = authority_pb2.IssueBatchRequest(items=items)
        return list(self.authority.IssueBatch(request, timeout=SECONDS).results)

    def listed(self) -> list[str]:
        request = authority_pb2.ListCertificatesRequest(page_size=2)
        found: list[str] = []
        while True:
            page = self.authority.ListCertificates(request, timeout=SECONDS)
            found += [item.spiffe_id for item in page.certificates]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def revoke(self, **target: Any) -> int:
        request = authority_pb2.RevokeRequest(**target)
        return len(self.authority.Revoke(request, timeout=SECONDS).certificates)


@contextmanager
def asking(ca: Served, folder: Path, name: str) -> Iterator[Asking]:
    ca.authority.issue(name).save(folder / name)
    with pki.Workload.from_directory(folder / name) as me:
        peer = SpiffeId.of_ca(me.spiffe_id.trust_domain)
        with me.sync_channel(ca.address, peer=peer) as channel:
            yield Asking(channel)


@contextmanager
def stranger(ca: Served) -> Iterator[enrollment_pb2_grpc.EnrollmentStub]:
    root = ca.authority.trust()[0].all_roots()[0]
    with stranger_channel(ca.enroll_address, ca.authority.trust_domain, root) as channel:
        yield enrollment_pb2_grpc.EnrollmentStub(channel)


def refused(call: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return reason(caught.value)


def test_an_admin_registers_makes_tokens_lists_and_revokes(ca: Served, tmp_path: Path) -> None:
    with asking(ca, tmp_path, "ops") as ops:
        made = ops.register("orders", dns_names=[], proofs=["token", "renewal", "registrar"])
        assert made.created_by == "spiffe://shop.internal/ops"
        with CaIdentity(
            tmp_path / "orders", token=EnrollmentToken.parse(ops.token("orders"))
        ) as it:
            serial = f"{it.credential.leaf.serial_number:x}"
        (one,) = ops.batch("orders")
        assert one.certificate.chain
        assert ops.listed().count("spiffe://shop.internal/orders") == 2
        assert ops.revoke(serial=serial, reason="superseded") == 1
        assert ops.revoke(spiffe_id="spiffe://shop.internal/orders") == 2, "both, now"
        assert "spiffe://shop.internal/orders" in ops.listed()


def test_a_workload_without_a_role_renews_and_revokes_its_own_alone(
    ca: Served, tmp_path: Path
) -> None:
    with (
        CaIdentity(tmp_path / "orders", token=EnrollmentToken.parse(ca.token("orders"))),
        pki.Workload.from_directory(tmp_path / "orders") as me,
        me.sync_channel(ca.address, peer=SpiffeId.of_ca(me.spiffe_id.trust_domain)) as channel,
    ):
        orders = Asking(channel)
        other = ca.authority.issue("payments").leaf.serial_number
        assert refused(lambda: orders.register("mine")) == "NO_ROLE"
        assert refused(lambda: orders.token("orders")) == "NO_ROLE"
        assert refused(lambda: orders.batch("orders")) == "NO_ROLE"
        assert refused(orders.listed) == "NO_ROLE"
        assert refused(lambda: orders.revoke(serial=f"{other:x}")) == "NAME_NOT_PERMITTED"
        assert (
            refused(lambda: orders.revoke(spiffe_id="spiffe://shop.internal/payments"))
            == "NAME_NOT_PERMITTED"
        )
        assert refused(lambda: orders.revoke(serial="zz")) == "NAME_NOT_PERMITTED"
        assert refused(orders.revoke) == "REQUEST_INVALID"
        assert orders.revoke(own=True) == 1
        assert eventually(lambda: refused(orders.listed) == "CERTIFICATE_REVOKED")


def test_a_registrar_is_bound_to_its_path_and_never_makes_an_admin(
    ca: Served, tmp_path: Path
) -> None:
    with asking(ca, tmp_path, "ci") as ci:
        ci.register("prod/orders", proofs=["registrar", "token"])
        ci.token("prod/orders")
        ca.register("ops-2", proofs=BATCH)
        ca.register("ops", proofs=BATCH)
        for path in ("orders", "ops", "production/orders"):
            assert refused(lambda p=path: ci.register(p)) == "NAME_NOT_PERMITTED"
        assert refused(lambda: ci.token("ops-2")) == "NAME_NOT_PERMITTED"
        good, foreign, admin, unknown, bad = ci.batch(
            "prod/orders", "ops-2", "ops", "prod/nobody", "prod//x"
        )
        assert good.certificate.chain, "one that is refused fails none of the others"
        assert [item.refused.reason for item in (foreign, admin, unknown, bad)] == [
            "NAME_NOT_PERMITTED",
            "NAME_NOT_PERMITTED",
            "NOT_FOUND",
            "REQUEST_INVALID",
        ]
        assert refused(lambda: ci.revoke(spiffe_id="spiffe://shop.internal/prod/orders")) == (
            "NAME_NOT_PERMITTED"
        )
        assert {*ci.listed()} == {"spiffe://shop.internal/prod/orders"}


def test_a_policy_that_makes_a_name_an_admin_takes_it_from_the_registrar(
    ca: Served, tmp_path: Path
) -> None:
    with asking(ca, tmp_path, "ci") as ci:
        ci.register("prod/boss", proofs=["registrar", "token"])
        assert ci.batch("prod/boss")[0].certificate.chain
        text = ca.policy.read_text()
        aside = ca.policy.with_suffix(".new")
        aside.write_text(text.replace('/ops"]', '/ops", "spiffe://shop.internal/prod/boss"]'))
        aside.replace(ca.policy)
        assert eventually(lambda: ci.batch("prod/boss")[0].refused.reason == "NAME_NOT_PERMITTED")
        assert refused(lambda: ci.token("prod/boss")) == "NAME_NOT_PERMITTED"
        aside.write_text("no policy")
        aside.replace(ca.policy)
        # A bad policy leaves the last good one in force.
        assert refused(lambda: ci.token("prod/boss")) == "NAME_NOT_PERMITTED"


@pytest.mark.parametrize("path", ["handfast/ca", "ca", "handfast/other"])
def test_nobody_obtains_a_reserved_name(ca: Served, tmp_path: Path, path: str) -> None:
    with asking(ca, tmp_path, "ops") as ops:
        assert refused(lambda: ops.register(path)) == "NAME_NOT_PERMITTED"
        (result,) = ops.batch(path)
        assert result.refused.reason in {"NOT_FOUND", "NAME_NOT_PERMITTED"}


@pytest.mark.parametrize(
    "fields",
    [
        {"dns_names": ["*.shop.internal"]},
        {"dns_names": ["payments.shop.internal"]},
        {"dns_names": ["a" * 300]},
        {"ip_addresses": ["10.0.0.1"]},
        {"ip_addresses": ["10.0.0.0/8"]},
        {"profile": "root"},
        {"proofs": ["operator"]},
        {"proofs": ["ca"]},
        {"proofs": ["oidc"]},
        {"lifetime": {"seconds": 86_401}},
        {"lifetime": {"seconds": -1}},
        {"lifetime": {"seconds": 3600, "nanos": 1}},
        {"recovery": {"times": 10_000}},
        {"oidc": {"issuer": "https://ci.example", "claims": {"sub": "a"}}},
    ],
)
def test_a_registration_that_breaks_a_rule_is_refused(
    ca: Served, tmp_path: Path, fields: dict[str, Any]
) -> None:
    with asking(ca, tmp_path, "ops") as ops:
        assert refused(lambda: ops.register("orders", **fields)) in {
            "REQUEST_INVALID",
            "NAME_NOT_PERMITTED",
        }
        assert refused(lambda: ops.token("orders")) == "NOT_FOUND"


@pytest.mark.parametrize(
    "path",
    ["*", "prod/*", "..", "a/", "a//b", "a b", "a?b", "a%2fb", "\u202eab", "a\nb", "x" * 3000],
)
def test_a_name_that_is_no_name_is_refused(ca: Served, tmp_path: Path, path: str) -> None:
    with asking(ca, tmp_path, "ops") as ops:
        assert refused(lambda: ops.register(path)) == "REQUEST_INVALID"


# Strangers


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
                        # grpcio 1.76 loses its connection after a hundred refusals or so.
                        cut.append(why)

    threads = [threading.Thread(target=flood) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert eventually(lambda: len(told) + len(cut) > 50, 20)
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
        assert reasons[-1] == "BUDGET_EXHAUSTED"
        fresh = EnrollmentToken.parse(ca.token("orders")).credential
        request = enrollment_pb2.EnrollRequest(token=fresh.encode(), request=b"x")
        assert refused(lambda: stub.Enroll(request, timeout=SECONDS)) == "REQUEST_INVALID"


def test_who_follows_hears_at_once_and_then_regularly(ca: Served, tmp_path: Path) -> None:
    with asking(ca, tmp_path, "ops") as ops:
        stream = ops.trust.WatchTrust(trust_pb2.WatchTrustRequest(), timeout=SECONDS)
        seen: list[str | None] = []
        for update in stream:
            seen.append(update.WhichOneof("update"))
            if seen.count("heartbeat") == 3:
                break
        stream.cancel()
        assert seen[0] == "heartbeat"
        assert seen.count("crl") == 2, "the root's list, and the issuing CA's"
        assert "policy" in seen
        # Nobody is sent again what it has.
        request = trust_pb2.WatchTrustRequest(bundle_number=1)
        for crl in ca.service.parts.feed.state.crls.values():
            request.crls.add(issuer_key_id=crl.issuer.key_id, number=crl.number)
        again = ops.trust.WatchTrust(request, timeout=SECONDS)
        assert [next(again).WhichOneof("update") for _ in range(4)] == [
            "heartbeat",
            # One that it has: another one of that number would be a fork.
            "bundles",
            "policy",
            "heartbeat",
        ]
        again.cancel()
        report = trust_pb2.ReportTrustRequest(bundle_number=1, serial="ab")
        assert refused(lambda: ops.trust.ReportTrust(report, timeout=SECONDS)) == (
            "NAME_NOT_PERMITTED"
        )
