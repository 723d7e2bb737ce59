"""x509-limbo: 208 path validation cases. No chain may be accepted that should be refused."""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from pki.errors import PkiError
from pki.identity import DnsName, TrustDomain
from pki.x509 import CLIENT, SERVER, ChainVerifier, CrlSet, Purpose, RevocationMode
from pki.x509.bundle import TrustBundle
from pki.x509.readers import read_certificate
from pki.x509.verify import ExpectedName

# For the cases without a time.
ANY_TIME = "2025-06-01T00:00:00+00:00"
HERE = Path(__file__).resolve()
VECTORS = Path(
    os.environ.get("HANDFAST_LIMBO", HERE.parents[3] / "shared" / "vectors" / "x509-limbo.json.xz")
)

# Valid chains that handfast refuses, with the text of the refusal. The test fails if an entry is
# not needed.
_WILDCARD = "no wildcard"  # a wildcard names no workload: never issued, never believed
_EMAIL = "type RFC822Name is not allowed"  # services have no mailbox; no profile takes one
_A_CA = "says that it is a CA"  # a leaf is no CA; webpki::ca-as-leaf says so too
_NO_BACKTRACKING = "chain refused at the certificate at depth 1"  # OpenSSL builds one path
REFUSED_BY_US = {
    "crl::issuer-no-keyusage-extension": "does not include key usage",  # RFC 5280 §4.2.1.3
    "cve::cve-2024-0567": "10 certificates",  # more than the 8 that are read from a peer
    "pathlen::validation-ignores-pathlen-in-leaf": _A_CA,
    "rfc5280::ca-as-leaf": _A_CA,
    "rfc5280::eku::ee-without-eku": "no extended key usage",  # webpki's case says so too
    "rfc5280::no-keyusage": "no key usage",  # X509-SVID §4.3
    "rfc5280::nc::permitted-dn-match": "DirectoryName is not allowed",
    "rfc5280::nc::nc-forbids-alternate-chain-ica": _NO_BACKTRACKING,
    "rfc5280::nc::nc-forbids-same-chain-ica": _NO_BACKTRACKING,
    # A trusted intermediate is no trust anchor: bundles hold only roots.
    "rfc5280::root-and-intermediate-swapped": _NO_BACKTRACKING,
    # RFC 5280 §4.2.1.10 requires them to be critical; the public web makes an exception.
    "webpki::nc::permitted-dns-match-noncritical": "name constraints are not critical",
    "rfc5280::nc::nc-permits-email-exact": _EMAIL,
    "rfc5280::nc::nc-permits-email-domain": _EMAIL,
    "rfc5280::nc::nc-permits-email-literal-asterisk-exact-match": _EMAIL,
    "rfc5280::nc::nc-permits-email-literal-double-asterisk": _EMAIL,
    "rfc5280::nc::nc-permits-email-literal-mid-asterisk": _EMAIL,
    "webpki::nc::nc-permits-dns-san-pattern": _WILDCARD,
    "webpki::san::leftmost-wildcard-san": _WILDCARD,
    "online::google.com": _WILDCARD,
    "online::stackoverflow.com": _WILDCARD,
    "online::cloudflare.com": _WILDCARD,
    "online::facebook.com": _WILDCARD,
    "online::amazon.com": _WILDCARD,
    "online::s3.amazonaws.com": _WILDCARD,
    "online::docs.python.org": _WILDCARD,
    "online::bing.com": _WILDCARD,
    "online::fastly.com": "not positive and within 20 octets",  # an old root with serial zero
}

# Cases whose rule does not apply here, so handfast accepts them: a rule of the CA/Browser Forum (BR
# 7.1.4.3) on the CN. For handfast a CN is never a host name, and the CN of its own
# certificates is a workload's path.
ACCEPTED_BY_US = frozenset(
    {
        "webpki::cn::ipv4-hex-mismatch",
        "webpki::cn::ipv4-leading-zeros-mismatch",
        "webpki::cn::ipv6-uppercase-mismatch",
        "webpki::cn::ipv6-uncompressed-mismatch",
        "webpki::cn::ipv6-non-rfc5952-mismatch",
        "webpki::cn::punycode-not-in-san",
        "webpki::cn::utf8-vs-punycode-mismatch",
        "webpki::cn::not-in-san",
        "webpki::cn::case-mismatch",
    }
)


def cases() -> Iterator[Any]:
    if not VECTORS.exists():
        yield pytest.param(None, marks=pytest.mark.skip(f"x509-limbo is not at {VECTORS}"))
        return
    for case in json.loads(lzma.decompress(VECTORS.read_bytes()))["testcases"]:
        yield pytest.param(case, id=case["id"])


def expected_name(case: dict[str, Any]) -> ExpectedName | None:
    wanted = case["expected_peer_name"]
    if wanted is None:
        return None
    if wanted["kind"] == "IP":
        return ip_address(wanted["value"])
    return DnsName.parse(wanted["value"])


def verdict(case: dict[str, Any]) -> str:
    """Return the empty string if the chain is accepted, the reason if it is refused."""
    client = case["validation_kind"] == "CLIENT"
    try:
        roots = tuple(read_certificate(pem.encode()) for pem in case["trusted_certs"])
        chain = [
            read_certificate(pem.encode())
            for pem in (case["peer_certificate"], *case["untrusted_intermediates"])
        ]
        bundle = TrustBundle(MappingProxyType({TrustDomain("limbo.test"): roots}))
        crls = CrlSet.read("".join(case["crls"]).encode()) if case["crls"] else None
        ChainVerifier(bundle, crls, mode=RevocationMode.WHEN_PRESENT).verify(
            chain,
            profile=CLIENT if client else SERVER,
            purpose=Purpose.CLIENT if client else Purpose.SERVER,
            at=datetime.fromisoformat(case["validation_time"] or ANY_TIME),
            expected=expected_name(case),
            max_intermediates=case["max_chain_depth"],
        )
    except PkiError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("case", list(cases()))
def test_a_chain_is_judged_as_x509_limbo_says(case: dict[str, Any]) -> None:
    refused = verdict(case)
    name = case["id"]
    if case["expected_result"] == "FAILURE":
        if name in ACCEPTED_BY_US:
            assert not refused, f"{name} is refused now: take it off the list"
        else:
            assert refused, f"{name} was accepted: {case['description']}"
    elif name in REFUSED_BY_US:
        assert REFUSED_BY_US[name] in refused, f"{name}: {refused or 'accepted now'}"
    else:
        assert not refused, f"{name}: {refused}"


@pytest.mark.skipif(not VECTORS.exists(), reason=f"x509-limbo is not at {VECTORS}")
def test_the_lists_name_cases_that_there_are_on_the_side_where_they_belong() -> None:
    found = json.loads(lzma.decompress(VECTORS.read_bytes()))["testcases"]
    good = {case["id"] for case in found if case["expected_result"] == "SUCCESS"}
    bad = {case["id"] for case in found if case["expected_result"] == "FAILURE"}
    assert set(REFUSED_BY_US) <= good
    assert bad >= ACCEPTED_BY_US
    assert len(good | bad) == len(found) >= 200
