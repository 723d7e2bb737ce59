"""Certificates, roots, requests and credentials made to break their reader get typed errors."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.errors import CertificateError, CredentialError, VerificationError
from pki.identity import SpiffeId, Subject
from pki.keys import generate_key
from pki.x509 import (
    CLIENT,
    WORKLOAD,
    ChainVerifier,
    Credential,
    CrlSet,
    Fault,
    Purpose,
    TrustBundle,
    read_certificate,
    read_names,
)
from pki.x509.decoding import extensions_of
from pki.x509.profiles import LeafNames, RootProfile
from pki.x509.profiles.builder import Validity, key_usage
from pki.x509.readers import decode_certificate, to_pem
from tests.pkimaker import CUT_NAMES, X400_NAMES, certificate, der, raw_extension, sign_body
from tests.support import (
    GOOD_LEAF,
    NOW,
    SHOP,
    YEAR,
    Extension,
    Hierarchy,
    name,
    sign_unchecked,
    validity,
    with_extension,
    without_extension,
)

H = Hierarchy()
ORDERS = x509.UniformResourceIdentifier("spiffe://shop.internal/orders")
EMPTY = raw_extension(x509.SubjectAlternativeName, b"\x30\x00")


def leaf_with(san: x509.ExtensionType) -> x509.Certificate:
    return sign_unchecked(H, [*without_extension(x509.SubjectAlternativeName), (san, False)])


def refusal(*chain: x509.Certificate) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        ChainVerifier(H.bundle, H.crls()).verify(
            chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=NOW
        )
    return caught.value


@pytest.mark.parametrize("san", [X400_NAMES, CUT_NAMES], ids=["x400", "cut"])
def test_a_leaf_whose_names_cannot_be_decoded_is_refused_wherever_it_turns_up(
    san: x509.ExtensionType,
) -> None:
    bad = leaf_with(san)
    with pytest.raises(CertificateError, match="can't be decoded"):
        read_certificate(der(bad))
    for look in (read_names, WORKLOAD.check, extensions_of, RootProfile.check):
        with pytest.raises(CertificateError, match="extensions can't be read"):
            look(bad)
    assert refusal(bad, H.issuing).fault is Fault.PROFILE


def test_a_leaf_with_an_empty_list_of_names_is_refused() -> None:
    assert "no subject alternative name" in str(refusal(leaf_with(EMPTY), H.issuing))


def test_no_profile_builds_a_leaf_without_names() -> None:
    with pytest.raises(CertificateError, match="no subject alternative name"):
        CLIENT.build(
            LeafNames(Subject.parse("CN=tool")),
            H.key.public_key(),
            issuer=H.issuing,
            issuer_key=H.issuing_key,
            validity=validity(),
        )


def test_no_profile_builds_a_subject_that_is_too_long() -> None:
    cn = x509.NameOID.COMMON_NAME.dotted_string
    with pytest.raises(CertificateError, match="can't be written in a certificate"):
        CLIENT.build(
            LeafNames(Subject((frozenset({(cn, "a" * 65)}),))),
            H.key.public_key(),
            issuer=H.issuing,
            issuer_key=H.issuing_key,
            validity=validity(),
        )


def test_a_spiffe_id_beside_another_uri_is_refused_by_every_profile() -> None:
    # Otherwise, a root of any trust domain could be used: the leaf would not decide which one.
    both = x509.SubjectAlternativeName([ORDERS, x509.UniformResourceIdentifier("https://x.test/")])
    for profile in (WORKLOAD, CLIENT):
        with pytest.raises(CertificateError, match="2 URI names"):
            profile.check(leaf_with(both))
    alone = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://x.test/")])
    assert CLIENT.check(leaf_with(alone)).uris == ("https://x.test/",)


def test_a_key_that_openssl_alone_can_read_is_refused() -> None:
    odd = sign_unchecked(H, key=ec.generate_private_key(ec.SECP256K1()))
    assert refusal(odd, H.issuing).fault is Fault.PROFILE
    with pytest.raises(CertificateError, match="secp256k1"):
        Credential(H.key, (odd,), H.bundle, None)


def test_a_key_that_nobody_can_read_is_refused() -> None:
    body = bytearray(sign_unchecked(H).tbs_certificate_bytes)
    point = H.key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    at = bytes(body).index(point)
    body[at + 1] ^= 0xFF
    odd = decode_certificate(sign_body(bytes(body), H.issuing_key), what="certificate")
    with pytest.raises(CertificateError, match="key can't be read"):
        WORKLOAD.check(odd)
    with pytest.raises(CertificateError, match="key can't be read"):
        Credential(H.key, (odd,), H.bundle, None)


def test_a_leaf_that_ends_before_it_begins_is_refused() -> None:
    body = sign_unchecked(H).tbs_certificate_bytes
    begin, end = (
        moment.strftime("%y%m%d%H%M%SZ").encode()
        for moment in (validity().not_before, validity().not_after)
    )
    swapped = body.replace(begin, b"?" * 13).replace(end, begin).replace(b"?" * 13, end)
    odd = decode_certificate(sign_body(swapped, H.issuing_key), what="certificate")
    with pytest.raises(CertificateError, match="ends before it begins"):
        WORKLOAD.check(odd)


def test_a_subject_that_is_no_text_is_refused() -> None:
    odd = x509.Name(
        [
            x509.NameAttribute(
                x509.NameOID.X500_UNIQUE_IDENTIFIER, b"\x01", x509.name._ASN1Type.BitString
            )
        ]
    )
    with pytest.raises(CertificateError, match="is not text"):
        WORKLOAD.check(sign_unchecked(H, subject=odd))


def test_a_credential_is_its_keys_and_never_shown() -> None:
    leaf = H.leaf()
    mine = Credential(H.key, (leaf, H.issuing), H.bundle, None)
    assert mine.spiffe_id == SpiffeId.of_path(SHOP, "orders")
    assert repr(mine) == f"Credential(serial={leaf.serial_number:x})"
    with pytest.raises(CredentialError, match="does not belong"):
        Credential(generate_key(), (leaf, H.issuing), H.bundle, None)


def test_a_credential_without_a_certificate_is_refused() -> None:
    with pytest.raises(CredentialError, match="no certificate"):
        Credential(H.key, (), H.bundle, None)


def in_octets(body: bytes, text: str) -> bytes:
    """Make a name's text an OCTET STRING, which cryptography reads as text and OpenSSL does not."""
    old = bytes([0x0C, len(text)]) + text.encode()
    assert old in body
    return body.replace(old, b"\x04" + old[1:])


