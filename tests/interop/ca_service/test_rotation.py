"""A CA that is served while its issuing CAs and its root are replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

import pki
from pki._proto.handfast.ca.v1 import enrollment_pb2, trust_pb2, trust_pb2_grpc
from pki.ca_client import CaIdentity
from pki.clock import system_clock
from pki.errors import StateError
from pki.identity import SpiffeId
from pki.proofs import EnrollmentToken
from pki.x509.bundle_chain import SignedBundle, begin, follow
from tests.ca_service import Served
from tests.interop.asking import refused, stranger
from tests.interop.shop import SECONDS, eventually


def shown_issuer(ca: Served) -> str:
    """Return the key id of the issuing CA whose certificate the CA shows."""
    own = ca.service.parts.own_credential()
    return next(item.key_id for item in ca.authority.issuers() if item.certificate == own.chain[1])


def test_the_ca_shows_a_certificate_of_the_issuing_ca_that_is_active(
    ca: Served, tmp_path: Path
) -> None:
    with CaIdentity(tmp_path / "orders", token=EnrollmentToken.parse(ca.token("orders"))) as it:
        before = it.credential.leaf.serial_number
        new = ca.authority.rotate()
        eventually(lambda: shown_issuer(ca) == new.key_id)
        it.renew_now()
        eventually(lambda: it.credential.leaf.serial_number != before)
        assert it.credential.chain[1] == new.certificate


def test_after_the_distrust_of_its_issuing_ca_the_ca_serves_at_once_from_the_prepared_one(
    ca: Served, tmp_path: Path
) -> None:
    (leaked,) = ca.authority.issuers()[1:]
    prepared = ca.authority.prepare_issuer()
    ca.authority.distrust(leaked.key_id)
    eventually(lambda: shown_issuer(ca) == prepared.key_id)
    with CaIdentity(tmp_path / "orders", token=EnrollmentToken.parse(ca.token("orders"))) as it:
        assert it.credential.chain[1] == prepared.certificate


def test_a_root_is_not_activated_before_those_who_renew_over_the_network_trust_it(
    ca: Served, tmp_path: Path
) -> None:
    with CaIdentity(tmp_path / "orders", token=EnrollmentToken.parse(ca.token("orders"))) as it:
        before = it.credential.leaf.serial_number
        it.renew_now()
        eventually(lambda: it.credential.leaf.serial_number != before)
    # It sleeps, and hears nothing of this.
    ca.authority.prepare_root()
    with pytest.raises(StateError, match="would strand 2 holders"):
        ca.authority.activate_root()
    ca.authority.revoke_all([before, it.credential.leaf.serial_number])
    # The CA's own certificate hinders nobody: it has another one at once.
    root, stranded = ca.authority.activate_root()
    assert stranded == ()
    eventually(lambda: shown_issuer(ca) == ca.authority.issuers()[-1].key_id)
    with CaIdentity(
        tmp_path / "payments", token=EnrollmentToken.parse(ca.token("payments"))
    ) as other:
        assert set(other.credential.bundle.all_roots()) == {
            ca.authority.issuers()[0].certificate,
            root.certificate,
        }


def test_the_signed_bundles_are_there_for_everybody_from_any_number(
    ca: Served, tmp_path: Path
) -> None:
    old_root = ca.authority.issuers()[0].certificate
    ca.authority.prepare_root()
    eventually(lambda: ca.service.parts.bundle_number() == 2)
    with stranger(ca) as enrollment:
        request = enrollment_pb2.GetBundleRequest()
        first, second = enrollment.GetBundle(request, timeout=SECONDS).bundles
        request = enrollment_pb2.GetBundleRequest(since=1)
        assert list(enrollment.GetBundle(request, timeout=SECONDS).bundles) == [second]
        request = enrollment_pb2.GetBundleRequest(since=2**64 - 1)
        assert refused(lambda: enrollment.GetBundle(request, timeout=SECONDS)) == "REQUEST_INVALID"
    now = system_clock()
    trusted = begin(
        SignedBundle.read(first),
        trust_domain=ca.authority.trust_domain,
        fingerprint=old_root.fingerprint(hashes.SHA256()),
        now=now,
    )
    newest = follow(trusted, [SignedBundle.read(second)], now=now)
    assert set(newest.content.roots) == set(ca.authority.trust()[0].all_roots())


def test_a_report_of_trust_counts_for_its_sender_alone(ca: Served, tmp_path: Path) -> None:
    other = ca.authority.issue("payments").leaf.serial_number
    ca.authority.issue("orders").save(tmp_path / "orders")
    ca.authority.prepare_root()
    with pki.Workload.from_directory(tmp_path / "orders") as me:
        own = me.credential.leaf.serial_number
        with me.sync_channel(ca.address, peer=SpiffeId.of_ca(me.spiffe_id.trust_domain)) as channel:
            trust = trust_pb2_grpc.TrustStub(channel)

            def report(serial: int, number: int) -> None:
                request = trust_pb2.ReportTrustRequest(serial=f"{serial:x}", bundle_number=number)
                trust.ReportTrust(request, timeout=SECONDS)

            report(own, 2)
            assert refused(lambda: report(other, 2)) == "NAME_NOT_PERMITTED"
            assert refused(lambda: report(own, 3)) == "REQUEST_INVALID"
    with pytest.raises(StateError, match="would strand 1 holder of") as caught:
        ca.authority.activate_root()
    assert f"{other:x}" in str(caught.value)
