"""The alerts of TLS, and the failures that each may stand for (RFC 8446 section 6, RFC 5246, RFC 6066).

An alert is coarse. OpenSSL maps many results of a verification to one alert (``unknown_ca`` also
for a missing revocation list and for a CA of too short a path length), and Java answers
``certificate_unknown`` to nearly all, and Go before 1.21 ``bad_certificate``. So each alert names
everything that it may stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert: its number, its name in the RFCs, and the failures, the likeliest first."""

    number: int
    name: str
    slugs: tuple[str, ...]


_ROWS = (
    (0, "close_notify", "closed-without-reason"),
    (10, "unexpected_message", "broken-message not-http2"),
    (20, "bad_record_mac", "broken-message"),
    (21, "decryption_failed", "broken-message"),
    (22, "record_overflow", "broken-message plaintext-server"),
    (30, "decompression_failure", "broken-message"),
    (
        40,
        "handshake_failure",
        "cipher-mismatch no-client-certificate no-server-certificate unsupported-key protocol-version unknown-ca client-refused",
    ),
    (41, "no_certificate", "no-client-certificate"),
    (
        42,
        "bad_certificate",
        "client-refused no-client-certificate unknown-ca expired wrong-usage wrong-name incomplete-chain not-yet-valid self-signed clock-skew name-constraint weak-key weak-signature distrusted bad-crl malformed",
    ),
    (43, "unsupported_certificate", "wrong-usage unsupported-key"),
    (44, "certificate_revoked", "revoked issuer-revoked"),
    (45, "certificate_expired", "expired stale-crl clock-skew"),
    (
        46,
        "certificate_unknown",
        "client-refused unknown-ca wrong-name expired incomplete-chain self-signed clock-skew wrong-usage name-constraint strict-verifier no-crl revoked ocsp-failed issuer-not-ca malformed",
    ),
    (47, "illegal_parameter", "broken-message cipher-mismatch"),
    (
        48,
        "unknown_ca",
        "unknown-ca incomplete-chain self-signed no-crl issuer-not-ca path-length chain-too-long",
    ),
    (
        49,
        "access_denied",
        "access-denied client-refused unknown-ca clock-skew wrong-usage revoked malformed",
    ),
    (50, "decode_error", "broken-message malformed"),
    (51, "decrypt_error", "bad-signature key-mismatch bad-crl"),
    (60, "export_restriction", "cipher-mismatch"),
    (70, "protocol_version", "protocol-version"),
    (71, "insufficient_security", "cipher-mismatch weak-key weak-signature"),
    (80, "internal_error", "internal-error no-server-certificate client-refused"),
    (86, "inappropriate_fallback", "protocol-version"),
    (90, "user_canceled", "closed-without-reason"),
    (100, "no_renegotiation", "no-renegotiation"),
    (109, "missing_extension", "broken-message no-server-certificate"),
    (110, "unsupported_extension", "broken-message"),
    (111, "certificate_unobtainable", "client-refused"),
    (112, "unrecognized_name", "no-server-certificate"),
    (113, "bad_certificate_status_response", "ocsp-failed"),
    (114, "bad_certificate_hash_value", "client-refused"),
    (115, "unknown_psk_identity", "unknown-psk"),
    (116, "certificate_required", "no-client-certificate"),
    (117, "general_error", "internal-error"),
    (120, "no_application_protocol", "not-http2"),
    (121, "ech_required", "broken-message"),
)

ALERTS: Mapping[int, Alert] = MappingProxyType(
    {number: Alert(number, name, tuple(slugs.split())) for number, name, slugs in _ROWS}
)
