"""Requests made to break their reader, or to ask for more than they seem to, get typed errors."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pki.errors import CertificateError, InputError
from pki.keys import generate_key
from pki.x509 import read_request
from pki.x509.profiles.builder import key_usage
from tests.pkimaker import CUT_NAMES, X400_NAMES, der, sign_body, tlv
from tests.support import Extension, name, request_for

KEY = generate_key()
ORDERS = x509.UniformResourceIdentifier("spiffe://shop.internal/orders")


def read(request: x509.CertificateSigningRequest) -> object:
    return read_request(der(request))


@pytest.mark.parametrize("san", [X400_NAMES, CUT_NAMES], ids=["x400", "cut"])
def test_a_request_whose_names_cannot_be_decoded_is_refused(san: x509.ExtensionType) -> None:
    with pytest.raises(CertificateError, match="can't be decoded"):
        read(request_for(KEY, extensions=[(san, False)]))


def test_a_request_of_another_version_is_refused() -> None:
    body = request_for(KEY, [ORDERS]).tbs_certrequest_bytes
    assert body[2 if body[1] < 0x80 else 3 :].startswith(b"\x02\x01\x00")
    at = body.index(b"\x02\x01\x00")
    with pytest.raises(CertificateError, match="can't be decoded"):
        read_request(sign_body(body[:at] + b"\x02\x01\x07" + body[at + 3 :], KEY))


def test_extensions_that_hide_behind_the_first_request_for_some_are_refused() -> None:
    asks = bytes.fromhex("06092a864886f70d01090e")  # extensionRequest

    def body_and_attribute(*extensions: Extension) -> tuple[bytes, bytes]:
        body = request_for(KEY, extensions=extensions).tbs_certrequest_bytes
        return body, body[body.index(asks) - 2 :]

    body, seen = body_and_attribute((x509.SubjectKeyIdentifier(b"a"), False))
    _, hidden = body_and_attribute(
        (x509.BasicConstraints(ca=True, path_length=None), True), (key_usage(ca=True), True)
    )
    assert seen < hidden  # the order that DER has them in
    head = body[body.index(b"\x02\x01\x00") : body.rindex(b"\xa0", 0, -len(seen))]
    assert read_request(sign_body(tlv(0x30, head + tlv(0xA0, seen)), KEY))
    with pytest.raises(CertificateError, match="asks for extensions 2 times"):
        read_request(sign_body(tlv(0x30, head + tlv(0xA0, seen + hidden)), KEY))


@pytest.mark.parametrize("bit", ["encipher_only", "decipher_only"])
def test_a_usage_that_is_no_signature_is_refused_and_not_dropped(bit: str) -> None:
    bits = dict.fromkeys(
        [
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ],
        False,
    )
    good = x509.KeyUsage(key_agreement=True, **bits)
    assert read(request_for(KEY, [ORDERS], extensions=[(good, True)]))
    bad = x509.KeyUsage(key_agreement=True, **{**bits, bit: True})
    with pytest.raises(CertificateError, match="that no leaf may have"):
        read(request_for(KEY, [ORDERS], extensions=[(bad, True)]))


@pytest.mark.parametrize("uri", ["https://shop.internal/orders", "urn:x", "SPIFFE-x://a/b"])
def test_a_uri_that_is_no_spiffe_id_is_refused_and_not_dropped(uri: str) -> None:
    with pytest.raises(CertificateError, match="no SPIFFE ID"):
        read(request_for(KEY, [x509.UniformResourceIdentifier(uri)]))


@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_a_subject_longer_than_any_certificate_may_hold_is_refused() -> None:
    long = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a" * 65, _validate=False)])
    with pytest.raises(InputError, match="can't be written in a certificate"):
        read(request_for(KEY, [ORDERS], subject=long))
    assert read(request_for(KEY, [ORDERS], subject=name("a" * 64)))


def test_an_order_of_many_megabytes_is_refused_before_it_is_looked_at() -> None:
    for data in (b"\x30" * 10_000_000, b"-----BEGIN CERTIFICATE REQUEST-----\n" * 300_000):
        with pytest.raises(InputError, match=r"is the most|larger than"):
            read_request(data)


def test_a_signature_algorithm_that_the_library_does_not_know_is_refused() -> None:
    request = request_for(KEY, [ORDERS])
    assert isinstance(request.signature_hash_algorithm, hashes.SHA256)
    forged = der(request).replace(bytes.fromhex("06082a8648ce3d040302"), b"\x06\x08" + b"\x2a" * 8)
    with pytest.raises(CertificateError, match="unknown algorithm"):
        read_request(forged)


def test_a_subject_that_cannot_be_decoded_is_refused() -> None:
    body = request_for(KEY, subject=name("orders")).tbs_certrequest_bytes
    at = body.index(b"\x0c\x06orders")
    odd = sign_body(body[:at] + b"\x0c\x06\xff" + body[at + 3 :], KEY)
    with pytest.raises(InputError, match="can't be read"):
        read_request(odd)
