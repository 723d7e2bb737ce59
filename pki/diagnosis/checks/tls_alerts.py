"""What a TLS alert says of the certificate that was presented (RFC 8446 section 6)."""

from __future__ import annotations

HANDSHAKE_FAILURE = 40
_ALERTS = {
    42: ("client-refused", "bad certificate"),
    43: ("wrong-usage", "unsupported certificate"),
    44: ("revoked", "certificate revoked"),
    45: ("expired", "certificate expired"),
    46: ("client-refused", "certificate unknown"),
    48: ("unknown-ca", "unknown CA"),
    49: ("client-refused", "access denied"),
    51: ("bad-signature", "decrypt error"),
    70: ("protocol-version", "protocol version"),
    71: ("cipher-mismatch", "insufficient security"),
    HANDSHAKE_FAILURE: ("cipher-mismatch", "handshake failure"),
    116: ("no-client-certificate", "certificate required"),
    120: ("not-http2", "no application protocol"),
}
# Alerts that do not concern a certificate: only their names are reported.
_OTHERS = {
    10: "unexpected message",
    20: "bad record MAC",
    22: "record overflow",
    47: "illegal parameter",
    50: "decode error",
    80: "internal error",
    86: "inappropriate fallback",
    90: "user canceled",
    109: "missing extension",
    110: "unsupported extension",
    112: "unrecognized name",
    113: "bad certificate status response",
    115: "unknown PSK identity",
}


def describe_alert(alert: int) -> tuple[str, str]:
    """Return the slug of the failure that an alert stands for, and the alert's name."""
    return _ALERTS.get(alert, ("client-refused", _OTHERS.get(alert, f"number {alert}")))
