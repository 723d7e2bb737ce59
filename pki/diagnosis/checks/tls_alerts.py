"""What a TLS alert of the other side says, and which failures it may stand for.

The numbers: https://www.iana.org/assignments/tls-parameters (RFC 8446 section 6, RFC 5246 section
7.2, RFC 6066 section 9). No alert about a certificate stands for one failure alone: libraries have
one alert for many errors. OpenSSL's table is ``x509table`` in ``ssl/statem/statem_lib.c``; Go sends
"unknown CA", "certificate expired", and "bad certificate" for all the rest (``crypto/tls``); Java
sends "certificate unknown" for any failed path, GnuTLS's server "access denied". Before 1.21,
Go sent "bad certificate" alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

HANDSHAKE_FAILURE = 40
CERTIFICATE_REQUIRED = 116


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert.

    Args:
        name: its name in words.
        meaning: what the other side says by it.
        at_start: the failures that it may stand for before a certificate was sent, the likeliest
            first.
        on_certificate: the failures that it may stand for after a certificate was presented.
        is_sure: whether it stands for the first failure of ``at_start`` and no other.
    """

    name: str
    meaning: str
    at_start: tuple[str, ...]
    on_certificate: tuple[str, ...]
    is_sure: bool = False


def _alert(
    name: str, meaning: str, at_start: str, on_certificate: str = "", *, is_sure: bool = False
) -> Alert:
    begin = tuple(at_start.split())
    return Alert(name, meaning, begin, tuple(on_certificate.split()) or begin, is_sure)


ALERTS: Mapping[int, Alert] = MappingProxyType(
    {
        0: _alert("close notify", "it ends the connection in good order", "closed-without-reason"),
        10: _alert(
            "unexpected message",
            "it received a message of TLS that it does not expect at this point",
            "broken-message not-http2",
        ),
        20: _alert(
            "bad record MAC",
            "it can't verify what it received: something between the two changed the bytes",
            "broken-message",
        ),
        21: _alert("decryption failed", "it can't decrypt what it received", "broken-message"),
        22: _alert(
            "record overflow", "it received a longer record than TLS allows", "broken-message"
        ),
        30: _alert(
            "decompression failure", "it can't decompress what it received", "broken-message"
        ),
        HANDSHAKE_FAILURE: _alert(
            "handshake failure",
            "no cipher suite, curve or signature algorithm in common, or it accepts no such "
            "certificate",
            "cipher-mismatch no-server-certificate protocol-version",
            "cipher-mismatch unsupported-key unknown-ca client-refused no-client-certificate",
        ),
        41: _alert("no certificate", "it received no certificate (SSL 3)", "no-client-certificate"),
        42: _alert(
            "bad certificate",
            "it refuses the certificate, and does not say why",
            "client-refused no-client-certificate",
            "client-refused unknown-ca clock-skew wrong-usage name-constraint weak-key "
            "weak-signature distrusted wrong-name bad-crl malformed no-client-certificate",
        ),
        43: _alert(
            "unsupported certificate",
            "the certificate is not for this use, or its key is of a kind that it does not support",
            "wrong-usage unsupported-key",
        ),
        44: _alert(
            "certificate revoked",
            "the certificate, or a CA above it, is on a revocation list of its own",
            "revoked issuer-revoked",
        ),
        45: _alert(
            "certificate expired",
            "by its clock a certificate of the chain, its own root or its revocation list ended",
            "expired clock-skew stale-crl",
            "clock-skew expired stale-crl",
        ),
        46: _alert(
            "certificate unknown",
            "it refuses the certificate, and does not say why",
            "client-refused",
            "unknown-ca client-refused clock-skew name-constraint strict-verifier wrong-usage "
            "no-crl revoked ocsp-failed issuer-not-ca malformed",
        ),
        47: _alert(
            "illegal parameter",
            "a value in the handshake is out of range or does not fit the others",
            "broken-message cipher-mismatch",
        ),
        48: _alert(
            "unknown CA",
            "it finds no path from the certificate to a root that it trusts, or not all that it "
            "needs to verify the path",
            "unknown-ca",
            "unknown-ca incomplete-chain no-crl chain-too-long path-length issuer-not-ca "
            "self-signed",
        ),
        49: _alert(
            "access denied",
            "its holder may not connect; GnuTLS says so of any certificate that it refuses",
            "access-denied",
            "access-denied client-refused unknown-ca clock-skew wrong-usage revoked malformed",
        ),
        50: _alert(
            "decode error",
            "it can't decode a message of the handshake, or the certificate in it",
            "broken-message",
            "malformed broken-message",
        ),
        51: _alert(
            "decrypt error",
            "a signature does not fit: that of the handshake, of a certificate or of a list",
            "bad-signature key-mismatch",
            "bad-signature bad-crl key-mismatch",
        ),
        60: _alert(
            "export restriction", "it allows no key of this length (TLS 1.0)", "cipher-mismatch"
        ),
        70: _alert(
            "protocol version",
            "it supports no TLS version that this side supports",
            "protocol-version",
            is_sure=True,
        ),
        71: _alert(
            "insufficient security",
            "it demands stronger cipher suites, keys or signatures than are offered",
            "cipher-mismatch",
            "cipher-mismatch weak-key weak-signature",
        ),
        80: _alert(
            "internal error",
            "it failed by a fault of its own; a Go server also says so when it has no certificate "
            "for the name that was asked for",
            "no-server-certificate internal-error",
            "internal-error client-refused",
        ),
        86: _alert(
            "inappropriate fallback",
            "the client tried an older version again, though both support a newer one",
            "protocol-version",
            is_sure=True,
        ),
        90: _alert("user canceled", "it canceled the handshake", "closed-without-reason"),
        100: _alert(
            "no renegotiation",
            "it does not renegotiate: the certificate would have to be requested at the start",
            "no-renegotiation",
            is_sure=True,
        ),
        109: _alert(
            "missing extension",
            "the handshake lacks something that it needs, such as the server's name",
            "no-server-certificate broken-message",
        ),
        110: _alert(
            "unsupported extension",
            "it was sent an extension that it never asked for",
            "broken-message",
        ),
        111: _alert(
            "certificate unobtainable",
            "it can't fetch the certificate from the URL that was sent in its place",
            "client-refused",
        ),
        112: _alert(
            "unrecognized name",
            "it has no certificate for the name that was asked for",
            "no-server-certificate",
            is_sure=True,
        ),
        113: _alert(
            "bad certificate status response",
            "the OCSP response that came with the certificate is invalid, or says nothing good",
            "ocsp-failed",
            is_sure=True,
        ),
        114: _alert(
            "bad certificate hash value",
            "the certificate at the URL is not the one that was announced",
            "client-refused",
        ),
        115: _alert(
            "unknown PSK identity",
            "it expects a key that both share beforehand, and knows none of ours",
            "unknown-psk",
            is_sure=True,
        ),
        CERTIFICATE_REQUIRED: _alert(
            "certificate required",
            "it received no certificate",
            "no-client-certificate",
            is_sure=True,
        ),
        117: _alert("general error", "it failed, and has no alert that says how", "internal-error"),
        120: _alert(
            "no application protocol",
            "it speaks TLS, and none of the protocols in it that were offered (ALPN)",
            "not-http2",
            is_sure=True,
        ),
        121: _alert(
            "ECH required",
            "it demands an encrypted client hello, which gRPC does not send",
            "broken-message",
        ),
    }
)


