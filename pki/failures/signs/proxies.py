"""What proxies and command-line tools write beside the texts of their TLS library."""

from __future__ import annotations

from pki.failures.sign import Sign, signs
from pki.failures.signs.parties import CURL, ENVOY, HAPROXY, NGINX

_UNCLEAR = "unknown-ca wrong-name expired incomplete-chain"
_VERIFY = "client SSL certificate verify error:"
_HAPROXY_CLIENT = "unknown-ca incomplete-chain self-signed expired no-crl stale-crl revoked"

PROXIES: tuple[Sign, ...] = (
    *signs(
        NGINX,
        ("client sent no required SSL certificate", "no-client-certificate"),
        ("No required SSL certificate was sent", "no-client-certificate"),
        (f"{_VERIFY} (10:certificate has expired)", "expired"),
        (
            f"{_VERIFY} (20:unable to get local issuer certificate)",
            "unknown-ca incomplete-chain",
        ),
        (
            f"{_VERIFY} (21:unable to verify the first certificate)",
            "incomplete-chain unknown-ca",
        ),
        (f"{_VERIFY} (23:certificate revoked)", "revoked"),
        (f"{_VERIFY} (3:unable to get certificate CRL)", "no-crl"),
        (f"{_VERIFY} (12:CRL has expired)", "stale-crl"),
        (f"{_VERIFY} (26:", "wrong-usage"),
        (f"{_VERIFY} (22:certificate chain too long)", "chain-too-long"),
        ("upstream SSL certificate does not match", "wrong-name"),
        ("The plain HTTP request was sent to HTTPS port", "plaintext-client"),
        ("The SSL certificate error", "client-refused"),
    ),
    # Envoy itself refused, and only newer versions say why.
    *signs(
        ENVOY,
        (
            "TLS_error:…:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end",
            _UNCLEAR,
        ),
        ("TLS error: …:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED", _UNCLEAR),
        vague=True,
    ),
    *signs(
        ENVOY,
        ("verify cert failed: verify SAN list", "wrong-name"),
        ("fail_verify_san", "wrong-name"),
        ("fail_verify_no_cert", "no-client-certificate"),
        ("fail_verify_error", "unknown-ca incomplete-chain expired"),
        ("delayed connect error: 111", "not-listening"),
        ("transport failure reason: delayed connect error: Connection refused", "not-listening"),
        (
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            "closed-without-reason plaintext-server",
        ),
        ("Failed to load certificate chain from", "not-pem key-format"),
        ("Failed to load private key from", "key-format not-pem wrong-password"),
        # Envoy reads an empty text where it may not read the file.
        (
            "Failed to load incomplete private key",
            "file-unreadable no-private-key not-pem",
        ),
        ("Failed to load incomplete certificate", "no-private-key file-unreadable not-pem"),
        ("Failed to load trusted CA certificates from", "not-pem no-trust-anchors"),
        ("Secret is not supplied by SDS", "secret-missing"),
        ("Unexpected SDS secret", "secret-missing"),
        ("TLS_error:…:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER", "plaintext-server"),
    ),
    *signs(
        HAPROXY,
        ("SSL client CA chain cannot be verified", _HAPROXY_CLIENT),
        ("SSL client certificate not trusted", _HAPROXY_CLIENT),
        ("Server presented an SSL certificate different from the configured one", "wrong-name"),
        ("Server presented an SSL certificate different from the expected one", "wrong-name"),
        ("inconsistencies between private key and certificate loaded", "key-mismatch"),
        ("unable to load SSL private key into SSL Context", "key-mismatch key-format not-pem"),
        ("unable to load SSL certificate into SSL Context", "weak-key weak-signature not-pem"),
        ("No Private Key found in", "no-private-key not-pem"),
        ("unable to load certificate from file", "not-pem file-missing file-unreadable"),
        ("unable to load SSL certificate from PEM file", "not-pem no-private-key"),
        ("unable to stat SSL certificate from file", "file-missing file-unreadable"),
        ("Connection closed during SSL handshake", "closed-without-reason"),
        ("Timeout during SSL handshake", "handshake-timeout"),
        ("SSL_MISMATCH_SNI", "wrong-name"),
        ("SSL_CA_FAIL", _HAPROXY_CLIENT),
        ("SSL_CRT_FAIL", _HAPROXY_CLIENT),
    ),
    # It stands for every failure of a handshake.
    *signs(
        HAPROXY,
        (
            "SSL handshake failure",
            "no-client-certificate unknown-ca incomplete-chain wrong-name plaintext-client protocol-version",
        ),
        (
            "Layer6 invalid response",
            "plaintext-server no-client-certificate unknown-ca wrong-name protocol-version",
        ),
        vague=True,
    ),
    *signs(
        CURL,
        ("no alternative certificate subject name matches target", "wrong-name"),
        ("Could not resolve host", "no-such-host"),
        ("Couldn't connect to server", "not-listening"),
        ("Could not connect to server", "not-listening"),
        ("unsuitable as client certificate", "wrong-usage"),
        ("Received HTTP/0.9 when not allowed", "plaintext-client"),
    ),
)
