"""What strict verifiers refuse in a chain that gRPC accepts.

- Python 3.13 and later, and handfast, verify with OpenSSL's ``X509_STRICT``.
- Go reads no certificate with a negative serial number (since 1.23), and compares the names of
  issuer and subject byte by byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cryptography import x509

from pki.diagnosis.checks.certificates.issuer_path import quote_name
from pki.diagnosis.checks.certificates.verifier_path import build_path
from pki.diagnosis.report import Finding, warning
from pki.errors import quote_untrusted

_SLUG = "strict-verifier"
_PYTHON = "Python 3.13 and later, and handfast, refuse"
_AGAIN = "Make that certificate again, by a CA that follows RFC 5280 (handfast ca init)"
_SAME_BYTES = (
    "Issue the certificate again, with the issuer's name copied from the CA's certificate: same "
    "string types, same case, same spaces"
)


def examine_strictness(
    whose: str,
    chain: Sequence[x509.Certificate],
    path: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
) -> list[Finding]:
    """Examine what strict verifiers refuse: a warning for each kind of verifier.

    Args:
        whose: for the name of the checks: ``server certificate`` or ``our certificate``.
        chain: the certificates, in the order in which they were presented.
        path: the certificates that count, from the leaf upward.
        roots: the trusted roots; empty if the chain leads to none.
    """
    return [*_python(whose, chain, roots), *_go(whose, path)]


def _python(
    whose: str, chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> list[Finding]:
    if not roots:
        return []
    built = build_path(chain, roots, strict=True)
    if built.code == 0 or built.refused is None:
        return []
    message = (
        f"{_PYTHON} {quote_name(built.refused.subject)} in its path: "
        f"{quote_untrusted(built.message)}"
    )
    return [warning(f"{whose}: strict verifiers", _SLUG, message, remedy=_AGAIN)]


def _go(whose: str, path: Sequence[x509.Certificate]) -> list[Finding]:
    check = f"{whose}: Go"
    for item in path:
        if item.serial_number < 0:
            message = (
                f"the serial number of {quote_name(item.subject)} is negative: Go 1.23 and later "
                "can't read the certificate"
            )
            return [warning(check, _SLUG, message, remedy=_AGAIN)]
    for item, issuer in pairwise(path):
        if item.issuer.public_bytes() != issuer.subject.public_bytes():
            message = (
                f"{quote_name(item.subject)} writes the name of its issuer with other bytes than "
                f"{quote_name(issuer.subject)} writes its own: for gRPC and OpenSSL the names are "
                "equal, for Go they are not, and it finds no issuer"
            )
            return [warning(check, _SLUG, message, remedy=_SAME_BYTES)]
    return []