def describe_alert(number: int) -> Alert:
    """Return what an alert says; one that no standard names says only that it was sent."""
    return ALERTS.get(number) or Alert(
        f"number {number}",
        "no standard names this alert",
        ("broken-message",),
        ("client-refused", "broken-message"),
    )


# What each failure would mean at the side that refused the certificate.
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "access-denied": "a rule of its own may refuse the name in the certificate: read its log",
        "bad-crl": "it may have a revocation list that it can't use",
        "ocsp-failed": "it may demand an OCSP response, and got none that is good",
        "bad-signature": "its CA may have the same name and another key",
        "chain-too-long": "it may allow fewer CAs between leaf and root (verify depth)",
        "cipher-mismatch": "the two may share no cipher suite, curve or signature algorithm",
        "client-refused": "a rule of its own may refuse the certificate: read its log",
        "clock-skew": "its clock may differ from this one",
        "distrusted": "its root may be marked as trusted for other uses only",
        "expired": "a root in its own bundle may have expired",
        "incomplete-chain": "it may lack a CA between leaf and root that was not sent",
        "internal-error": "it may have failed by a fault of its own: read its log",
        "issuer-not-ca": "a CA in the path may not be allowed to sign",
        "issuer-revoked": "the CA may be on a revocation list that only it has",
        "key-mismatch": "the key that signed the handshake may not be the certificate's",
        "malformed": "the certificate may break a rule that it checks",
        "name-constraint": "a name may lie outside what a CA of its own bundle may name",
        "no-client-certificate": "none was sent: the key may support no signature algorithm of it",
        "no-crl": "it may demand a revocation list for each CA, and lack one (OpenSSL's "
        "CRL_CHECK_ALL; HAProxy's crl-file)",
        "path-length": "a CA in the path may have more CAs below it than it is allowed",
        "broken-message": "one of the two may break TLS, or something between changes the bytes",
        "revoked": "the certificate may be on a revocation list that only it has",
        "self-signed": "it may accept no self-signed certificate",
        "stale-crl": "a revocation list that it uses may be past its end",
        "strict-verifier": "it may verify more strictly than gRPC does",
        "unknown-ca": "its bundle may lack the root of the certificate, or hold an older one",
        "unsupported-key": "it may not support the kind of the key",
        "weak-key": "it may demand a stronger key",
        "weak-signature": "it may demand a stronger signature",
        "wrong-name": "it may expect another name",
        "wrong-usage": "it may demand another key usage",
    }
)
