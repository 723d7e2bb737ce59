"""No request bypasses the profile, and no bytes cause anything but a typed refusal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AttributeOID, NameOID
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pki.errors import CertificateError, PkiError
from pki.keys import private_key_to_pem, read_private_key
from pki.x509 import (
    CLIENT,
    SERVER,
    WORKLOAD,
    ChainVerifier,
    Credential,
    CrlSet,
    Purpose,
    TrustBundle,
    read_certificate,
    read_chain,
    read_names,
    read_request,
)
from pki.x509.profiles import LeafNames
from pki.x509.profiles.builder import key_usage
from pki.x509.readers import to_pem
from tests.pkimaker import der, raw_extension, sign_body
from tests.support import NOW, Hierarchy, request_for, validity

# cryptography warns about long attributes and odd serial numbers before handfast refuses them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

H = Hierarchy()
LEAF = H.leaf()
CRLS = H.crls([LEAF])
REVOKING = CRLS.crl_for(LEAF)
assert REVOKING is not None
REQUEST = request_for(
    H.key,
    [
        x509.UniformResourceIdentifier("spiffe://shop.internal/orders"),
        x509.DNSName("orders.shop.internal"),
    ],
    extensions=[(key_usage(ca=False), True)],
)
VERIFIER = ChainVerifier(H.bundle, H.crls())


# Requests, however made.

KEYS = (
    H.key,
    ec.generate_private_key(ec.SECP384R1()),
    ec.generate_private_key(ec.SECP521R1()),
    ec.generate_private_key(ec.SECP256K1()),
    rsa.generate_private_key(65537, 2048),
    rsa.generate_private_key(65537, 1024),
    ed25519.Ed25519PrivateKey.generate(),
)
uris = st.sampled_from(
    [
        "spiffe://shop.internal/orders",
        "spiffe://shop.internal/prod/orders",
        "spiffe://shop.internal/orders.v1",
        "spiffe://shop.internal/" + "a" * 70,
        "spiffe://shop.internal/handfast/ca",
        "spiffe://evil.test/orders",
        "spiffe://shop.internal",
        "SPIFFE://shop.internal/orders",
        "https://shop.internal/",
        "",
    ]
)
hosts = st.sampled_from(
    [
        "orders.shop.internal",
        "Orders.Shop.Internal",
        "*.shop.internal",
        "a.b\0.evil",
        "",
        "10.0.0.1",
    ]
) | st.text("a.-*_0", max_size=8)
general_names: st.SearchStrategy[x509.GeneralName] = st.one_of(
    uris.map(x509.UniformResourceIdentifier),
    hosts.map(x509.DNSName),
    st.sampled_from(["10.0.0.1", "::1", "255.255.255.255"]).map(
        lambda text: x509.IPAddress(ip_address(text))
    ),
    st.just(x509.IPAddress(ip_network("10.0.0.0/8"))),
    st.just(x509.RFC822Name("orders@shop.internal")),
    st.just(x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))),
    st.just(x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x05\x00")),
    st.just(x509.DirectoryName(H.root.subject)),
)
values = st.text("abé\0\n\u202e ,=", min_size=1, max_size=6) | st.just("a" * 64)
names = st.lists(
    st.tuples(
        st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.TITLE]), values
    ).map(lambda pair: x509.NameAttribute(*pair)),
    max_size=3,
).map(x509.Name)
extensions = st.lists(
    st.tuples(
        st.one_of(
            st.just(x509.BasicConstraints(ca=True, path_length=None)),
            st.just(x509.BasicConstraints(ca=False, path_length=None)),
            st.booleans().map(lambda ca: key_usage(ca=ca)),
            st.lists(
                st.sampled_from(
                    [Eku.CLIENT_AUTH, Eku.SERVER_AUTH, Eku.CODE_SIGNING, Eku.ANY_EXTENDED_KEY_USAGE]
                ),
                min_size=1,
                max_size=2,
            ).map(x509.ExtendedKeyUsage),
            st.just(x509.NameConstraints([x509.DNSName("shop.internal")], None)),
            st.just(x509.SubjectKeyIdentifier(b"a")),
            st.binary(max_size=6).map(lambda data: raw_extension(x509.KeyUsage, data)),
            st.binary(max_size=6).map(lambda data: raw_extension(x509.NameConstraints, data)),
            st.binary(max_size=6).map(
                lambda data: x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), data)
            ),
        ),
        st.booleans(),
    ),
    max_size=2,
    unique_by=lambda pair: pair[0].oid,
)


def issued_from(data: bytes) -> bool:
    """Read a request, and issue what it asks for without admission; return False if refused."""
    try:
        request = read_request(data)
    except PkiError:
        return False
    asked = request.names
    for profile in (WORKLOAD, SERVER, CLIENT):
        spiffe_id = asked.spiffe_id
        wanted = LeafNames(asked.subject, spiffe_id, asked.dns_names, asked.ip_addresses)
        try:
            leaf = profile.build(
                wanted,
                request.public_key,
                issuer=H.issuing,
                issuer_key=H.issuing_key,
                validity=validity(),
            )
        except CertificateError:
            # The order adds what a request leaves out; what is in the request must be valid.
            assert profile is not WORKLOAD or spiffe_id is None
            continue
        assert profile.check(leaf) == asked
        assert read_certificate(der(leaf)) == leaf
    return True


@settings(max_examples=250, deadline=None)
@given(
    st.sampled_from(KEYS),
    names,
    st.lists(general_names, max_size=3),
    extensions,
    st.booleans(),
)
def test_no_request_however_made_yields_a_leaf_that_its_profile_refuses(
    key: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    alternatives: list[x509.GeneralName],
    asked: list[tuple[x509.ExtensionType, bool]],
    password: bool,
) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    for value, critical in asked:
        builder = builder.add_extension(value, critical)
    if password:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"secret")
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    issued_from(der(builder.sign(key, algorithm)))


changes = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.sampled_from(["set", "set", "set", "drop", "insert"]),
        st.sampled_from([0x00, 0x01, 0x05, 0x0C, 0x13, 0x16, 0x17, 0x18, 0x1E, 0x30, 0x7F, 0xFF])
        | st.integers(0, 255),
    ),
    min_size=1,
    max_size=3,
)


def changed(data: bytes, how: list[tuple[int, str, int]]) -> bytes:
    out = bytearray(data)
    for place, what, byte in how:
        at = place % len(out)
        if what == "set":
            out[at] = byte
        elif what == "drop":
            del out[at]
        else:
            out.insert(at, byte)
    return bytes(out)


@settings(max_examples=300, deadline=None)
@given(changes)
def test_no_request_changed_and_signed_anew_gets_round_the_profile(
    how: list[tuple[int, str, int]],
) -> None:
    issued_from(sign_body(changed(REQUEST.tbs_certrequest_bytes, how), H.key))


def test_the_request_that_the_others_differ_from_is_issued() -> None:
    assert issued_from(der(REQUEST))
    assert issued_from(sign_body(REQUEST.tbs_certrequest_bytes, H.key))


# Bytes, however changed.


def verify_leaf(data: bytes) -> None:
    leaf = read_certificate(data)
    VERIFIER.verify([leaf, H.issuing], profile=WORKLOAD, purpose=Purpose.CLIENT, at=NOW)


def verify_below(data: bytes) -> None:
    issuing = read_certificate(data)
    VERIFIER.verify([LEAF, issuing], profile=WORKLOAD, purpose=Purpose.CLIENT, at=NOW)


def verify_under(data: bytes) -> None:
    bundle = TrustBundle.read(to_pem([read_certificate(data)]))
    ChainVerifier(bundle, H.crls()).verify(
        [LEAF, H.issuing], profile=WORKLOAD, purpose=Purpose.CLIENT, at=NOW
    )


def verify_with_crl(data: bytes) -> None:
    crls, _ = H.crls().merge_newer(CrlSet.read(data), issuers=[H.issuing, H.root])
    ChainVerifier(H.bundle, crls, grace=timedelta(days=1)).verify(
        [LEAF, H.issuing], profile=WORKLOAD, purpose=Purpose.CLIENT, at=NOW
    )


def hold(data: bytes) -> None:
    Credential(H.key, (read_certificate(data),), H.bundle, None)


BODIES: dict[str, tuple[Callable[[bytes], object], bytes, Callable[[bytes], bytes]]] = {
    "leaf": (
        verify_leaf,
        LEAF.tbs_certificate_bytes,
        lambda body: sign_body(body, H.issuing_key),
    ),
    "issuing CA": (
        verify_below,
        H.issuing.tbs_certificate_bytes,
        lambda body: sign_body(body, H.root_key),
    ),
    "root": (
        verify_under,
        H.root.tbs_certificate_bytes,
        lambda body: sign_body(body, H.root_key),
    ),
    "list": (
        verify_with_crl,
        REVOKING.crl.tbs_certlist_bytes,
        lambda body: sign_body(body, H.issuing_key),
    ),
    "credential": (
        hold,
        LEAF.tbs_certificate_bytes,
        lambda body: sign_body(body, H.issuing_key),
    ),
}


@pytest.mark.parametrize("kind", list(BODIES))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(how=changes)
def test_what_is_changed_and_signed_anew_brings_a_verdict_or_a_typed_refusal(
    kind: str, how: list[tuple[int, str, int]]
) -> None:
    use, body, sign = BODIES[kind]
    with suppress(PkiError):
        use(sign(changed(body, how)))


@settings(max_examples=150, deadline=None)
@given(changes)
def test_a_leaf_changed_after_it_was_signed_is_refused(how: list[tuple[int, str, int]]) -> None:
    data = changed(der(LEAF), how)
    if data != der(LEAF):
        with pytest.raises(PkiError):
            verify_leaf(data)


READERS: tuple[Callable[[bytes], object], ...] = (
    read_certificate,
    read_chain,
    read_request,
    TrustBundle.read,
    CrlSet.read,
    read_private_key,
)
PEM = to_pem([LEAF, H.issuing]) + private_key_to_pem(H.key)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=60)
    | st.builds(changed, st.just(PEM), changes)
    | st.builds(changed, st.just(private_key_to_pem(H.key)), changes)
)
def test_no_reader_raises_anything_but_a_typed_refusal(data: bytes) -> None:
    for reader in READERS:
        with suppress(PkiError):
            reader(data)


@settings(max_examples=150, deadline=None)
@given(changes)
def test_the_names_of_a_changed_certificate_are_parsed_values_or_refused(
    how: list[tuple[int, str, int]],
) -> None:
    try:
        found = read_names(read_certificate(changed(der(LEAF), how)))
    except PkiError:
        return
    assert str(found.subject).isprintable()
    assert all(uri.isprintable() and uri.isascii() for uri in found.uris)
