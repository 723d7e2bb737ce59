"""What browsers write: NSS's error codes, those of Chromium's network library, and PHP's clients."""

from __future__ import annotations

from pki.failures.sign import Sign, signs
from pki.failures.signs.parties import CHROME, NSS, PHP

BROWSERS: tuple[Sign, ...] = (
    *signs(
        NSS,
        ("SEC_ERROR_UNKNOWN_ISSUER", "unknown-ca incomplete-chain"),
        ("SEC_ERROR_UNTRUSTED_ISSUER", "unknown-ca"),
        ("SEC_ERROR_EXPIRED_CERTIFICATE", "expired"),
        ("SEC_ERROR_EXPIRED_ISSUER_CERTIFICATE", "expired"),
        ("SEC_ERROR_REVOKED_CERTIFICATE", "revoked"),
        ("SEC_ERROR_BAD_SIGNATURE", "bad-signature"),
        ("SEC_ERROR_CA_CERT_INVALID", "issuer-not-ca"),
        ("SEC_ERROR_INADEQUATE_CERT_TYPE", "wrong-usage"),
        ("SEC_ERROR_INADEQUATE_KEY_USAGE", "wrong-usage"),
        ("SEC_ERROR_CERT_NOT_IN_NAME_SPACE", "name-constraint"),
        ("SEC_ERROR_PATH_LEN_CONSTRAINT_INVALID", "path-length"),
        ("SSL_ERROR_BAD_CERT_DOMAIN", "wrong-name"),
        ("SSL_ERROR_RX_RECORD_TOO_LONG", "plaintext-server"),
        ("SSL_ERROR_NO_CYPHER_OVERLAP", "cipher-mismatch protocol-version"),
        ("SSL_ERROR_UNSUPPORTED_VERSION", "protocol-version"),
        ("SSL_ERROR_RX_CERTIFICATE_REQUIRED_ALERT", "no-client-certificate"),
        ("MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT", "self-signed"),
        ("MOZILLA_PKIX_ERROR_CA_CERT_USED_AS_END_ENTITY", "ca-as-leaf"),
        ("MOZILLA_PKIX_ERROR_NOT_YET_VALID_CERTIFICATE", "not-yet-valid"),
    ),
    *signs(
        CHROME,
        ("ERR_CERT_AUTHORITY_INVALID", "unknown-ca incomplete-chain self-signed"),
        ("ERR_CERT_COMMON_NAME_INVALID", "wrong-name no-san"),
        ("ERR_CERT_DATE_INVALID", "expired not-yet-valid"),
        ("ERR_CERT_WEAK_SIGNATURE_ALGORITHM", "weak-signature"),
        ("ERR_CERT_WEAK_KEY", "weak-key"),
        ("ERR_CERT_NAME_CONSTRAINT_VIOLATION", "name-constraint"),
        ("ERR_BAD_SSL_CLIENT_AUTH_CERT", "client-refused no-client-certificate"),
        ("ERR_SSL_VERSION_OR_CIPHER_MISMATCH", "cipher-mismatch protocol-version"),
        ("ERR_SSL_PROTOCOL_ERROR", "plaintext-server broken-message"),
        ("ERR_SSL_UNRECOGNIZED_NAME_ALERT", "no-server-certificate wrong-name"),
    ),
    *signs(PHP, ("Peer certificate CN=… did not match expected CN", "wrong-name")),
)
