"""CRLs that are forged, revoke less than they seem to, or name another issuer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pki.errors import CertificateError, InputError, VerificationError
from pki.x509 import (
    WORKLOAD,
    ChainVerifier,
    Crl,
    CrlSet,
    Fault,
    IssuerId,
    Purpose,
    RevocationMode,
    TrustBundle,
)
from pki.x509.profiles.builder import authority_key_identifier, key_usage
from pki.x509.readers import MAX_CRLS_BYTES
from tests.pkimaker import certificate, crl_in_der, raw_extension, sign_body, tlv
from tests.support import (
    GOOD_LEAF,
    NOW,
    SHOP,
    YEAR,
    Extension,
    Hierarchy,
    name,
    sign_unchecked,
)

H = Hierarchy()
LEAF = H.leaf()
DAY = timedelta(days=1)
Entries = list[tuple[int, list[Extension]]]
REASONS = (x509.ReasonFlags.key_compromise, x509.ReasonFlags.remove_from_crl)
NUMBER: Extension = (x509.CRLNumber(1), False)
ISSUER: Extension = (authority_key_identifier(H.issuing), False)


def signed(
    *extensions: Extension,
    entries: Entries | None = None,
    by: Hierarchy = H,
) -> Crl:
    crl = crl_in_der(
        H.issuing,
        by.issuing_key,
        extensions,
        begin=NOW - DAY,
        end=NOW + DAY,
        entries=entries or [],
    )
    return Crl.of(crl)


def fault(crls: CrlSet, mode: RevocationMode) -> str:
    with pytest.raises(VerificationError) as caught:
        ChainVerifier(H.bundle, crls, mode=mode).verify(
            [LEAF, H.issuing], profile=WORKLOAD, purpose=Purpose.CLIENT, at=NOW
        )
    return caught.value.fault


def with_root(item: Crl) -> CrlSet:
    return CrlSet.of([H.crl_of(H.root, H.root_key), item])


def test_a_list_of_its_issuer_is_believed() -> None:
    verifier = ChainVerifier(H.bundle, with_root(signed(NUMBER, ISSUER)))
    for _ in range(2):
        assert verifier.verify([LEAF, H.issuing], profile=WORKLOAD, purpose=Purpose.CLIENT, at=NOW)


@pytest.mark.parametrize("mode", list(RevocationMode))
def test_a_forged_list_is_no_revocation_and_no_pardon_either(mode: RevocationMode) -> None:
    hit: Entries = [(LEAF.serial_number, [])]
    for entries in (hit, []):
        forged = signed(NUMBER, ISSUER, entries=entries, by=Hierarchy())
        assert fault(with_root(forged), mode) == Fault.REVOCATION_UNKNOWN


def test_a_list_that_names_no_key_is_refused_and_not_passed_over() -> None:
    # The default of ``openssl ca``. It would match no certificate's issuer, and with optional CRLs,
    # the certificates that it revokes would be accepted.
    with pytest.raises(CertificateError, match="does not name its issuer's key"):
        signed(NUMBER, entries=[(LEAF.serial_number, [])])


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize(
    "scope",
    [
        {"only_contains_user_certs": True},
        {"only_contains_ca_certs": True},
        {"only_contains_attribute_certs": True},
        {"indirect_crl": True},
        {"only_some_reasons": frozenset({x509.ReasonFlags.key_compromise})},
    ],
)
def test_a_partial_list_is_refused_even_if_it_is_not_marked_critical(
    scope: dict[str, object], critical: bool
) -> None:
    whole: dict[str, object] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    point = x509.IssuingDistributionPoint(**{**whole, **scope})  # type: ignore[arg-type]
    with pytest.raises(CertificateError, match="partial"):
        signed(NUMBER, ISSUER, (point, critical))


@pytest.mark.parametrize("critical", [True, False])
def test_entries_that_cannot_be_read_or_name_other_issuers_are_refused(critical: bool) -> None:
    cut = raw_extension(x509.CRLReason, b"\x01\x02\x03")
    other = x509.CertificateIssuer([x509.DirectoryName(H.root.subject)])
    for addition in (cut, other):
        with pytest.raises(CertificateError):
            signed(NUMBER, ISSUER, entries=[(5, [(addition, critical)])])


def test_lists_that_are_too_large_or_never_end_are_refused() -> None:
    with pytest.raises(InputError, match="is the most"):
        CrlSet.read(b"\x30" * (MAX_CRLS_BYTES + 1))
    body = signed(NUMBER, ISSUER).crl.tbs_certlist_bytes
    update = (NOW + DAY).strftime("%y%m%d%H%M%SZ").encode()
    end = tlv(0x17, update)
    assert body.count(end) == 1
    inner = body[2 if body[1] < 0x80 else 3 :].replace(end, b"")
    with pytest.raises(CertificateError, match="no next update"):
        CrlSet.read(sign_body(tlv(0x30, inner), H.issuing_key))


def test_one_serial_number_twice_and_every_reason_revokes() -> None:
    twice: Entries = [(LEAF.serial_number, [(x509.CRLReason(reason), False)]) for reason in REASONS]
    assert fault(with_root(signed(NUMBER, ISSUER, entries=twice)), RevocationMode.REQUIRED) == (
        Fault.REVOKED
    )


# Remembered CRLs


def numbered(number: int, by: Hierarchy = H) -> CrlSet:
    return CrlSet.of([signed((x509.CRLNumber(number), False), ISSUER, by=by)])


def test_a_forged_number_does_not_shut_out_the_true_lists() -> None:
    seen = numbered(1)
    merged, refused = seen.merge_newer(numbered(1 << 150, by=Hierarchy()), issuers=[H.issuing])
    assert "not signed by the issuer" in refused[0]
    merged, refused = merged.merge_newer(numbered(2), issuers=[H.issuing, H.root])
    assert not refused
    assert merged.crl_for(LEAF) == numbered_of(merged, 2)


def numbered_of(crls: CrlSet, number: int) -> Crl:
    (found,) = [item for item in crls.crls.values() if item.number == number]
    return found


def test_a_list_of_an_issuer_that_is_not_at_hand_is_kept_for_later() -> None:
    merged, refused = CrlSet.none().merge_newer(numbered(7), issuers=[H.root])
    assert not refused
    assert numbered_of(merged, 7)


def test_an_issuer_is_named_as_its_certificates_name_it() -> None:
    assert IssuerId.of_ca(H.issuing) == IssuerId.of(LEAF)
    assert IssuerId.of_ca(H.root) == IssuerId.of(H.issuing)
    assert IssuerId.of_ca(sign_unchecked(H)).key_id == b""


def test_a_key_that_may_not_sign_anything_signed_no_list() -> None:
    assert signed(NUMBER, ISSUER).is_signed_by(H.issuing)
    for odd in (sign_unchecked(H), sign_unchecked(H, key=ec.generate_private_key(ec.SECP256K1()))):
        assert not signed(NUMBER, ISSUER).is_signed_by(odd)


@pytest.mark.parametrize("mode", list(RevocationMode))
def test_a_ca_without_the_usage_for_lists_can_pardon_nobody(mode: RevocationMode) -> None:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    assert key_usage(ca=True).crl_sign
    root = certificate(
        name("root"),
        H.root_key,
        issuer=name("root"),
        issuer_key=H.root_key,
        begin=YEAR.not_before,
        end=YEAR.not_after,
        extensions=[
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (usage, True),
            (x509.SubjectKeyIdentifier.from_public_key(H.root_key.public_key()), False),
        ],
    )
    by_root: Extension = (authority_key_identifier(root), False)
    leaf = certificate(
        name("orders"),
        H.key,
        issuer=root.subject,
        issuer_key=H.root_key,
        begin=YEAR.not_before,
        end=YEAR.not_after,
        extensions=[*GOOD_LEAF, by_root],
    )
    crl = crl_in_der(root, H.root_key, [NUMBER, by_root], begin=NOW - DAY, end=NOW + DAY)
    bundle = TrustBundle.of_roots([root], default=SHOP)
    verifier = ChainVerifier(bundle, CrlSet.of([Crl.of(crl)]), mode=mode)
    with pytest.raises(VerificationError) as caught:
        verifier.verify([leaf], profile=WORKLOAD, purpose=Purpose.CLIENT, at=NOW)
    assert caught.value.fault == Fault.REVOCATION_UNKNOWN
