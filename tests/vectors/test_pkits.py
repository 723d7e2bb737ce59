"""NIST PKITS: paths and revocation lists. No path may be accepted that should be refused.

Its leaves have neither extended key usage nor subject alternative names, which every profile of
ours demands, so the rest of the verifier is run here: the path, the CAs' profile and the lists. The
sections on certificate policies (4.8 to 4.12) are left out: handfast does not evaluate policies.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType

import cryptography_vectors
import pytest
from cryptography import x509

from pki.errors import PkiError
from pki.identity import Subject, TrustDomain
from pki.x509 import (
    CertificateNames,
    ChainVerifier,
    Crl,
    CrlSet,
    LeafProfile,
    Purpose,
    TrustBundle,
)
from pki.x509.readers import read_crls

DATA = Path(cryptography_vectors.__file__).parent / "x509" / "PKITS_data"
AT = datetime(2015, 6, 1, tzinfo=UTC)
POLICIES = re.compile(
    r"polic|mapping|explicit|UserNotice|CPSPointer|OverlappingPolicies|AllCertificates|Different",
    re.IGNORECASE,
)
# Valid paths that handfast refuses, by reason.
_PARTIAL = "indirect, partial, a delta"  # they revoke less than they seem to
_ISSUER = "revocation list"  # a list speaks for one name, byte by byte, with one key
_NO_CRL = "unable to get certificate CRL"  # the same, in OpenSSL's words
REFUSED_BY_US = {
    "ValidBasicSelfIssuedCRLSigningKeyTest6EE": _PARTIAL,
    "ValidIDPwithindirectCRLTest22EE": _PARTIAL,
    "ValidcRLIssuerTest28EE": _PARTIAL,
    "ValidcRLIssuerTest29EE": _PARTIAL,
    "ValidcRLIssuerTest30EE": _PARTIAL,
    "ValiddeltaCRLTest2EE": _PARTIAL,
    "ValiddeltaCRLTest5EE": _PARTIAL,
    "ValiddeltaCRLTest7EE": _PARTIAL,
    "ValiddeltaCRLTest8EE": _PARTIAL,
    "ValiddistributionPointTest1EE": _PARTIAL,
    "ValiddistributionPointTest4EE": _PARTIAL,
    "ValiddistributionPointTest5EE": _PARTIAL,
    "ValiddistributionPointTest7EE": _PARTIAL,
    "ValidonlyContainsCACertsTest13EE": _PARTIAL,
    "ValidonlySomeReasonsTest18EE": _PARTIAL,
    "ValidonlySomeReasonsTest19EE": _PARTIAL,
    "ValidIDPwithindirectCRLTest24EE": _NO_CRL,
    "ValidIDPwithindirectCRLTest25EE": _NO_CRL,
    "ValidcRLIssuerTest33EE": _NO_CRL,
    "ValidSeparateCertificateandCRLKeysTest19EE": _NO_CRL,
    "ValidBasicSelfIssuedNewWithOldTest3EE": _NO_CRL,
    "ValidBasicSelfIssuedNewWithOldTest4EE": _NO_CRL,
    "ValidBasicSelfIssuedOldWithNewTest1EE": _ISSUER,
    "ValidDNnameConstraintsTest19EE": _ISSUER,
    "ValidSelfIssuedpathLenConstraintTest15EE": _ISSUER,
    "ValidSelfIssuedpathLenConstraintTest17EE": _ISSUER,
    "ValidDSASignaturesTest4EE": "sha1",
    "ValidDSAParameterInheritanceTest5EE": "can't be decoded",  # DSA
    # RFC 5280 §4.2.1.9 requires it to be critical in a CA certificate.
    "ValidbasicConstraintsNotCriticalTest4EE": "basic constraints are not critical",
}


class AnyLeaf(LeafProfile):
    """Accepts every leaf, because only the path above it is tested."""

    def check(
        self, certificate: x509.Certificate, purpose: Purpose | None = None
    ) -> CertificateNames:
        return CertificateNames(Subject.of_name(certificate.subject), (), (), ())


ANY_LEAF = AnyLeaf("any", frozenset(Purpose), needs_spiffe_id=False)


@cache
def certificates() -> dict[str, x509.Certificate]:
    found = {}
    for path in sorted((DATA / "certs").glob("*.crt")):
        try:
            found[path.stem] = x509.load_der_x509_certificate(path.read_bytes())
        except ValueError:
            continue
    return found


def same_name(one: x509.Name, other: x509.Name) -> bool:
    """Compare names almost as RFC 5280 section 7.1 does, to collect candidates."""
    return _folded(one) == _folded(other)


def _folded(name: x509.Name) -> list[tuple[str, str]]:
    return [(item.oid.dotted_string, " ".join(str(item.value).lower().split())) for item in name]


def chain_of(leaf: x509.Certificate) -> list[x509.Certificate]:
    """Collect the CAs above a leaf, by name."""
    chain = [leaf]
    for item in chain:
        for name, candidate in certificates().items():
            if (
                not name.endswith("EE")
                and name != "TrustAnchorRootCertificate"
                and same_name(candidate.subject, item.issuer)
                and candidate not in chain
            ):
                chain.append(candidate)
    return chain


def crls_for(chain: list[x509.Certificate]) -> CrlSet:
    """Collect the CRLs of the CAs above a leaf, which PKITS names like the CAs' certificates."""
    stems = {
        name.removesuffix("Cert")
        for name, certificate in certificates().items()
        if certificate in chain[1:]
    }
    paths = [DATA / "crls" / "TrustAnchorRootCRL.crl"]
    paths += sorted(
        path
        for path in (DATA / "crls").glob("*.crl")
        if any(re.fullmatch(rf"{stem}\w*CRL", path.stem) for stem in stems)
    )
    return CrlSet.of(Crl.of(_crl(path.read_bytes())) for path in dict.fromkeys(paths))


