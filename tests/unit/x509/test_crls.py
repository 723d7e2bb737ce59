"""CRLs: their form, and that an older one never replaces a newer one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pki.errors import CertificateError, InputError
from pki.keys import KeyType, generate_key
from pki.x509 import WORKLOAD, Crl, CrlSet, Fault, Purpose, RevocationMode
from pki.x509.profiles.builder import authority_key_identifier
from pki.x509.readers import read_certificate, read_chain, read_crls, to_pem
from pki.x509.revocation import RevokedEntry
from pki.x509.verify import ChainVerifier
from tests.support import NOW, Extension, Hierarchy

H = Hierarchy()
MOST = 64  # that are read back
GOOD = H.crl_of(H.issuing, H.issuing_key)
NUMBER: Extension = (x509.CRLNumber(1), False)
AKI: Extension = (authority_key_identifier(H.issuing), False)


def crl(*extensions: Extension, entry: Extension | None = None) -> x509.CertificateRevocationList:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(H.issuing.subject)
        .last_update(NOW)
        .next_update(NOW + timedelta(days=1))
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    if entry:
        revoked = x509.RevokedCertificateBuilder().serial_number(5).revocation_date(NOW)
        builder = builder.add_revoked_certificate(revoked.add_extension(*entry).build())
    return builder.sign(H.issuing_key, hashes.SHA256())


def test_the_list_that_the_bad_ones_differ_from_is_good() -> None:
    made = Crl.of(crl(NUMBER, AKI))
    assert (made.number, made.revoked) == (1, frozenset())


@pytest.mark.parametrize(
    ("extensions", "words"),
    [
        ([AKI], "no number"),
        ([(x509.CRLNumber(1), True), AKI], "as critical"),
        ([(x509.CRLNumber(1 << 160), False), AKI], "no number within"),
        ([NUMBER, AKI, (x509.DeltaCRLIndicator(1), False)], "delta"),
        (
            [
                NUMBER,
                AKI,
                (
                    x509.IssuingDistributionPoint(None, None, True, False, None, False, False),
                    True,
                ),
            ],
            "as critical",
        ),
    ],
)
def test_a_list_that_says_less_than_it_seems_is_refused(
    extensions: list[Extension], words: str
) -> None:
    with pytest.raises(CertificateError, match=words):
        Crl.of(crl(*extensions))


def test_entries_of_other_issuers_are_refused() -> None:
    entry: Extension = (x509.CertificateIssuer([x509.DirectoryName(H.root.subject)]), True)
    with pytest.raises(CertificateError, match="other issuers"):
        Crl.of(crl(NUMBER, AKI, entry=entry))


def test_a_list_is_built_with_reasons_and_its_issuers_key() -> None:
    made = Crl.build(
        [
            RevokedEntry(5, NOW, x509.ReasonFlags.key_compromise),
            RevokedEntry(6, NOW),
            RevokedEntry(5, NOW, x509.ReasonFlags.superseded),
        ],
        issuer=H.issuing,
        issuer_key=H.issuing_key,
        number=7,
        this_update=NOW,
        next_update=NOW + timedelta(days=1),
    )
    assert (made.number, made.revoked) == (7, frozenset({5, 6}))
    assert [item.serial_number for item in made.crl] == [5, 6], "a serial number is there once"
    first = made.crl.get_revoked_certificate_by_serial_number(5)
    assert first is not None
    assert first.extensions[0].value == x509.CRLReason(x509.ReasonFlags.key_compromise)
    assert made.crl.is_signature_valid(H.issuing_key.public_key())


def test_two_lists_of_one_issuer_are_refused() -> None:
    with pytest.raises(CertificateError, match="two revocation lists of one issuer"):
        CrlSet.of([GOOD, GOOD])


def test_a_higher_number_takes_the_place_of_a_lower_one_and_never_back() -> None:
    leaf = H.leaf()
    older = CrlSet.of([H.crl_of(H.issuing, H.issuing_key, number=1)])
    newer = CrlSet.of([H.crl_of(H.issuing, H.issuing_key, [leaf], number=2)])
    merged, refused = older.merge_newer(newer)
    assert not refused
    assert merged.crls == newer.crls
    again, refused = merged.merge_newer(older)
    assert "older than list 2" in refused[0]
    assert again.crl_for(leaf) is newer.crl_for(leaf)


def test_another_list_under_a_number_seen_is_refused() -> None:
    leaf = H.leaf()
    first = CrlSet.of([H.crl_of(H.issuing, H.issuing_key, [leaf], number=2)])
    second = CrlSet.of([H.crl_of(H.issuing, H.issuing_key, number=2)])
    merged, refused = first.merge_newer(second)
    assert "another revocation list" in refused[0]
    assert merged.crls == first.crls
    assert first.merge_newer(CrlSet.read(GOOD.der))[0].crls == first.crls


def test_the_same_list_again_is_no_news() -> None:
    seen = CrlSet.of([GOOD])
    merged, refused = seen.merge_newer(CrlSet.read(GOOD.der))
    assert not refused
    assert merged.crl_for(H.leaf()) is GOOD


def test_lists_are_read_as_pem_or_der_and_nothing_else_beside_them() -> None:
    pem = to_pem([GOOD.crl])
    assert read_crls(pem + to_pem([H.crl_of(H.root, H.root_key).crl]))
    assert read_crls(GOOD.der)
    for bad in (
        b"",
        pem + b"word",
        pem + to_pem([H.root]),
        pem[:-20],
        GOOD.der + b"\0",
        GOOD.der[:-1],
        b"\x30\x03\x02\x01\x05",
    ):
        with pytest.raises(InputError):
            read_crls(bad)


def test_a_list_of_100_000_entries_is_read_and_counts() -> None:
    leaf = H.leaf()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(H.issuing.subject)
        .last_update(NOW - timedelta(hours=1))
        .next_update(NOW + timedelta(days=1))
        .add_extension(*NUMBER)
        .add_extension(*AKI)
    )
    serials = [*range(1, 100_000), leaf.serial_number]
    entries = [
        x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW).build()
        for serial in serials
    ]
    builder = x509.CertificateRevocationListBuilder(
        H.issuing.subject,
        NOW - timedelta(hours=1),
        NOW + timedelta(days=1),
        list(builder._extensions),
        entries,
    )
    der = builder.sign(H.issuing_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    crls = CrlSet.of([Crl.of(read_crls(der)[0])])
    crls, _ = crls.merge_newer(CrlSet.of([H.crl_of(H.root, H.root_key)]))
    verifier = ChainVerifier(H.bundle, crls, mode=RevocationMode.REQUIRED)
    with pytest.raises(Exception, match="revoked") as caught:
        verifier.verify([leaf, H.issuing], profile=WORKLOAD, purpose=Purpose.CLIENT, at=NOW)
    assert caught.value.fault == Fault.REVOKED  # type: ignore[attr-defined]


def test_lists_of_every_ca_key_type_verify() -> None:
    for kind in (KeyType.ECDSA_P384, KeyType.ED25519, KeyType.RSA_3072):
        h = Hierarchy(issuing_key=generate_key(kind))
        ChainVerifier(h.bundle, h.crls()).verify(
            [h.leaf(), h.issuing], profile=WORKLOAD, purpose=Purpose.CLIENT, at=NOW
        )


CERTIFICATE = to_pem([H.root])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        CERTIFICATE * 2,
        b"hello\n" + CERTIFICATE,
        CERTIFICATE + b"hello",
        CERTIFICATE[:-30],
        to_pem([GOOD.crl]),
        CERTIFICATE.replace(b"CERTIFICATE", b"PRIVATE KEY"),
        H.root.public_bytes(serialization.Encoding.DER) + b"\0",
        b"\x30" + b"\0" * 20_000,
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_is_not_exactly_one_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_certificate(data)


def test_a_chain_is_bounded() -> None:
    assert len(read_chain(CERTIFICATE * 8)) == 8
    with pytest.raises(CertificateError, match="9 objects; 8"):
        read_chain(CERTIFICATE * 9)


def of_many_issuers(count: int, *, first: int = 0) -> list[Crl]:
    """Return CRLs of issuers that differ only in name; each ends an hour after the one before."""
    key = generate_key()
    made = []
    for number in range(first, first + count):
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"issuing {number}")])
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name)
            .last_update(NOW)
            .next_update(NOW + timedelta(hours=10 + number))
            .add_extension(x509.CRLNumber(1), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False
            )
        )
        made.append(Crl.of(builder.sign(key, hashes.SHA256())))
    return made


def test_what_is_remembered_of_many_issuers_can_be_read_back() -> None:
    seen = CrlSet.none()
    retired = of_many_issuers(2 * MOST)
    brought = CrlSet.of(of_many_issuers(3, first=-5))
    for item in retired:
        seen, refused = seen.merge_newer(CrlSet.of([item, *brought.crls.values()]))
        assert not refused
    assert len(seen.crls) == MOST
    assert CrlSet.read(to_pem([item.crl for item in seen.crls.values()]))
    for issuer in brought.crls:
        assert issuer in seen.crls, "what is brought stays, however soon it ends"
    assert retired[-1].issuer in seen.crls
    assert retired[0].issuer not in seen.crls, "it has ended first"
