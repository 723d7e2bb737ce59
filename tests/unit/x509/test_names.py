"""Distinguished names are compared as RFC 5280 section 7.1 says, and never byte by byte."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.name import _ASN1Type

from pki.errors import VerificationError
from pki.x509 import (
    WORKLOAD,
    ChainVerifier,
    CrlSet,
    Fault,
    Purpose,
    RevocationMode,
    TrustBundle,
    canonical_name,
    decode_name,
)
from pki.x509.revocation import Crl
from tests.interop.seeds import Ca

HOUR = timedelta(hours=1)


def name(*values: str, kind: _ASN1Type = _ASN1Type.UTF8String) -> x509.Name:
    oids = (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME)
    return x509.Name(
        [
            x509.NameAttribute(oid, value, _type=kind)
            for oid, value in zip(oids, values, strict=False)
        ]
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (name("Shop Root"), name("Shop Root", kind=_ASN1Type.PrintableString)),
        (name("Shop Root"), name("Shop Root", kind=_ASN1Type.BMPString)),
        (name("Shop Root"), name("SHOP root")),
        (name("Shop Root"), name("  Shop \t Root ")),
    ],
    ids=["printable", "bmp", "case", "spaces"],
)
def test_names_that_differ_in_writing_alone_are_equal(one: x509.Name, other: x509.Name) -> None:
    assert one.public_bytes() != other.public_bytes()
    assert canonical_name(one) == canonical_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (name("shop"), name("shop", "shop")),
        (name("shop"), name("shop2")),
        (name("a b"), name("ab")),
        (name("é"), name("É")),
        (name("a", "b"), name("b", "a")),
        (name("x', 'y"), name("x")),
        (
            name("shop"),
            x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "shop")]),
        ),
        (
            name("a", "b"),
            x509.Name([x509.RelativeDistinguishedName([*name("a", "b")])]),
        ),
    ],
)
def test_names_of_other_values_are_not_equal(one: x509.Name, other: x509.Name) -> None:
    assert canonical_name(one) != canonical_name(other)


def test_a_name_of_several_values_in_one_part_has_no_order() -> None:
    parts = [*name("a", "b")]
    one = x509.Name([x509.RelativeDistinguishedName(parts)])
    other = x509.Name([x509.RelativeDistinguishedName(parts[::-1])])
    assert canonical_name(one) == canonical_name(other)


@pytest.mark.parametrize("length", [1, 60, 64])
def test_a_name_that_comes_alone_is_decoded(length: int) -> None:
    whole = name("x" * length, "é" * length)
    assert decode_name(whole.public_bytes()) == whole


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x80", b"\x31\x00", b"abc" * 100])
def test_bytes_that_are_no_name_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="error parsing"):
        decode_name(data)


def test_a_list_whose_issuer_is_written_otherwise_still_revokes() -> None:
    ca = Ca()
    leaf = ca.leaf("orders")
    now = datetime.now(UTC)
    written = name("seed issuing", kind=_ASN1Type.PrintableString)
    assert written.public_bytes() != ca.issuing.subject.public_bytes()
    revoked = x509.RevokedCertificateBuilder().serial_number(leaf.chain[0].serial_number)
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(written)
        .last_update(now - HOUR)
        .next_update(now + HOUR)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False
        )
        .add_revoked_certificate(revoked.revocation_date(now - HOUR).build())
        .sign(ca.key, hashes.SHA256())
    )
    verifier = ChainVerifier(
        TrustBundle.of_roots([ca.root]),
        CrlSet.of([Crl.of(crl)]),
        mode=RevocationMode.WHEN_PRESENT,
    )
    with pytest.raises(VerificationError) as refused:
        verifier.verify(tuple(leaf.chain), profile=WORKLOAD, purpose=Purpose.CLIENT, at=now)
    assert refused.value.fault is Fault.REVOKED
