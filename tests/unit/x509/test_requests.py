"""Certificate requests: proof of possession, and what a request may ask for."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID

from pki.errors import InputError
from pki.keys import generate_key
from pki.x509 import read_request
from pki.x509.profiles.builder import key_usage
from tests.support import Extension, name, request_for

KEY = generate_key()
ORDERS = x509.UniformResourceIdentifier("spiffe://shop.internal/orders")


def pem(request: x509.CertificateSigningRequest) -> bytes:
    return request.public_bytes(serialization.Encoding.PEM)


def der(request: x509.CertificateSigningRequest) -> bytes:
    return request.public_bytes(serialization.Encoding.DER)


GOOD = request_for(KEY, [ORDERS, x509.DNSName("orders.shop.internal")])


def test_a_good_request_is_read_as_pem_and_as_der() -> None:
    for data in (
        pem(GOOD),
        der(GOOD),
        pem(GOOD).replace(b"BEGIN CERT", b"BEGIN NEW CERT").replace(b"END CERT", b"END NEW CERT"),
    ):
        request = read_request(data)
        assert str(request.names.spiffe_id) == "spiffe://shop.internal/orders"


def test_a_request_may_repeat_what_the_profile_gives() -> None:
    extensions: list[Extension] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (key_usage(ca=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    ]
    assert read_request(pem(request_for(KEY, [ORDERS], extensions=extensions)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pem(GOOD) * 2,
        b"text\n" + pem(GOOD),
        pem(GOOD)[:-40],
        der(GOOD)[:-1],
        der(GOOD) + b"\0",
        pem(GOOD).replace(b"CERTIFICATE REQUEST", b"CERTIFICATE"),
        b"\x30" * 10_000_000,
        b"A" * 10_000_000,
    ],
    ids=["empty", "two", "text", "cut", "cut der", "trailing", "label", "10 MB", "10 MB text"],
)
def test_what_is_not_exactly_one_request_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_request(data)


def test_a_request_signed_by_another_key_proves_nothing() -> None:
    forged = bytearray(der(GOOD))
    mine = KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    theirs = (
        generate_key()
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    at = bytes(forged).index(mine)
    forged[at : at + len(mine)] = theirs
    with pytest.raises(InputError, match="no proof of possession"):
        read_request(bytes(forged))


@pytest.mark.parametrize(
    "extension",
    [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (key_usage(ca=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),
        (x509.NameConstraints([x509.DNSName("x.test")], None), True),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False),
    ],
)
def test_what_no_leaf_may_have_is_refused_and_not_dropped(extension: Extension) -> None:
    with pytest.raises(InputError, match="that no leaf may have"):
        read_request(pem(request_for(KEY, [ORDERS], extensions=[extension])))


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP192R1()),
        ec.generate_private_key(ec.SECP256K1()),
    ],
)
def test_a_request_for_a_weak_key_is_refused(key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(InputError):
        read_request(pem(request_for(key, [ORDERS])))


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()]
)
def test_a_request_for_an_edwards_key_is_refused(key: ed25519.Ed25519PrivateKey) -> None:
    made = x509.CertificateSigningRequestBuilder().subject_name(name("x")).sign(key, None)
    with pytest.raises(InputError):
        read_request(pem(made))


def test_a_request_signed_with_an_old_hash_is_refused() -> None:
    key = rsa.generate_private_key(65537, 2048)
    made = (
        x509.CertificateSigningRequestBuilder().subject_name(name("x")).sign(key, hashes.SHA224())
    )
    with pytest.raises(InputError, match="sha224"):
        read_request(pem(made))


def test_a_challenge_password_is_refused() -> None:
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name("x"))
        .add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"secret")
        .sign(KEY, hashes.SHA256())
    )
    with pytest.raises(InputError, match="attribute"):
        read_request(pem(made))


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://shop.internal",
        "spiffe://shop.internal/../x",
        "spiffe://shop.internal//x",
        "spiffe://shop.internal/x/",
        "spiffe://shop.internal/x?y=1",
        "spiffe://shop.internal:1/x",
        "spiffe://Shop.internal/x",
    ],
)
def test_an_ill_formed_id_is_refused(uri: str) -> None:
    with pytest.raises(InputError):
        read_request(pem(request_for(KEY, [x509.UniformResourceIdentifier(uri)])))


def test_two_ids_and_too_many_names_are_refused() -> None:
    with pytest.raises(InputError, match="2 URI names"):
        read_request(pem(request_for(KEY, [ORDERS, ORDERS])))
    many = [x509.DNSName(f"a{number}.example.com") for number in range(65)]
    with pytest.raises(InputError, match="more than 64"):
        read_request(pem(request_for(KEY, many)))


@pytest.mark.parametrize(
    "other",
    [
        x509.DNSName("*.shop.internal"),
        x509.RFC822Name("a@b.test"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ],
)
def test_a_wildcard_or_a_name_of_another_kind_is_refused(other: x509.GeneralName) -> None:
    with pytest.raises(InputError):
        read_request(pem(request_for(KEY, [ORDERS, other])))


def test_an_unprintable_subject_is_refused() -> None:
    with pytest.raises(InputError, match="unprintable"):
        read_request(pem(request_for(KEY, subject=name("a\nb"))))