def _crl(der: bytes) -> x509.CertificateRevocationList:
    return read_crls(der)[0]


def verdict(name: str) -> str:
    try:
        leaf = certificates().get(name)
        if leaf is None:
            return "certificate can't be decoded"
        root = certificates()["TrustAnchorRootCertificate"]
        bundle = TrustBundle(MappingProxyType({TrustDomain("pkits.test"): (root,)}))
        chain = chain_of(leaf)
        ChainVerifier(bundle, crls_for(chain)).verify(
            chain, profile=ANY_LEAF, purpose=Purpose.CLIENT, at=AT, max_intermediates=6
        )
    except PkiError as error:
        return str(error)
    return ""


def cases() -> list[str]:
    names = {path.stem for path in (DATA / "certs").glob("*EE.crt")}
    return sorted(
        name
        for name in names
        if name.startswith(("Valid", "Invalid")) and not POLICIES.search(name)
    )


@pytest.mark.parametrize("name", cases())
def test_a_path_is_judged_as_pkits_says(name: str) -> None:
    refused = verdict(name)
    if name.startswith("Invalid"):
        assert refused
    elif name in REFUSED_BY_US:
        assert REFUSED_BY_US[name] in refused
    else:
        assert not refused


def test_the_list_names_good_paths_that_there_are() -> None:
    assert set(REFUSED_BY_US) <= {name for name in cases() if name.startswith("Valid")}
    assert len(cases()) >= 160


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("InvalidCASignatureTest2EE", "signature failure"),
        ("InvalidEESignatureTest3EE", "signature failure"),
        ("InvalidCAnotBeforeDateTest1EE", "not yet valid"),
        ("InvalidEEnotAfterDateTest6EE", "expired"),
        ("Invalidpre2000UTCEEnotAfterDateTest7EE", "expired"),
        ("InvalidNameChainingOrderTest2EE", "unable to get local issuer"),
        ("InvalidMissingCRLTest1EE", "unable to get certificate CRL"),
        ("InvalidRevokedCATest2EE", "depth 1: certificate revoked"),
        ("InvalidRevokedEETest3EE", "leaf: certificate revoked"),
        ("InvalidBadCRLSignatureTest4EE", "CRL signature failure"),
        ("InvalidWrongCRLTest6EE", "two revocation lists of one issuer"),
        ("InvalidOldCRLnextUpdateTest11EE", "CRL has expired"),
        ("InvalidLongSerialNumberTest18EE", "certificate revoked"),
        ("InvalidcAFalseTest2EE", "invalid CA certificate"),
        ("InvalidpathLenConstraintTest6EE", "path length"),
        ("InvalidkeyUsageCriticalkeyCertSignFalseTest1EE", "invalid CA certificate"),
        ("InvalidkeyUsageNotCriticalcRLSignFalseTest5EE", "CRL signing"),
        ("InvalidDNnameConstraintsTest2EE", "permitted subtree"),
        ("InvalidDNSnameConstraintsTest38EE", "permitted subtree"),
        ("InvalidURInameConstraintsTest37EE", "excluded subtree"),
        ("InvalidUnknownCriticalCertificateExtensionTest2EE", "unhandled critical extension"),
    ],
)
def test_a_bad_path_is_refused_for_its_own_fault(name: str, words: str) -> None:
    assert words in verdict(name)
