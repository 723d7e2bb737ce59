"""Failures within a handshake that are neither the network's nor a certificate's content."""

from __future__ import annotations

from pki.failures.failure import Failure

HANDSHAKE = (
    Failure(
        "internal-error",
        "the other side failed by a fault of its own",
        "It answered with the alert internal_error (80): it has no certificate to present for the name that was "
        "asked, can't use its key, or failed otherwise.",
        "Read the other side's log at this moment; check that it has a certificate for the server name.",
    ),
    Failure(
        "no-server-certificate",
        "the server has no certificate for this name",
        "The server has no certificate at all, or none for the server name (SNI) that the client asked for.",
        "Ask for a name that it serves, or give it a certificate for this one. For a kubelet: approve its "
        "request (kubectl get csr).",
        "CERTIFICATE_HOSTNAME_MISMATCH",
    ),
    Failure(
        "access-denied",
        "the certificate is good, but its holder may not enter",
        "The other side verified the certificate, and its own rules refuse the name in it (alert access_denied, 49).",
        "Permit the name in the other side's rules, or present the certificate of a name that they permit.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "broken-message",
        "a TLS message breaks the protocol",
        "One side could not read a message of the other, or did not expect it: something between them changes the "
        "bytes, one side does not speak TLS, or one implementation has a defect.",
        "Connect without the proxy or inspection between; update both sides; then compare with: "
        "openssl s_client -connect TARGET.",
        "PROTOCOL_VERSION_UNSUPPORTED",
    ),
    Failure(
        "legacy-renegotiation",
        "the server does not know secure renegotiation",
        "The server does not support RFC 5746, which OpenSSL 3 requires: it is old, or a proxy with TLS inspection "
        "answers in its place.",
        "Update the server or the proxy. As a last resort for this one server: Options = "
        "UnsafeLegacyServerConnect in an openssl.cnf of its own.",
        "PROTOCOL_VERSION_UNSUPPORTED",
    ),
    Failure(
        "issuer-not-ca",
        "a certificate that is no CA's signed another",
        "A certificate above the leaf may not sign certificates: it has no basicConstraints with CA true, or its "
        "keyUsage lacks keyCertSign. Mostly it was made without the extensions of a CA.",
        "Make the CA anew with these extensions, or issue from another: handfast ca init. handfast inspect FILE "
        "shows which certificate is no CA.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "strict-verifier",
        "a strict verifier refuses a certificate that others accept",
        "The certificate or its CA breaks a rule of RFC 5280 that only strict verifiers check: Python 3.13 and later by "
        "default, openssl verify -x509_strict. Mostly the authority key identifier is missing, or the CA's keyUsage "
        "or critical basicConstraints.",
        "Issue the certificate, and where needed the CA, with these extensions, as handfast does. Until then, in "
        "Python: context.verify_flags &= ~ssl.VERIFY_X509_STRICT.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
    Failure(
        "ocsp-failed",
        "the certificate's status was not proved by OCSP",
        "The verifier demands an OCSP answer, and the one that came is missing, old, not for this certificate, or not "
        "signed by its CA.",
        "Check the OCSP responder and the server's stapling, or let the verifier use revocation lists.",
        "CERTIFICATE_VERIFICATION_FAILED",
    ),
)
