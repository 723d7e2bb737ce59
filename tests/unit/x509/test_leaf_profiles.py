"""Leaves: what the profiles build and refuse, each with an almost equal leaf that passes."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.errors import CertificateError, KeyRefusedError
from pki.identity import DnsName, SpiffeId, Subject
from pki.keys import KeyType, generate_key
from pki.x509 import CLIENT, SERVER, WORKLOAD, LeafProfile, Purpose
from pki.x509.profiles import LeafNames
from pki.x509.profiles.builder import Validity, key_usage, random_serial
from tests.support import (
    GOOD_LEAF,
    SHOP,
    Extension,
    Hierarchy,
    name,
    sign_unchecked,
    with_extension,
    without_extension,
)

H = Hierarchy()
URI = x509.UniformResourceIdentifier
ID = URI("spiffe://shop.internal/orders")


def san(*names: x509.GeneralName, critical: bool = False) -> list[Extension]:
    return with_extension((x509.SubjectAlternativeName(names), critical))


def raw_uri(text: str) -> x509.GeneralName:
    made = URI("spiffe://x/y")
    made._value = text
    return made


def raw_dns(text: str) -> x509.GeneralName:
    made = x509.DNSName("x")
    made._value = text
    return made


def test_the_good_leaf_that_the_bad_ones_differ_from_passes() -> None:
    names = WORKLOAD.check(sign_unchecked(H))
    assert str(names.spiffe_id) == "spiffe://shop.internal/orders"
    assert names.dns_names == (DnsName("orders.shop.internal"),)


BAD: dict[str, tuple[list[Extension], str]] = {
    "no EKU": (without_extension(x509.ExtendedKeyUsage), "no extended key usage"),
    "any EKU": (
        with_extension(
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)
        ),
        "any extended",
    ),
    "critical EKU": (
        with_extension((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), True)),
        "as critical",
    ),
    "serverAuth alone": (
        with_extension((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)),
        "usage of a client",
    ),
    "clientAuth alone": (
        with_extension((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)),
        "usage of a server",
    ),
    "CA:TRUE": (
        with_extension((x509.BasicConstraints(ca=True, path_length=None), True)),
        "says that it is a CA",
    ),
    "key usage of a CA": (with_extension((key_usage(ca=True), True)), "digital_signature"),
    "key usage not critical": (with_extension((key_usage(ca=False), False)), "not critical"),
    "no key usage": (without_extension(x509.KeyUsage), "no key usage"),
    "no SAN": (without_extension(x509.SubjectAlternativeName), "no subject alternative name"),
    "critical SAN beside a subject": (san(ID, critical=True), "critical exactly if"),
    "two URIs": (san(ID, URI("spiffe://shop.internal/payments")), "2 URI names"),
    "no URI": (san(x509.DNSName("orders.shop.internal")), "0 URI names"),
    "a URI of another scheme": (
        san(URI("https://shop.internal/orders")),
        "exactly one, a SPIFFE ID",
    ),
    "a query in the ID": (san(URI("spiffe://shop.internal/orders?x=1")), "characters outside"),
    "an ID without a path": (san(URI("spiffe://shop.internal")), "no path"),
    "an ID in upper case": (san(URI("SPIFFE://shop.internal/orders")), "does not begin"),
    "an empty URI": (san(raw_uri("")), "empty"),
    "a URI with a space": (san(raw_uri("spiffe://shop.internal/or ders")), "unprintable"),
    "a NUL in a DNS name": (san(ID, raw_dns("admin.example.com\0.evil")), "no DNS name"),
    "an ID as a DNS name": (san(ID, raw_dns("spiffe://shop.internal/admin")), "no DNS name"),
    "a wildcard": (san(ID, x509.DNSName("*.shop.internal")), "no wildcard"),
    "an email": (san(ID, x509.RFC822Name("orders@shop.internal")), "RFC822Name"),
    "a directory name": (san(ID, x509.DirectoryName(name("x"))), "DirectoryName"),
    "name constraints": (
        with_extension((x509.NameConstraints([x509.DNSName("x.test")], None), True)),
        "which its profile forbids",
    ),
    "an unknown critical extension": (
        with_extension(
            (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
        ),
        "unknown critical",
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_leaf_made_by_misusing_the_key_is_refused(case: str) -> None:
    extensions, words = BAD[case]
    with pytest.raises(CertificateError, match=words):
        WORKLOAD.check(sign_unchecked(H, extensions))


def test_a_bad_cn_is_refused() -> None:
    with pytest.raises(CertificateError, match="unprintable"):
        WORKLOAD.check(sign_unchecked(H, subject=name("or\nders")))
    with pytest.raises(CertificateError, match="unprintable"):
        WORKLOAD.check(sign_unchecked(H, subject=name("\u202eredro")))


def test_an_ed25519_leaf_is_refused_at_both_ends() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(CertificateError, match="for CAs only"):
        WORKLOAD.check(sign_unchecked(H, key=key))
    with pytest.raises(KeyRefusedError):
        H.leaf(key=key)


def test_an_authority_key_is_named_by_its_identifier_alone() -> None:
    aki = x509.AuthorityKeyIdentifier
    key_id = aki.from_issuer_public_key(H.issuing_key.public_key()).key_identifier
    for wrong in (
        aki(None, [x509.DirectoryName(name("x"))], 5),
        aki(key_id, [x509.DirectoryName(name("x"))], 5),
    ):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name("orders"))
            .issuer_name(H.issuing.subject)
            .public_key(H.key.public_key())
            .serial_number(5)
            .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
            .add_extension(wrong, critical=False)
        )
        for value, critical in GOOD_LEAF:
            builder = builder.add_extension(value, critical)
        with pytest.raises(CertificateError, match="key identifier"):
            WORKLOAD.check(builder.sign(H.issuing_key, hashes.SHA256()))


@pytest.mark.parametrize("kind", [kind for kind in KeyType if kind is not KeyType.ED25519])
def test_a_workload_certificate_of_every_key_type_passes_its_own_check(kind: KeyType) -> None:
    leaf = H.leaf(key=generate_key(kind))
    names = WORKLOAD.check(leaf)
    assert str(names.subject) == "CN=orders,O=shop.internal"
    for purpose in Purpose:
        WORKLOAD.check(leaf, purpose)


def test_a_path_too_long_for_the_cn_gets_an_empty_subject_and_a_critical_san() -> None:
    leaf = H.leaf("a" * 65)
    assert not leaf.subject.rdns
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert WORKLOAD.check(leaf).spiffe_id == SpiffeId.of_path(SHOP, "a" * 65)


@pytest.mark.parametrize("profile", [SERVER, CLIENT])
def test_a_server_or_client_certificate_serves_one_end_alone(profile: LeafProfile) -> None:
    leaf = H.leaf("proxy", profile=profile)
    names = profile.check(leaf)
    assert names.spiffe_id is None
    other = CLIENT if profile is SERVER else SERVER
    with pytest.raises(CertificateError, match="lacks the extended key usage"):
        other.check(leaf)
    with pytest.raises(CertificateError):
        WORKLOAD.check(leaf)


def test_a_server_certificate_needs_a_host_name() -> None:
    subject = Subject.parse("CN=proxy")
    with pytest.raises(CertificateError, match="neither DNS name nor address"):
        SERVER.build(
            LeafNames(subject),
            H.key.public_key(),
            issuer=H.issuing,
            issuer_key=H.issuing_key,
            validity=validity_of(2026),
        )
    SERVER.build(
        LeafNames(subject, ip_addresses=(ip_address("10.0.0.1"),)),
        H.key.public_key(),
        issuer=H.issuing,
        issuer_key=H.issuing_key,
        validity=validity_of(2026),
    )


def validity_of(year: int) -> Validity:
    return Validity(datetime(year, 1, 1, tzinfo=UTC), datetime(year, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (
            datetime(2049, 12, 31, 23, 0, 0, tzinfo=UTC),
            datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
        ),
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)),
        (datetime(2050, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_around_2050_come_out_as_they_went_in(begin: datetime, end: datetime) -> None:
    leaf = H.leaf(times=Validity(begin, end))
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (begin, end)


def test_serial_numbers_hold_more_than_128_random_bits_within_20_octets() -> None:
    serials = {random_serial() for _ in range(1000)}
    assert len(serials) == 1000
    assert all(128 < serial.bit_length() <= 159 for serial in serials)
    spread = 0
    first = random_serial()
    for serial in serials:
        spread |= serial ^ first
    assert spread.bit_count() >= 150
