"""What rustls writes, and tonic after it, as a sentence or as the value of its error."""

from __future__ import annotations

from pki.failures.sign import Sign, signs
from pki.failures.signs.parties import RUST

# Of CertificateError, and of the older webpki::Error.
_REFUSED = (
    ("UnknownIssuer", "unknown-ca incomplete-chain"),
    ("Expired", "expired"),
    ("CertExpired", "expired"),
    ("NotValidYet", "not-yet-valid"),
    ("CertNotValidYet", "not-yet-valid"),
    ("NotValidForName", "wrong-name"),
    ("CertNotValidForName", "wrong-name"),
    ("Revoked", "revoked"),
    ("CertRevoked", "revoked"),
    ("InvalidPurpose", "wrong-usage"),
    ("RequiredEkuNotFound", "wrong-usage"),
    ("BadSignature", "bad-signature"),
    ("InvalidSignatureForPublicKey", "bad-signature"),
    ("BadEncoding", "malformed"),
    ("BadDER", "malformed"),
    ("UnhandledCriticalExtension", "malformed"),
    ("UnsupportedCriticalExtension", "malformed"),
    ("UnsupportedCertVersion", "malformed"),
    ("NameConstraintViolation", "name-constraint"),
    ("UnknownRevocationStatus", "no-crl"),
    ("ExpiredRevocationList", "stale-crl"),
    ("CaUsedAsEndEntity", "ca-as-leaf"),
)
_FORMS = (
    "invalid peer certificate: {}",
    "InvalidCertificate({})",
    "WebPKIError({})",
    "OtherError({})",
)

RUSTLS: tuple[Sign, ...] = (
    *(
        Sign(RUST, form.format(name), tuple(slugs.split()))
        for name, slugs in _REFUSED
        for form in _FORMS
    ),
    *signs(
        RUST,
        ("certificate expired: verification time", "expired"),
        ("certificate not valid yet: verification time", "not-yet-valid"),
        ("certificate not valid for name", "wrong-name"),
        ("NotValidForNameContext {", "wrong-name"),
        ("CaUsedAsEndEntity", "ca-as-leaf"),
        ("EndEntityUsedAsCa", "issuer-not-ca"),
        ("PathLenConstraintViolated", "path-length"),
        ("NoCipherSuitesInCommon", "cipher-mismatch"),
        ("NoCertificateRequestSignatureSchemesInCommon", "unsupported-key"),
        ("ServerDoesNotSupportTls12Or13", "protocol-version"),
        ("SupportedVersionsExtensionRequired", "protocol-version"),
        ("peer doesn't support any known protocol", "not-http2"),
        ("tls handshake eof", "closed-without-reason"),
        ("peer sent no certificates", "no-client-certificate"),
        ("NoCertificatesPresented", "no-client-certificate"),
        (
            "received corrupt message of type InvalidContentType",
            "plaintext-server plaintext-client",
        ),
        ("InvalidMessage(InvalidContentType)", "plaintext-server plaintext-client"),
    ),
)
