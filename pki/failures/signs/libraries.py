"""What TLS libraries in C write, and programs that pass their texts on."""

from __future__ import annotations

from pki.failures.sign import Sign, signs
from pki.failures.signs.parties import GNUTLS, OPENSSL

# A verification failed, and the text does not say why.
_NO_DETAIL = "unknown-ca incomplete-chain expired wrong-name"

LIBRARIES: tuple[Sign, ...] = (
    *signs(
        OPENSSL,
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "no-client-certificate"),
        ("peer did not return a certificate", "no-client-certificate"),
        # Alone, these words are said of addresses too: Go's and axios' "unsupported protocol".
        ("SSL routines:…:unsupported protocol", "protocol-version"),
        ("unsupported protocol (_ssl.c", "protocol-version"),
        ("[SSL: UNSUPPORTED_PROTOCOL]", "protocol-version"),
        ("OPENSSL_internal:UNSUPPORTED_PROTOCOL", "protocol-version"),
        ("ERR_SSL_UNSUPPORTED_PROTOCOL", "protocol-version"),
        ("no protocols available", "protocol-version"),
        ("no shared cipher", "cipher-mismatch"),
        ("NO_SHARED_CIPHER", "cipher-mismatch"),
        ("NO_COMMON_SIGNATURE_ALGORITHMS", "unsupported-key"),
        ("no suitable signature algorithm", "unsupported-key"),
        ("wrong version number", "plaintext-server plaintext-client"),
        ("WRONG_VERSION_NUMBER", "plaintext-server plaintext-client"),
        ("packet length too long", "plaintext-server"),
        ("record layer failure", "plaintext-server broken-message"),
        ("SSL routines:…:http request", "plaintext-client"),
        ("SSL routines:…:https proxy request", "plaintext-client"),
        ("OPENSSL_internal:HTTP_REQUEST", "plaintext-client"),
        ("[SSL: HTTP_REQUEST]", "plaintext-client"),
        ("unexpected eof while reading", "closed-without-reason"),
        ("UNEXPECTED_EOF_WHILE_READING", "closed-without-reason"),
        ("EOF occurred in violation of protocol", "closed-without-reason"),
        ("TLS/SSL connection has been closed (EOF)", "closed-without-reason"),
        ("SSL handshake is taking longer than", "handshake-timeout"),
        ("SysCallError(-1, 'Unexpected EOF')", "closed-without-reason"),
        ("tls_handle_alpn:no application protocol", "not-http2"),
        ("NO_APPLICATION_PROTOCOL", "not-http2"),
        # librdkafka, after OpenSSL's "certificate verify failed".
        ("broker certificate could not be verified", "unknown-ca incomplete-chain"),
        ("unsafe legacy renegotiation disabled", "legacy-renegotiation"),
        ("UNSAFE_LEGACY_RENEGOTIATION_DISABLED", "legacy-renegotiation"),
        ("dh key too small", "cipher-mismatch weak-key"),
        ("DH_KEY_TOO_SMALL", "cipher-mismatch weak-key"),
    ),
    *signs(
        OPENSSL,
        ("CERTIFICATE_VERIFY_FAILED", _NO_DETAIL),
        ("certificate verify failed", _NO_DETAIL),
        vague=True,
    ),
    *signs(
        GNUTLS,
        ("The certificate issuer is unknown", "unknown-ca incomplete-chain self-signed"),
        ("The certificate chain uses expired certificate", "expired"),
        ("The certificate chain uses not yet valid certificate", "not-yet-valid"),
        ("The name in the certificate does not match the expected", "wrong-name"),
        ("The certificate chain is revoked", "revoked"),
        ("The certificate chain uses insecure algorithm", "weak-signature weak-key"),
        ("The signature in the certificate is invalid", "bad-signature"),
        ("The certificate chain violates the signer's constraints", "name-constraint path-length"),
        ("The certificate chain does not match the intended purpose", "wrong-usage"),
        ("The certificate issuer is not a CA", "issuer-not-ca"),
        ("The revocation or OCSP data are old and have been superseded", "stale-crl ocsp-failed"),
        ("The revocation or OCSP data are issued with a future date", "clock-skew"),
        ("The certificate requires the server to include an OCSP status", "ocsp-failed"),
        ("The certificate and the given key do not match", "key-mismatch"),
        ("The TLS connection was non-properly terminated", "closed-without-reason"),
        ("An unexpected TLS packet was received", "plaintext-server plaintext-client"),
        (
            "A packet with illegal or unsupported version was received",
            "plaintext-server protocol-version",
        ),
        ("No supported cipher suites have been found", "cipher-mismatch"),
        ("Could not negotiate a supported cipher suite", "cipher-mismatch"),
        ("No common key share with peer", "cipher-mismatch"),
    ),
)
