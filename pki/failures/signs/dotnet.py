"""What .NET and Windows' own TLS library, schannel, write."""

from __future__ import annotations

from pki.failures.sign import Sign, signs
from pki.failures.signs.parties import DOTNET, SCHANNEL

# .NET names the flags of a chain one after the other: NotTimeValid, UntrustedRoot.
_UNCLEAR = "unknown-ca wrong-name expired"

WINDOWS: tuple[Sign, ...] = (
    *signs(
        DOTNET,
        ("RemoteCertificateNameMismatch", "wrong-name"),
        ("RemoteCertificateNotAvailable", "no-client-certificate"),
        ("UntrustedRoot", "unknown-ca self-signed"),
        ("PartialChain", "incomplete-chain unknown-ca"),
        ("NotTimeValid", "expired not-yet-valid"),
        ("RevocationStatusUnknown", "no-crl stale-crl"),
        ("OfflineRevocation", "no-crl stale-crl"),
        ("NotValidForUsage", "wrong-usage"),
        ("InvalidBasicConstraints", "issuer-not-ca path-length"),
        ("InvalidNameConstraints", "name-constraint"),
        ("HasNotPermittedNameConstraint", "name-constraint"),
        ("HasExcludedNameConstraint", "name-constraint"),
        ("NotSignatureValid", "bad-signature"),
        ("HasWeakSignature", "weak-signature"),
        ("errors in the certificate chain: Revoked", "revoked"),
        (
            "Cannot determine the frame size or a corrupted frame was received",
            "plaintext-server plaintext-client",
        ),
        (
            "Received an unexpected EOF or 0 bytes from the transport stream",
            "closed-without-reason",
        ),
        ("the remote party has closed the transport stream", "closed-without-reason"),
        ("An HTTP/2 connection could not be established", "not-http2 plaintext-server"),
        (
            "The client and server cannot communicate, because they do not possess a common algorithm",
            "cipher-mismatch protocol-version",
        ),
        (
            "The message received was unexpected or badly formatted",
            "cipher-mismatch broken-message",
        ),
        (
            "The certificate chain was issued by an authority that is not trusted",
            "unknown-ca self-signed",
        ),
        ("The target principal name is incorrect", "wrong-name"),
    ),
    *signs(
        SCHANNEL,
        ("SEC_E_UNTRUSTED_ROOT", "unknown-ca self-signed"),
        ("CERT_TRUST_IS_UNTRUSTED_ROOT", "unknown-ca self-signed"),
        ("0x80090325", "unknown-ca self-signed"),
        ("SEC_E_WRONG_PRINCIPAL", "wrong-name"),
        ("0x80090322", "wrong-name"),
        ("SEC_E_CERT_EXPIRED", "expired not-yet-valid"),
        ("0x80090328", "expired not-yet-valid"),
        ("SEC_E_CERT_WRONG_USAGE", "wrong-usage"),
        ("SEC_E_CERT_UNKNOWN", "client-refused malformed"),
        ("0x80090327", "client-refused malformed"),
        ("SEC_E_NO_CREDENTIALS", "no-private-key"),
        ("0x8009030E", "no-private-key"),
        ("SEC_E_INVALID_TOKEN", "plaintext-server broken-message protocol-version"),
        ("0x80090308", "plaintext-server broken-message protocol-version"),
        ("SEC_E_ILLEGAL_MESSAGE", "cipher-mismatch broken-message"),
        ("0x80090326", "cipher-mismatch broken-message"),
        ("SEC_E_ALGORITHM_MISMATCH", "cipher-mismatch protocol-version"),
        ("0x80090331", "cipher-mismatch protocol-version"),
        ("SEC_E_UNSUPPORTED_FUNCTION", "protocol-version"),
        ("SEC_E_DECRYPT_FAILURE", "broken-message"),
        ("SEC_E_INTERNAL_ERROR", "internal-error"),
        ("CERT_E_UNTRUSTEDROOT", "unknown-ca self-signed"),
        ("0x800B0109", "unknown-ca self-signed"),
        ("CERT_E_CN_NO_MATCH", "wrong-name"),
        ("0x800B010F", "wrong-name"),
        ("CERT_E_EXPIRED", "expired"),
        ("0x800B0101", "expired"),
        ("CERT_E_CHAINING", "incomplete-chain unknown-ca"),
        ("0x800B010A", "incomplete-chain unknown-ca"),
        ("CRYPT_E_NO_REVOCATION_CHECK", "no-crl"),
        ("0x80092012", "no-crl"),
        ("CRYPT_E_REVOCATION_OFFLINE", "no-crl"),
        ("0x80092013", "no-crl"),
        ("CRYPT_E_REVOKED", "revoked"),
        ("0x80092010", "revoked"),
        (
            "schannel: failed to receive handshake, SSL/TLS connection failed",
            "closed-without-reason",
        ),
        (
            "A fatal error occurred while creating a TLS client credential",
            "no-private-key protocol-version",
        ),
        (
            "A fatal error occurred when attempting to access the TLS server credential private key",
            "file-unreadable no-private-key",
        ),
    ),
    *signs(
        DOTNET,
        ("The remote certificate is invalid according to the validation procedure", _UNCLEAR),
        ("rejected by the provided RemoteCertificateValidationCallback", _UNCLEAR),
        vague=True,
    ),
)
