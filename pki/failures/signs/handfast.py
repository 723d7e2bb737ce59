"""What handfast writes, and errors of the operating system that any program passes on."""

from __future__ import annotations

from pki.failures.sign import Sign, signs
from pki.failures.signs.parties import ANY, HANDFAST

__all__ = ["HANDFAST", "OURS"]

OURS: tuple[Sign, ...] = (
    # Policies refuse connections too, and write a text of their own.
    Sign(ANY, "Connection refused", ("not-listening",), unless=("connection refused by",)),
    *signs(
        ANY,
        ("Name or service not known", "no-such-host"),
        ("Temporary failure in name resolution", "no-such-host"),
        ("No route to host", "unreachable"),
        ("Network is unreachable", "unreachable"),
        ("Connection timed out", "unreachable handshake-timeout"),
        ("Connection reset by peer", "closed-without-reason"),
        ("Broken pipe", "closed-without-reason"),
    ),
    *signs(
        HANDFAST,
        ("NO_ROLE", "no-role"),
        ("METHOD_NOT_GRANTED", "not-granted"),
        ("CERTIFICATE_REVOKED", "revoked"),
        ("your certificate was revoked", "revoked"),
        ("CERTIFICATE_EXPIRED", "expired"),
        ("your certificate has expired", "expired"),
        ("CERTIFICATE_NOT_YET_VALID", "not-yet-valid"),
        ("your certificate is not valid yet", "not-yet-valid"),
        ("CERTIFICATE_INVALID", "malformed"),
        ("your certificate breaks a rule for workload certificates", "malformed"),
        ("no client certificate was presented", "no-client-certificate"),
        ("ISSUER_DISTRUSTED", "issuer-revoked unknown-ca"),
        ("the issuer of your certificate is not trusted", "issuer-revoked unknown-ca"),
        ("REVOCATION_STALE", "stale-crl no-crl"),
        ("this server can't tell whether your certificate is revoked", "stale-crl no-crl"),
        ("there is no revocation list of the issuer", "no-crl"),
        ("POLICY_UNAVAILABLE", "policy-unavailable"),
        ("this server has no policy in force", "policy-unavailable"),
        ("our own policy is not in force", "policy-unavailable"),
        ("AUTHORIZATION_ERROR", "authorization-error"),
        ("the server failed to authorize this call", "authorization-error"),
        ("SERVER_ROLE_MISSING", "server-role-missing"),
        ("CREDENTIAL_ENDED", "credential-ended"),
        ("a certificate that this call's connection began with expired", "credential-ended"),
        ("our own certificate has expired and was not renewed", "credential-ended"),
        ("SERVER_CERTIFICATE_REJECTED", "server-certificate-rejected"),
        ("the certificate at the address of … was revoked", "revoked"),
        ("the certificate at the address of … has expired", "expired"),
        ("the certificate at the address of … names another workload", "wrong-name"),
        (
            "the certificate at the address of … comes from a CA that is not in our trust bundle",
            "unknown-ca",
        ),
        ("the certificate at the address of … comes from a CA that was revoked", "issuer-revoked"),
        (
            "the certificate at the address of … may have been revoked: our revocation lists are missing or old",
            "stale-crl no-crl",
        ),
        ("SERVER_UNVERIFIED", "server-unverified"),
        ("could not verify the certificate of", "server-unverified"),
        ("private key does not belong to the certificate", "key-mismatch"),
        ("others may read it", "key-permissions"),
        ("holds no credential: none of", "incomplete-files"),
    ),
)
