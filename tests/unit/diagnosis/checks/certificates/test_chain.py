"""What is found in a chain: the path that verifiers build, and the CAs on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.diagnosis.checks.certificates.chain import examine_chain
from pki.diagnosis.checks.certificates.issuer_path import has_issued, path_from_leaf
from pki.diagnosis.checks.certificates.trust_path import Trust
from pki.diagnosis.report import Finding, Status
from pki.x509 import Purpose
from tests.interop.seeds import HOUR, Ca, ca_usage, named, sign
from tests.unit.diagnosis.handshakes import NOW

CA = [(x509.BasicConstraints(ca=True, path_length=1), True), (ca_usage(), True)]


def examined(chain: list[x509.Certificate], *roots: x509.Certificate) -> dict[str, Finding]:
    findings = examine_chain("it", chain, Trust(roots) if roots else None, Purpose.SERVER, NOW)
    return {item.check: item for item in findings}


def root_of(ca: Ca, **how: Any) -> x509.Certificate:
    return sign(ca.root.subject, ca.root_key.public_key(), None, ca.root_key, CA, **how)


KEYS: dict[str, Callable[[], Any]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ec": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("kind", sorted(KEYS))
@pytest.mark.parametrize("other", sorted(KEYS))
def test_an_issuer_is_known_by_its_signature_however_its_name_is_written(
    kind: str, other: str
) -> None:
    key, stranger = KEYS[kind](), KEYS[other]()
    written = x509.NameAttribute(
        x509.NameOID.COMMON_NAME, "A  Root", _type=_ASN1Type.PrintableString
    )
    root = sign(x509.Name([written]), key.public_key(), None, key, CA)
    same = sign(x509.Name([written]), stranger.public_key(), None, stranger, CA)
    beside = sign(named("a root"), key.public_key(), None, key, CA)
    leaf = sign(named("leaf"), key.public_key(), beside, key, [])
    assert leaf.issuer.public_bytes() != root.subject.public_bytes()
    assert has_issued(root, leaf)
    assert not has_issued(same, leaf)
    assert path_from_leaf([leaf, same, root]) == [leaf, root]


def test_of_several_roots_with_one_key_the_one_that_is_valid_counts() -> None:
    ca = Ca()
    ended = root_of(ca, times=(-3 * HOUR, -HOUR))
    for roots in ((ended, ca.root), (ca.root, ended)):
        found = examined(ca.leaf().chain, *roots)
        assert not [item for item in found.values() if item.status is Status.FAILED], found


def test_a_root_that_has_ended_alone_is_the_cause() -> None:
    ca = Ca()
    found = examined(ca.leaf().chain, root_of(ca, times=(-3 * HOUR, -HOUR)))
    assert found["it: times of its CAs"].failure == "expired"
    assert found["it: trust"].status is Status.OK


def test_a_root_that_begins_later_is_the_cause() -> None:
    ca = Ca()
    found = examined(ca.leaf().chain, root_of(ca, times=(HOUR, 3 * HOUR)))
    assert found["it: times of its CAs"].failure == "not-yet-valid"


def test_without_roots_the_cas_that_were_sent_count() -> None:
    ca = Ca()
    ca.issuing = sign(
        named("seed issuing"),
        ca.key.public_key(),
        ca.root,
        ca.root_key,
        CA,
        times=(-3 * HOUR, -HOUR),
    )
    found = examined(ca.leaf().chain)
    assert found["it: trust"].status is Status.UNKNOWN
    assert found["it: times of its CAs"].failure == "expired"


def test_a_leaf_that_signed_another_is_told_by_its_name() -> None:
    ca = Ca()
    middle = ca.leaf("middle")
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = sign(named("leaf"), key.public_key(), middle.chain[0], middle.key, [])
    found = examined([leaf, *middle.chain], ca.root)
    assert found["it: trust"].failure == "issuer-not-ca"
    assert "middle.seed.internal" in found["it: trust"].message


@pytest.mark.parametrize("sent", [1, 2])
@pytest.mark.parametrize("trusted", ["issuing", "leaf"])
def test_a_bundle_without_the_root_is_a_warning_because_grpc_accepts_it(
    sent: int, trusted: str
) -> None:
    ca = Ca()
    chain = ca.leaf().chain
    found = examined(chain[:sent], ca.issuing if trusted == "issuing" else chain[0])
    trust = found["it: trust"]
    assert (trust.status, trust.failure) == (Status.WARNING, "unknown-ca")
    assert ("'CN=seed root'" if trusted == "issuing" else "'CN=seed issuing'") in trust.remedy
    assert not [item for item in found.values() if item.status is Status.FAILED], found


def test_a_bundle_without_the_root_does_not_accept_another_cas_leaf() -> None:
    found = examined(Ca("other").leaf().chain, Ca().issuing)
    assert found["it: trust"].status is Status.FAILED


def test_the_usage_of_a_ca_in_the_bundle_is_a_warning_because_grpc_does_not_read_it() -> None:
    ca = Ca()
    usage = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    ca.issuing = sign(
        named("seed issuing"), ca.key.public_key(), ca.root, ca.root_key, [*CA, usage]
    )
    chain = ca.leaf().chain
    check = "it: usage of its CAs"
    assert examined(chain, ca.root)[check].status is Status.FAILED
    assert examined(chain, ca.root, ca.issuing)[check].status is Status.WARNING
