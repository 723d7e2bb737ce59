"""OpenSSL's reasons for refusing a chain, and the failures that each stands for.

The numbers are those of ``include/openssl/x509_vfy.h``. In a program's log the reason is the text
after "certificate verify failed:". A server that refuses our certificate tells no reason, but an
alert, and OpenSSL has one alert for many reasons: ``x509table`` in ``ssl/statem/statem_lib.c``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NOT_YET_VALID, EXPIRED = 9, 10

_CODES = {
    # What is missing between the leaf and a root.
    "unknown-ca incomplete-chain": (2, 20, 21, 29, 30, 31, 102),
    "self-signed": (18,),
    "unknown-ca": (19,),
    "distrusted": (27, 28),
    # Signatures and keys.
    "bad-signature": (4, 7, 77, 78),
    "weak-signature": (59, 68),
    "weak-key": (66, 67),
    "unsupported-key": (6, 24, 57, 58, 60, 61, 76, 94),
    # Times.
    "not-yet-valid": (NOT_YET_VALID,),
    "expired": (EXPIRED,),
    # What a certificate may be used for, and which CA may sign.
    "wrong-usage": (26, 39),
    "issuer-not-ca": (32, 37, 79, 82),
    "path-length": (25, 80, 81),
    "chain-too-long": (22, 55),
    "name-constraint": (47, 48, 49, 51, 52, 53),
    "wrong-name": (62, 63, 64),
    # Revocation lists, and OCSP.
    "no-crl": (3, 33),
    "stale-crl": (12,),
    "clock-skew": (11,),
    "bad-crl": (5, 8, 15, 16, 35, 36, 44, 54),
    "revoked issuer-revoked": (23,),
    "ocsp-failed": (73, 74, 75, 95, 96, 97, 98, 99, 100),
    # Form: what RFC 5280 demands, and OpenSSL checks only strictly.
    "strict-verifier": (83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 103),
    "malformed": (13, 14, 34, 38, 40, 41, 42, 43, 45, 46, 56, 72),
    # The verifier's own rules, and its own trouble.
    "client-refused": (50, 65, 71),
    "internal-error": (1, 17, 69, 70),
}

FAILURES_BY_CODE: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {code: tuple(slugs.split()) for slugs, codes in _CODES.items() for code in codes}
)


def failures_of(code: int) -> tuple[str, ...]:
    """Return the slugs of the failures that an error code stands for, the likeliest first."""
    return FAILURES_BY_CODE.get(code, ("malformed",))
