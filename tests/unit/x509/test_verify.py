"""Chains that the verifier refuses, each with an almost equal chain that it accepts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address, ip_network
from types import MappingProxyType

import pytest
from cryptography import x509

from pki.errors import CertificateError, VerificationError
from pki.identity import DnsName, SpiffeId, TrustDomain
from pki.keys import KeyType, generate_key
from pki.x509 import (
    SERVER,
    WORKLOAD,
    ChainVerifier,
    CrlSet,
    Fault,
    NameLimits,
    Purpose,
    RevocationMode,
    TrustBundle,
    VerifiedChain,
)
from pki.x509.profiles import IssuingProfile, RootProfile
from pki.x509.profiles.builder import build_certificate, key_usage
from pki.x509.revocation import IssuerId
from pki.x509.verify import ExpectedName
from tests.support import (
    NOW,
    SHOP,
    YEAR,
    Extension,
    Hierarchy,
    name,
    sign_unchecked,
    validity,
    with_extension,
)

H = Hierarchy()
OTHER = Hierarchy(TrustDomain("other.test"))
GOOD = H.leaf()


def verify(
    *chain: x509.Certificate,
    bundle: TrustBundle = H.bundle,
    crls: CrlSet | None = None,
    mode: RevocationMode = RevocationMode.WHEN_PRESENT,
    purpose: Purpose = Purpose.CLIENT,
    expected: ExpectedName | None = None,
    after: timedelta = timedelta(0),
    grace: timedelta = timedelta(0),
) -> VerifiedChain:
    verifier = ChainVerifier(bundle, crls, mode=mode, grace=grace)
    return verifier.verify(
        chain, profile=WORKLOAD, purpose=purpose, at=NOW + after, expected=expected
    )


def refused(fault: Fault, *chain: x509.Certificate, **how: object) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(*chain, **how)  # type: ignore[arg-type]
    assert caught.value.fault == fault, str(caught.value)
    return str(caught.value)


def test_a_good_chain_is_accepted_for_both_purposes() -> None:
    for purpose in Purpose:
        verified = verify(GOOD, H.issuing, crls=H.crls(), purpose=purpose)
        assert verified.leaf == GOOD
        assert verified.path == (GOOD, H.issuing, H.root)
        assert verified.valid_until == GOOD.not_valid_after_utc + timedelta(seconds=1)
        assert verified.valid_from == GOOD.not_valid_before_utc


def test_a_leaf_of_an_unknown_ca_is_refused() -> None:
    stranger = Hierarchy()
    refused(Fault.UNTRUSTED, stranger.leaf(), stranger.issuing)


def test_a_self_signed_leaf_is_refused() -> None:
    leaf = build_certificate(
        subject=name("orders"),
        public_key=H.key.public_key(),
        issuer=None,
        issuer_key=H.key,
        validity=validity(),
        extensions=[],
    )
    refused(Fault.PROFILE, leaf)


def test_a_chain_without_its_issuing_ca_is_refused() -> None:
    refused(Fault.UNTRUSTED, GOOD)


def test_the_last_second_counts_and_the_one_after_does_not() -> None:
    hour = timedelta(hours=1)
    verify(GOOD, H.issuing, after=hour)
    verify(GOOD, H.issuing, after=hour + timedelta(microseconds=999_999))
    refused(Fault.EXPIRED, GOOD, H.issuing, after=hour + timedelta(seconds=1))
    verify(GOOD, H.issuing, after=-hour)
    refused(Fault.NOT_YET_VALID, GOOD, H.issuing, after=-hour - timedelta(seconds=1))


@pytest.mark.parametrize("mode", list(RevocationMode))
def test_one_verifier_judges_each_time_anew(mode: RevocationMode) -> None:
    verifier = ChainVerifier(H.bundle, H.crls(), mode=mode)

    def at(minutes: int) -> str:
        try:
            verifier.verify(
                [GOOD, H.issuing],
                profile=WORKLOAD,
                purpose=Purpose.CLIENT,
                at=NOW + timedelta(minutes=minutes),
            )
        except VerificationError as error:
            return str(error.fault)
        return ""

    assert [at(0), at(61), at(0), at(61), at(59)] == ["", "EXPIRED", "", "EXPIRED", ""]


def test_a_leaf_signed_by_a_leaf_is_refused() -> None:
    key = generate_key()
    middle = H.leaf("middle", key=key)
    end = build_certificate(
        subject=name("orders"),
        public_key=H.key.public_key(),
        issuer=middle,
        issuer_key=key,
        validity=validity(),
        extensions=list(with_extension((key_usage(ca=False), True))),
    )
    refused(Fault.INVALID, end, middle, H.issuing)


def authority(
    *extensions: Extension, key_type: KeyType = KeyType.ECDSA_P256
) -> tuple[x509.Certificate, x509.Certificate]:
    """Make an issuing CA with these extensions, and a valid leaf of it."""
    key = generate_key(key_type)
    issuing = build_certificate(
        subject=name("an issuing CA"),
        public_key=key.public_key(),
        issuer=H.root,
        issuer_key=H.root_key,
        validity=YEAR,
        extensions=extensions,
    )
    leaf = build_certificate(
        subject=name("orders"),
        public_key=H.key.public_key(),
        issuer=issuing,
        issuer_key=key,
        validity=validity(),
        extensions=list(with_extension((key_usage(ca=False), True))),
    )
    return leaf, issuing


CA_TRUE: Extension = (x509.BasicConstraints(ca=True, path_length=0), True)
CA_USAGE: Extension = (key_usage(ca=True), True)


def test_an_issuing_ca_made_by_hand_is_accepted_if_it_is_good() -> None:
    for kind in (KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.ED25519):
        verify(*authority(CA_TRUE, CA_USAGE, key_type=kind))


@pytest.mark.parametrize(
    "extensions",
    [
        [CA_TRUE, (key_usage(ca=False), True)],
        [CA_USAGE],
        [(x509.BasicConstraints(ca=False, path_length=None), True), CA_USAGE],
        [(x509.BasicConstraints(ca=True, path_length=0), False), CA_USAGE],
        [CA_TRUE],
        [CA_TRUE, CA_USAGE, (x509.NameConstraints([x509.DNSName("shop.internal")], None), False)],
        [CA_TRUE, CA_USAGE, (x509.PolicyConstraints(0, None), False)],
        [CA_TRUE, CA_USAGE, (x509.NameConstraints([x509.DNSName("x.test")], None), True)],
    ],
    ids=[
        "no keyCertSign",
        "no basic constraints",
        "CA:FALSE",
        "basic constraints not critical",
        "no key usage",
        "name constraints not critical",
        "policy constraints not critical",
        "constrained to other names",
    ],
)
def test_a_leaf_of_a_ca_that_is_none_is_refused(extensions: Sequence[Extension]) -> None:
    with pytest.raises(VerificationError):
        verify(*authority(*extensions))


def test_a_chain_over_its_path_length_is_refused() -> None:
    key = generate_key()
    below = build_certificate(
        subject=name("a CA below pathlen:0"),
        public_key=key.public_key(),
        issuer=H.issuing,
        issuer_key=H.issuing_key,
        validity=YEAR,
        extensions=[CA_TRUE, CA_USAGE],
    )
    leaf = build_certificate(
        subject=name("orders"),
        public_key=H.key.public_key(),
        issuer=below,
        issuer_key=key,
        validity=validity(),
        extensions=list(with_extension((key_usage(ca=False), True))),
    )
    assert "path length" in refused(Fault.INVALID, leaf, below, H.issuing)


def test_a_path_longer_than_asked_for_is_refused() -> None:
    verifier = ChainVerifier(H.bundle, mode=RevocationMode.WHEN_PRESENT)
    with pytest.raises(VerificationError, match="1 CAs between"):
        verifier.verify(
            [GOOD, H.issuing],
            profile=WORKLOAD,
            purpose=Purpose.CLIENT,
            at=NOW,
            max_intermediates=0,
        )


@pytest.mark.parametrize(
    "alternative",
    [
        x509.DNSName("orders.other.test"),
        x509.IPAddress(ip_address("10.0.0.1")),
        x509.IPAddress(ip_address("::1")),
    ],
)
def test_a_name_outside_the_issuers_constraints_is_refused(alternative: x509.GeneralName) -> None:
    own = x509.UniformResourceIdentifier("spiffe://shop.internal/orders")
    extensions = with_extension((x509.SubjectAlternativeName([own, alternative]), False))
    assert "subtree" in refused(Fault.INVALID, sign_unchecked(H, extensions), H.issuing)


def test_another_trust_domains_id_from_our_ca_is_refused() -> None:
    both = TrustBundle.of_roots([H.root, OTHER.root])
    foreign = x509.UniformResourceIdentifier("spiffe://other.test/orders")
    extensions = with_extension((x509.SubjectAlternativeName([foreign]), False))
    refused(Fault.UNTRUSTED, sign_unchecked(H, extensions), H.issuing, bundle=both)
    verify(OTHER.leaf(), OTHER.issuing, bundle=both)


def test_a_permitted_range_and_name_hold() -> None:
    limits = NameLimits(SHOP, (DnsName("localhost"),), (ip_network("10.0.0.0/8"),))
    wide = Hierarchy(limits=limits)
    own = x509.UniformResourceIdentifier("spiffe://shop.internal/orders")

    def leaf(*others: x509.GeneralName) -> x509.Certificate:
        names = x509.SubjectAlternativeName([own, *others])
        return sign_unchecked(wide, with_extension((names, False)))

    good = leaf(x509.DNSName("localhost"), x509.IPAddress(ip_address("10.1.2.3")))
    verify(good, wide.issuing, bundle=wide.bundle)
    for bad in ("192.168.0.1", "::1"):
        refused(
            Fault.INVALID,
            leaf(x509.IPAddress(ip_address(bad))),
            wide.issuing,
            bundle=wide.bundle,
        )
    assert limits.permits_dns(DnsName("a.localhost"))
    assert not limits.permits_dns(DnsName("example.com"))
    assert limits.permits_ip(ip_address("10.0.0.1"))
    assert not limits.permits_ip(ip_address("::1"))


def test_a_chain_of_a_trust_domain_that_is_not_trusted_is_refused() -> None:
    assert "other.test is not trusted" in refused(Fault.UNTRUSTED, OTHER.leaf(), OTHER.issuing)


def test_a_bundle_with_one_trust_domain_inside_another_is_refused() -> None:
    inner = Hierarchy(TrustDomain("prod.shop.internal"))
    with pytest.raises(CertificateError, match="inside"):
        TrustBundle.of_roots([H.root, inner.root])


def test_a_bundle_must_hold_roots_and_nothing_else() -> None:
    with pytest.raises(CertificateError, match="no CA"):
        TrustBundle.of_roots([GOOD])
    with pytest.raises(CertificateError, match="not self-signed"):
        TrustBundle.of_roots([H.issuing])
    with pytest.raises(CertificateError, match="empty"):
        TrustBundle.of_roots([])


def test_a_root_that_names_no_trust_domain_needs_a_default() -> None:
    key = generate_key()
    root = build_certificate(
        subject=name("another CA's root"),
        public_key=key.public_key(),
        issuer=None,
        issuer_key=key,
        validity=YEAR,
        extensions=[CA_USAGE, (x509.BasicConstraints(ca=True, path_length=None), True)],
    )
    with pytest.raises(CertificateError, match="names no trust domain"):
        TrustBundle.of_roots([root])
    bundle = TrustBundle.of_roots([root, root], default=SHOP)
    assert bundle.roots_of(SHOP) == (root,)
    assert bundle.to_pem(SHOP) == bundle.to_pem()


@pytest.mark.parametrize(
    ("expected", "wrong"),
    [
        (SpiffeId.parse("spiffe://shop.internal/orders"), SpiffeId.of_path(SHOP, "payments")),
        (DnsName("orders.shop.internal"), DnsName("orders")),
    ],
)
def test_the_expected_name_must_stand_under_its_own_type(
    expected: ExpectedName, wrong: ExpectedName
) -> None:
    verify(GOOD, H.issuing, expected=expected)
    refused(Fault.NAME_MISMATCH, GOOD, H.issuing, expected=wrong)
    refused(Fault.NAME_MISMATCH, GOOD, H.issuing, expected=ip_address("10.0.0.1"))


def test_a_leaf_without_a_spiffe_id_is_verified_against_every_root() -> None:
    leaf = H.leaf("proxy", profile=SERVER)
    verified = ChainVerifier(
        TrustBundle.of_roots([OTHER.root, H.root]), mode=RevocationMode.WHEN_PRESENT
    ).verify([leaf, H.issuing], profile=SERVER, purpose=Purpose.SERVER, at=NOW)
    assert verified.path[-1] == H.root


def test_an_empty_or_endless_chain_is_refused() -> None:
    refused(Fault.INVALID)
    refused(Fault.INVALID, *[GOOD] * 9)


def test_a_revoked_leaf_is_refused_and_its_neighbour_is_not() -> None:
    neighbour = H.leaf("payments")
    for mode in RevocationMode:
        crls = H.crls([GOOD])
        refused(Fault.REVOKED, GOOD, H.issuing, crls=crls, mode=mode)
        verify(neighbour, H.issuing, crls=crls, mode=mode)


def test_the_leaves_of_a_revoked_issuing_ca_are_refused() -> None:
    for mode in RevocationMode:
        crls = H.crls(root_revoked=[H.issuing])
        refused(Fault.ISSUER_REVOKED, GOOD, H.issuing, crls=crls, mode=mode)


def test_the_same_serial_number_of_another_issuer_is_not_hit() -> None:
    twin = sign_unchecked(H, serial=GOOD.serial_number + 1)
    other = Hierarchy()
    revoked = other.crl_of(
        other.issuing, other.issuing_key, [sign_unchecked(other, serial=twin.serial_number)]
    )
    crls = CrlSet.of([*H.crls().crls.values(), revoked])
    verify(twin, H.issuing, crls=crls, mode=RevocationMode.REQUIRED)


def test_a_missing_list_is_refused_unless_the_user_says_otherwise() -> None:
    root_only = CrlSet.of([H.crl_of(H.root, H.root_key)])
    for crls in (None, root_only):
        refused(
            Fault.REVOCATION_UNKNOWN,
            GOOD,
            H.issuing,
            crls=crls,
            mode=RevocationMode.REQUIRED,
        )
        verify(GOOD, H.issuing, crls=crls, mode=RevocationMode.WHEN_PRESENT)
        verify(GOOD, H.issuing, crls=crls, mode=RevocationMode.SHORT_LIVED)
    old = H.leaf(times=validity(end=timedelta(hours=25)))
    refused(Fault.REVOCATION_UNKNOWN, old, H.issuing, mode=RevocationMode.SHORT_LIVED)


@pytest.mark.parametrize("mode", list(RevocationMode))
def test_a_stale_list_is_refused_unless_a_grace_is_set(mode: RevocationMode) -> None:
    crls = H.crls(until=timedelta(minutes=10))
    later, hour = timedelta(minutes=30), timedelta(hours=1)
    refused(Fault.REVOCATION_UNKNOWN, GOOD, H.issuing, crls=crls, mode=mode, after=later)
    verified = verify(GOOD, H.issuing, crls=crls, mode=mode, after=later, grace=hour)
    assert verified.valid_until == GOOD.not_valid_after_utc + timedelta(seconds=1)
    refused(
        Fault.REVOCATION_UNKNOWN,
        GOOD,
        H.issuing,
        crls=crls,
        mode=mode,
        after=later,
        grace=timedelta(minutes=19),
    )


def test_a_revocation_counts_within_the_grace_too() -> None:
    crls = H.crls([GOOD], until=timedelta(minutes=10))
    refused(
        Fault.REVOKED,
        GOOD,
        H.issuing,
        crls=crls,
        mode=RevocationMode.REQUIRED,
        after=timedelta(minutes=30),
        grace=timedelta(hours=1),
    )


@pytest.mark.parametrize("mode", list(RevocationMode))
def test_a_list_from_the_future_is_refused(mode: RevocationMode) -> None:
    early = timedelta(minutes=-61)
    leaf = H.leaf(times=validity(start=-timedelta(hours=3)))
    refused(Fault.REVOCATION_UNKNOWN, leaf, H.issuing, crls=H.crls(), mode=mode, after=early)


@pytest.mark.parametrize("mode", list(RevocationMode))
def test_a_list_with_another_keys_signature_is_refused(mode: RevocationMode) -> None:
    forged = H.crl_of(H.issuing, generate_key())
    crls = CrlSet.of([H.crl_of(H.root, H.root_key), forged])
    refused(Fault.REVOCATION_UNKNOWN, GOOD, H.issuing, crls=crls, mode=mode)


def test_a_ca_that_may_not_sign_lists_can_revoke_nobody() -> None:
    usage = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
    leaf, issuing = authority(CA_TRUE, (usage, True))
    key = generate_key()
    made = H.crl_of(issuing, key)
    crls = CrlSet(MappingProxyType({IssuerId.of(leaf): made}))
    words = refused(Fault.REVOCATION_UNKNOWN, leaf, issuing, crls=crls)
    assert "may not sign" in words


def test_a_root_with_faults_of_its_own_is_refused() -> None:
    key = generate_key()

    def root(*extensions: Extension) -> x509.Certificate:
        return build_certificate(
            subject=name("bad root"),
            public_key=key.public_key(),
            issuer=None,
            issuer_key=key,
            validity=YEAR,
            extensions=[CA_USAGE, CA_TRUE, *extensions],
        )

    RootProfile.check(root())
    other_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(H.key.public_key())
    own_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    RootProfile.check(root((own_key, False)))
    with pytest.raises(CertificateError, match="another key"):
        RootProfile.check(root((other_key, False)))
    with pytest.raises(CertificateError, match="extended key usage"):
        RootProfile.check(
            root((x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")]), False))
        )
    with pytest.raises(CertificateError, match="name constraint"):
        RootProfile.check(
            root((x509.NameConstraints([x509.DNSName(".shop.internal")], None), True))
        )


def test_an_issuing_ca_must_have_just_its_own_limits() -> None:
    IssuingProfile.check_limits(H.issuing, NameLimits(SHOP))
    with pytest.raises(CertificateError, match="not those of its trust domain"):
        IssuingProfile.check_limits(H.issuing, NameLimits(SHOP, (DnsName("localhost"),)))
    loose = build_certificate(
        subject=name("loose"),
        public_key=H.key.public_key(),
        issuer=H.root,
        issuer_key=H.root_key,
        validity=YEAR,
        extensions=[CA_USAGE, (x509.BasicConstraints(ca=True, path_length=1), True)],
    )
    with pytest.raises(CertificateError, match="path length of zero"):
        IssuingProfile.check_limits(loose, NameLimits(SHOP))
    with pytest.raises(CertificateError, match="subject is empty"):
        IssuingProfile.check(
            build_certificate(
                subject=x509.Name([]),
                public_key=H.key.public_key(),
                issuer=H.root,
                issuer_key=H.root_key,
                validity=YEAR,
                extensions=[CA_USAGE, CA_TRUE],
            )
        )


def test_every_fault_has_the_name_that_grfc_a118_gives_it() -> None:
    assert {fault.handshake_result for fault in Fault} == {
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_NOT_YET_VALID",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_VERIFICATION_FAILED",
        "CERTIFICATE_AUTHORITY_INVALID",
        "CERTIFICATE_HOSTNAME_MISMATCH",
        "CERTIFICATE_MALFORMED",
    }