def test_a_leaf_that_openssl_cannot_read_is_refused() -> None:
    data = sign_body(in_octets(sign_unchecked(H).tbs_certificate_bytes, "orders"), H.issuing_key)
    error = refusal(decode_certificate(data, what="certificate"), H.issuing)
    assert "can't be read by OpenSSL" in str(error)
    assert error.fault is Fault.INVALID


def test_a_root_that_openssl_cannot_read_is_refused_at_load() -> None:
    data = sign_body(in_octets(root().tbs_certificate_bytes, "root"), H.root_key)
    with pytest.raises(CertificateError, match="root can't be read by OpenSSL"):
        TrustBundle.of_roots([decode_certificate(data, what="root")], default=SHOP)


def test_a_list_that_openssl_cannot_read_is_refused_at_load() -> None:
    issuer = H.issuing.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    body = H.crl_of(H.issuing, H.issuing_key).crl.tbs_certlist_bytes
    assert CrlSet.read(sign_body(body, H.issuing_key))
    with pytest.raises(CertificateError, match="list can't be read by OpenSSL"):
        CrlSet.read(sign_body(in_octets(body, str(issuer)), H.issuing_key))


# Roots.


def root(*extra: Extension, issuer_key: object = None) -> x509.Certificate:
    return certificate(
        name("root"),
        H.root_key,
        issuer=name("root"),
        issuer_key=issuer_key or H.root_key,  # type: ignore[arg-type]
        begin=YEAR.not_before,
        end=YEAR.not_after,
        extensions=[
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (key_usage(ca=True), True),
            (x509.SubjectKeyIdentifier.from_public_key(H.root_key.public_key()), False),
            *extra,
        ],
    )


def uris(*values: str) -> Extension:
    names = [x509.UniformResourceIdentifier(value) for value in values]
    return x509.SubjectAlternativeName(names), False


def test_the_root_that_the_bad_ones_differ_from_is_taken() -> None:
    bundle = TrustBundle.of_roots([root(uris("spiffe://shop.internal"))])
    assert list(bundle.roots) == [SHOP]
    # A URI that is no SPIFFE ID is ignored.
    assert TrustBundle.of_roots([root(uris("https://ca.test/"))], default=SHOP).roots_of(SHOP)


@pytest.mark.parametrize(
    "values",
    [
        ("spiffe://shop.internal", "spiffe://evil.test"),
        ("spiffe://shop.internal", "https://ca.test/"),
        ("SPIFFE://shop.internal",),
        ("spiffe:shop.internal",),
        ("spiffe://shop.internal/ca",),
        ("spiffe://",),
        ("spiffe://Shop.internal",),
    ],
)
def test_a_root_that_does_not_name_one_trust_domain_is_refused_despite_a_default(
    values: tuple[str, ...],
) -> None:
    with pytest.raises(CertificateError):
        TrustBundle.of_roots([root(uris(*values))], default=SHOP)


def test_a_root_under_another_keys_signature_is_refused() -> None:
    with pytest.raises(CertificateError, match="not signed with its own key"):
        TrustBundle.of_roots([root(issuer_key=H.issuing_key)], default=SHOP)


def test_a_root_with_one_bit_changed_is_refused_at_load() -> None:
    data = bytearray(der(H.root))
    data[-1] ^= 1
    with pytest.raises(CertificateError, match="not signed with its own key"):
        TrustBundle.read(to_pem([H.root, read_certificate(bytes(data))]))


def test_the_same_root_twice_is_one_root() -> None:
    bundle = TrustBundle.read(to_pem([H.root, H.root]))
    assert bundle.all_roots() == (H.root,)
    ChainVerifier(bundle, H.crls()).verify(
        [H.leaf(), H.issuing, H.issuing, H.root, H.root],
        profile=WORKLOAD,
        purpose=Purpose.CLIENT,
        at=NOW,
    )


# Building.


def test_a_life_that_ends_before_it_begins_is_refused() -> None:
    assert Validity(NOW, NOW)
    with pytest.raises(CertificateError, match="before it begins"):
        Validity(NOW, validity().not_before)


def test_a_leaf_may_hold_other_usages_beside_its_own() -> None:
    more = x509.ExtendedKeyUsage(
        [
            ExtendedKeyUsageOID.CLIENT_AUTH,
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.EMAIL_PROTECTION,
        ]
    )
    assert WORKLOAD.check(sign_unchecked(H, with_extension((more, False))))
    assert len(GOOD_LEAF) == 4
