"""How each library writes an alert that the other side sent.

The failures of each alert are those of ``pki.failures.alerts``. An alert whose text is the same in
two libraries stands under the first.
"""

from __future__ import annotations

from collections.abc import Iterator

from pki.failures.alerts import ALERTS
from pki.failures.sign import Sign
from pki.failures.signs.parties import DOTNET, ERLANG, GNUTLS, GO, JAVA, OPENSSL, RUST, SCHANNEL

# OpenSSL and BoringSSL write most alerts as "alert" and the name with spaces, these otherwise.
_OPENSSL = {
    90: "alert user cancelled",
    110: "tlsv1 unsupported extension",
    111: "tlsv1 certificate unobtainable",
    112: "tlsv1 unrecognized name",
    113: "tlsv1 bad certificate status response",
    114: "tlsv1 bad certificate hash value",
}
# crypto/tls/alert.go, where it is not the name with spaces.
_GO = {
    44: "revoked certificate",
    45: "expired certificate",
    46: "unknown certificate",
    48: "unknown certificate authority",
    50: "error decoding message",
    51: "error decrypting message",
    70: "protocol version not supported",
    71: "insufficient security level",
    117: "alert(117)",
    121: "encrypted client hello required",
}
# Since 0.24, rustls writes a sentence.
_RUST = {
    10: "received an unexpected message",
    20: "failed to verify a message",
    22: "rejected an over-length message",
    40: "failed to negotiate an acceptable set of security parameters",
    42: "rejected the certificate as corrupt or incorrectly signed",
    43: "did not support the certificate",
    44: "found the certificate to be revoked",
    45: "found the certificate to be expired",
    46: "rejected the certificate for an unspecified reason",
    47: "rejected a message because a field was incorrect or inconsistent",
    48: "found the certificate was not issued by a trusted CA",
    49: "denied access",
    50: "failed to decode a message",
    51: "failed to perform a handshake cryptographic operation",
    70: "did not support a suitable TLS version",
    71: "required a higher security level than was offered",
    80: "encountered an internal error",
    86: "detected an attempted version downgrade",
    112: "did not recognize a name in the `server_name` extension",
    115: "did not recognize any offered PSK identity",
    116: "required a client certificate",
}
_RUST_NAMES = {
    48: "UnknownCA",
    112: "UnrecognisedName",
    115: "UnknownPSKIdentity",
    121: "EncryptedClientHelloRequired",
}
_GNUTLS = {
    40: "Handshake failed",
    41: "No certificate (SSL 3.0)",
    42: "Certificate is bad",
    43: "Certificate is not supported",
    44: "Certificate was revoked",
    45: "Certificate is expired",
    46: "Unknown certificate",
    48: "CA is unknown",
    49: "Access was denied",
    70: "Error in protocol version",
    71: "Insufficient security",
    80: "Internal error",
    112: "The server name sent was not recognized",
    115: "The SRP/PSK username is missing or not known",
    116: "Certificate is required",
    120: "No supported application protocol",
}
# ssl_alert.erl, which spells it so.
_ERLANG = {112: "unrecognised name"}
# Names of .NET's TlsAlertMessage that differ from rustls's; it writes the rest as numbers.
_DOTNET = {
    30: "DecompressionFail",
    43: "UnsupportedCert",
    71: "InsuffientSecurity",
    110: "UnsupportedExt",
}
_DOTNET_NUMBERS = (41, 86, 109, 111, 112, 113, 114, 115, 116, 117, 120, 121)


def _texts() -> Iterator[Sign]:
    for number, alert in ALERTS.items():
        words = alert.name.replace("_", " ")
        camel = alert.name.title().replace("_", "")
        rust = _RUST_NAMES.get(number, camel)
        texts = [
            (OPENSSL, _OPENSSL.get(number, f"alert {words}")),
            (OPENSSL, f"ALERT_{alert.name.upper()}"),
            (OPENSSL, f"SSL alert number {number}"),
            (GO, f"remote error: tls: {_GO.get(number, words)}"),
            (JAVA, f"Received fatal alert: {alert.name}"),
            (RUST, f"received fatal alert: {rust}"),
            (RUST, f"AlertReceived({rust})"),
            (DOTNET, f"TLS alert: '{_DOTNET.get(number, rust)}'"),
            (SCHANNEL, f"TLS protocol defined fatal alert code is {number}"),
            (SCHANNEL, f"TLS protocol defined fatal error code is {number}"),
            (ERLANG, f"ALERT: Fatal - {_ERLANG.get(number, words)}"),
            (ERLANG, f"tls_alert,{{{_ERLANG.get(number, words).replace(' ', '_')}"),
            (GNUTLS, f"alert [{number}]: {_GNUTLS.get(number, words)}"),
        ]
        if number in _DOTNET_NUMBERS:
            texts.append((DOTNET, f"TLS alert: '{number}'"))
        if number in _OPENSSL:
            texts.append((OPENSSL, _OPENSSL[number].upper().replace(" ", "_")))
        if number in _RUST:
            texts.append((RUST, f"received fatal alert: the peer {_RUST[number]}"))
        for party, text in texts:
            yield Sign(party, text, alert.slugs)


ALERT_SIGNS: tuple[Sign, ...] = tuple(_texts())
