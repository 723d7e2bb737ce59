"""What proxies and command-line tools write beside the texts of their TLS library."""

from __future__ import annotations

from pki.failures.sign import Sign, signs

NGINX = "nginx"
ENVOY = "Envoy"
CURL = "curl"

PROXIES: tuple[Sign, ...] = (
    *signs(
        NGINX,
        ("client sent no required SSL certificate", "no-client-certificate"),
        ("No required SSL certificate was sent", "no-client-certificate"),
        ("client SSL certificate verify error: (10:certificate has expired)", "expired"),
        (
            "client SSL certificate verify error: (20:unable to get local issuer certificate)",
            "unknown-ca incomplete-chain",
        ),
        (
            "client SSL certificate verify error: (21:unable to verify the first certificate)",
            "incomplete-chain unknown-ca",
        ),
        ("client SSL certificate verify error: (23:certificate revoked)", "revoked"),
        ("client SSL certificate verify error: (3:unable to get certificate CRL)", "no-crl"),
        ("client SSL certificate verify error: (12:CRL has expired)", "stale-crl"),
        ("client SSL certificate verify error: (26:", "wrong-usage"),
        (
            "client SSL certificate verify error: (22:certificate chain too long)",
            "chain-too-long",
        ),
        ("upstream SSL certificate does not match", "wrong-name"),
        ("The plain HTTP request was sent to HTTPS port", "plaintext-client"),
        ("The SSL certificate error", "client-refused"),
    ),
    # Envoy itself refused, and only newer versions say why.
    *signs(
        ENVOY,
        (
            "TLS_error:…CERTIFICATE_VERIFY_FAILED:TLS_error_end",
            "unknown-ca wrong-name expired incomplete-chain",
        ),
        (
            "TLS error:…CERTIFICATE_VERIFY_FAILED",
            "unknown-ca wrong-name expired incomplete-chain",
        ),
        vague=True,
    ),
    *signs(
        ENVOY,
        (
            "verify cert failed: X509_verify_cert: certificate verification error at depth…: certificate has expired",
            "expired",
        ),
        (
            "verify cert failed: X509_verify_cert: certificate verification error at depth…: unable to get local issuer certificate",
            "unknown-ca incomplete-chain",
        ),
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
    ),
    *signs(
        CURL,
        ("no alternative certificate subject name matches target", "wrong-name"),
        ("Could not resolve host", "no-such-host"),
        ("Failed to connect to…Couldn't connect to server", "not-listening"),
        ("unsuitable as client certificate", "wrong-usage"),
        ("Received HTTP/0.9 when not allowed", "plaintext-client"),
    ),
)
