"""Each reason for which OpenSSL refuses a chain has its answer."""

from __future__ import annotations

import pytest
from OpenSSL._util import ffi, lib

from pki.diagnosis.checks.certificates.openssl_errors import FAILURES_BY_CODE, failures_of
from pki.failures import FAILURES

_UNKNOWN = "unknown certificate verification error"


def reason(code: int) -> str:
    """Return the text that OpenSSL writes after "certificate verify failed:"."""
    text: bytes = ffi.string(lib.X509_verify_cert_error_string(code))
    return text.decode()


def test_every_reason_of_the_installed_openssl_has_an_answer() -> None:
    known = {code for code in range(1, 500) if reason(code) != _UNKNOWN}
    assert len(known) > 90
    assert known <= FAILURES_BY_CODE.keys(), {
        code: reason(code) for code in known - FAILURES_BY_CODE.keys()
    }


def test_every_answer_is_a_failure_with_a_page() -> None:
    assert {slug for slugs in FAILURES_BY_CODE.values() for slug in slugs} <= FAILURES.keys()


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("certificate has expired", "expired"),
        ("unable to get certificate CRL", "no-crl"),
        ("CRL has expired", "stale-crl"),
        ("invalid CA certificate", "issuer-not-ca"),
        ("path length constraint exceeded", "path-length"),
        ("unsuitable certificate purpose", "wrong-usage"),
        ("permitted subtree violation", "name-constraint"),
        ("CA signature digest algorithm too weak", "weak-signature"),
        ("EE certificate key too weak", "weak-key"),
        ("certificate not trusted", "distrusted"),
        ("CRL signature failure", "bad-crl"),
        ("hostname mismatch", "wrong-name"),
        ("Missing Authority Key Identifier", "strict-verifier"),
        ("CA cert does not include key usage extension", "strict-verifier"),
        ("no OCSP response available for certificate", "ocsp-failed"),
    ],
)
def test_a_reason_is_answered_by_what_it_says(text: str, slug: str) -> None:
    (code,) = [code for code in range(1, 500) if reason(code) == text]
    assert failures_of(code)[0] == slug
