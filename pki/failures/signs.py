"""What each party writes when a handshake or call fails, and which failure that stands for.

A text is recognised by its pieces, in order; ``…`` stands for whatever lies between. The words of
gRPC, Python, Envoy, nginx and curl are those of OpenSSL or BoringSSL in large part: what they share
stands under the library's name.
"""

from __future__ import annotations

from dataclasses import dataclass

from pki.failures.failure import Failure

GRPC_CLIENT = "grpcio client"
GRPC_SERVER = "grpcio server's stderr"
HANDFAST = "handfast"
OPENSSL = "OpenSSL or BoringSSL (gRPC, Python, Envoy, nginx, curl, ...)"
GO = "Go (crypto/tls, crypto/x509, grpc-go)"
JAVA = "Java (JSSE, Netty, grpc-java)"
RUST = "rustls"
NGINX = "nginx"
ENVOY = "Envoy"
CURL = "curl"


@dataclass(frozen=True, slots=True)
class Sign:
    """What a party writes.

    Args:
        party: who.
        text: the words, ``…`` for what differs from case to case.
        slugs: the failures that it may stand for, the likeliest first; with one it is sure.
    """

    party: str
    text: str
    slugs: tuple[str, ...]

    @property
    def pieces(self) -> tuple[str, ...]:
        """The parts of the words that must all be there, in this order, in lower case."""
        return tuple(item.strip().lower() for item in self.text.split("…") if item.strip())

    def stands_for(self, failure: Failure) -> bool:
        """Tell whether it may be a sign of a failure."""
        return failure.slug in self.slugs


def _signs(party: str, *rows: tuple[str, str]) -> tuple[Sign, ...]:
    return tuple(Sign(party, text, tuple(slugs.split())) for text, slugs in rows)


SIGNS: tuple[Sign, ...] = (
    *_signs(
        GRPC_CLIENT,
        ("Hostname Verification Check failed.", "wrong-name"),
        ("Cannot check peer: missing selected ALPN property.", "not-http2"),
        ("connect: Connection refused (111)", "not-listening"),
        ("DNS resolution failed for", "no-such-host"),
        ("Domain name not found", "no-such-host"),
        ("connect: No such file or directory (2)", "no-such-socket"),
        ("connect: Permission denied (13)", "socket-permission"),
        ("connect: Network is unreachable", "unreachable"),
        ("connect: No route to host", "unreachable"),
        (
            "Socket closed",
            "closed-without-a-word no-client-certificate unknown-ca expired plaintext-server",
        ),
        (
            "recvmsg:Connection reset by peer",
            "closed-without-a-word no-client-certificate unknown-ca expired",
        ),
        ("Handshake read failed", "closed-without-a-word plaintext-server"),
        ("Method not found!", "unknown-method"),
        ("Received http2 header with status: 404", "unknown-method"),
        ("tcp handshaker shutdown", "handshake-timeout"),
        ("Trying to connect an http1.x server", "plaintext-server not-http2"),
    ),
    *_signs(
        GRPC_SERVER,
        (
            "ssl_transport_security…Handshake failed…PEER_DID_NOT_RETURN_A_CERTIFICATE",
            "no-client-certificate",
        ),
        (
            "ssl_transport_security…Handshake failed…CERTIFICATE_VERIFY_FAILED: certificate has expired",
            "expired",
        ),
        (
            "ssl_transport_security…Handshake failed…CERTIFICATE_VERIFY_FAILED: certificate is not yet valid",
            "not-yet-valid",
        ),
        (
            "ssl_transport_security…Handshake failed…CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate",
            "unknown-ca incomplete-chain",
        ),
        ("ssl_transport_security…Handshake failed…HTTP_REQUEST", "plaintext-client"),
        ("ssl_transport_security…Handshake failed…WRONG_VERSION_NUMBER", "plaintext-client"),
        (
            "ssl_transport_security…Handshake failed…NO_COMMON_SIGNATURE_ALGORITHMS",
            "unsupported-key",
        ),
        ("ssl_transport_security…Handshake failed…NO_SHARED_CIPHER", "cipher-mismatch"),
        ("ssl_transport_security…Handshake failed…UNSUPPORTED_PROTOCOL", "protocol-version"),
    ),
    *_signs(
        OPENSSL,
        ("certificate has expired", "expired"),
        ("certificate is not yet valid", "not-yet-valid"),
        ("unable to get local issuer certificate", "unknown-ca incomplete-chain"),
        ("unable to get issuer certificate", "incomplete-chain unknown-ca"),
        ("unable to verify the first certificate", "incomplete-chain unknown-ca"),
        ("unable to verify leaf signature", "incomplete-chain unknown-ca"),
        ("self-signed certificate in certificate chain", "unknown-ca"),
        ("self signed certificate in certificate chain", "unknown-ca"),
        ("self-signed certificate", "self-signed"),
        ("self signed certificate", "self-signed"),
        ("certificate revoked", "revoked"),
        ("unable to get certificate CRL", "no-list"),
        ("CRL has expired", "stale-list"),
        ("CRL is not yet valid", "clock-differs"),
        ("certificate signature failure", "bad-signature"),
        ("permitted subtree violation", "name-constraint"),
        ("excluded subtree violation", "name-constraint"),
        ("unsuitable certificate purpose", "wrong-usage"),
        ("unsupported certificate purpose", "wrong-usage"),
        ("invalid CA certificate", "ca-as-leaf malformed"),
        ("Hostname mismatch", "wrong-name"),
        ("IP address mismatch", "wrong-name"),
        ("ee key too small", "weak-key"),
        ("EE certificate key too weak", "weak-key"),
        ("CA certificate key too weak", "weak-key"),
        ("ca md too weak", "weak-signature"),
        ("CA signature digest algorithm too weak", "weak-signature"),
        ("key values mismatch", "key-mismatch"),
        ("KEY_VALUES_MISMATCH", "key-mismatch"),
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "no-client-certificate"),
        ("peer did not return a certificate", "no-client-certificate"),
        ("alert certificate required", "no-client-certificate"),
        ("ALERT_CERTIFICATE_REQUIRED", "no-client-certificate"),
        ("alert unknown ca", "unknown-ca incomplete-chain"),
        ("ALERT_UNKNOWN_CA", "unknown-ca incomplete-chain"),
        ("alert certificate expired", "expired"),
        ("ALERT_CERTIFICATE_EXPIRED", "expired"),
        ("alert certificate revoked", "revoked"),
        ("ALERT_CERTIFICATE_REVOKED", "revoked"),
        ("alert unsupported certificate", "wrong-usage"),
        ("ALERT_UNSUPPORTED_CERTIFICATE", "wrong-usage"),
        ("alert bad certificate", "client-refused no-client-certificate"),
        ("ALERT_BAD_CERTIFICATE", "client-refused no-client-certificate"),
        ("alert certificate unknown", "client-refused"),
        ("ALERT_CERTIFICATE_UNKNOWN", "client-refused"),
        ("alert access denied", "client-refused"),
        ("alert decrypt error", "bad-signature"),
        ("ALERT_DECRYPT_ERROR", "bad-signature"),
        ("alert handshake failure", "cipher-mismatch no-client-certificate"),
        ("ALERT_HANDSHAKE_FAILURE", "cipher-mismatch no-client-certificate"),
        ("alert protocol version", "protocol-version"),
        ("ALERT_PROTOCOL_VERSION", "protocol-version"),
        ("alert no application protocol", "not-http2"),
        ("NO_APPLICATION_PROTOCOL", "not-http2"),
        ("unsupported protocol", "protocol-version"),
        ("UNSUPPORTED_PROTOCOL", "protocol-version"),
        ("no protocols available", "protocol-version"),
        ("no shared cipher", "cipher-mismatch"),
        ("NO_SHARED_CIPHER", "cipher-mismatch"),
        ("NO_COMMON_SIGNATURE_ALGORITHMS", "unsupported-key"),
        ("no suitable signature algorithm", "unsupported-key"),
        ("wrong version number", "plaintext-server plaintext-client"),
        ("WRONG_VERSION_NUMBER", "plaintext-server plaintext-client"),
        ("packet length too long", "plaintext-server"),
        ("SSL routines…http request", "plaintext-client"),
        ("OPENSSL_internal:HTTP_REQUEST", "plaintext-client"),
        ("unexpected eof while reading", "closed-without-a-word"),
        ("UNEXPECTED_EOF_WHILE_READING", "closed-without-a-word"),
        ("EOF occurred in violation of protocol", "closed-without-a-word"),
    ),
    *_signs(
        GO,
        ("x509: certificate signed by unknown authority", "unknown-ca incomplete-chain"),
        ("x509: certificate has expired or is not yet valid…is after", "expired"),
        ("x509: certificate has expired or is not yet valid…is before", "not-yet-valid"),
        ("x509: certificate has expired or is not yet valid", "expired not-yet-valid"),
        ("x509: certificate is valid for…, not", "wrong-name"),
        ("x509: certificate is not valid for any names, but wanted to match", "no-san"),
        ("x509: certificate relies on legacy Common Name field", "no-san"),
        ("because it doesn't contain any IP SANs", "no-san"),
        ("x509: certificate specifies an incompatible key usage", "wrong-usage"),
        (
            "x509: a root or intermediate certificate is not authorized to sign for this name",
            "name-constraint",
        ),
        ("x509: certificate is not authorized to sign other certificates", "malformed"),
        ("x509: unhandled critical extension", "malformed"),
        ("x509: cannot verify signature: insecure algorithm", "weak-signature"),
        (
            "tls: first record does not look like a TLS handshake",
            "plaintext-server plaintext-client",
        ),
        ("http: server gave HTTP response to HTTPS client", "plaintext-server"),
        ("client sent an HTTP request to an HTTPS server", "plaintext-client"),
        ("tls: client didn't provide a certificate", "no-client-certificate"),
        ("remote error: tls: certificate required", "no-client-certificate"),
        ("remote error: tls: unknown certificate authority", "unknown-ca incomplete-chain"),
        ("remote error: tls: bad certificate", "client-refused no-client-certificate"),
        ("remote error: tls: expired certificate", "expired"),
        ("remote error: tls: revoked certificate", "revoked"),
        ("remote error: tls: unsupported certificate", "wrong-usage"),
        ("remote error: tls: unknown certificate", "client-refused"),
        ("remote error: tls: handshake failure", "cipher-mismatch no-client-certificate"),
        ("remote error: tls: protocol version not supported", "protocol-version"),
        ("remote error: tls: no application protocol", "not-http2"),
        ("tls: no application protocol", "not-http2"),
        ("missing selected ALPN property", "not-http2"),
        ("tls: private key does not match public key", "key-mismatch"),
        ("tls: client offered only unsupported versions", "protocol-version"),
        ("tls: no cipher suite supported by both client and server", "cipher-mismatch"),
        (
            "tls: peer doesn't support any of the certificate's signature algorithms",
            "unsupported-key",
        ),
        ("connect: connection refused", "not-listening"),
        ("no such host", "no-such-host"),
        ("net/http: TLS handshake timeout", "handshake-timeout"),
        ("authentication handshake failed: EOF", "closed-without-a-word"),
        ("error reading server preface: EOF", "closed-without-a-word"),
        ("code = Unimplemented desc = unknown method", "unknown-method"),
        ("code = Unimplemented desc = unknown service", "unknown-method"),
    ),
    *_signs(
        JAVA,
        (
            "unable to find valid certification path to requested target",
            "unknown-ca incomplete-chain",
        ),
        ("PKIX path building failed", "unknown-ca incomplete-chain"),
        ("CertificateExpiredException", "expired"),
        ("CertificateNotYetValidException", "not-yet-valid"),
        ("No subject alternative DNS name matching…found", "wrong-name"),
        ("No name matching…found", "wrong-name"),
        ("No subject alternative names present", "no-san"),
        ("No subject alternative names matching IP address…found", "wrong-name"),
        ("Extended key usage does not permit use for TLS", "wrong-usage"),
        ("KeyUsage does not allow digital signatures", "wrong-usage"),
        ("Certificate has been revoked", "revoked"),
        ("Algorithm constraints check failed", "weak-signature weak-key"),
        ("Certificates do not conform to algorithm constraints", "weak-signature weak-key"),
        ("Empty client certificate chain", "no-client-certificate"),
        ("Empty server certificate chain", "malformed"),
        ("Received fatal alert: certificate_required", "no-client-certificate"),
        ("Received fatal alert: unknown_ca", "unknown-ca incomplete-chain"),
        ("Received fatal alert: certificate_expired", "expired"),
        ("Received fatal alert: certificate_revoked", "revoked"),
        ("Received fatal alert: unsupported_certificate", "wrong-usage"),
        ("Received fatal alert: bad_certificate", "client-refused no-client-certificate"),
        ("Received fatal alert: certificate_unknown", "client-refused"),
        ("Received fatal alert: handshake_failure", "cipher-mismatch no-client-certificate"),
        ("Received fatal alert: protocol_version", "protocol-version"),
        ("Received fatal alert: no_application_protocol", "not-http2"),
        ("No appropriate protocol", "protocol-version"),
        ("no cipher suites in common", "cipher-mismatch"),
        ("Unsupported or unrecognized SSL message", "plaintext-server plaintext-client"),
        ("not an SSL/TLS record", "plaintext-client plaintext-server"),
        ("Remote host terminated the handshake", "closed-without-a-word"),
        ("Remote host closed connection during handshake", "closed-without-a-word"),
    ),
    *_signs(
        RUST,
        ("invalid peer certificate: UnknownIssuer", "unknown-ca incomplete-chain"),
        ("invalid peer certificate: Expired", "expired"),
        ("invalid peer certificate: NotValidYet", "not-yet-valid"),
        ("invalid peer certificate: NotValidForName", "wrong-name"),
        ("invalid peer certificate: Revoked", "revoked"),
        ("invalid peer certificate: InvalidPurpose", "wrong-usage"),
        ("invalid peer certificate: BadSignature", "bad-signature"),
        ("invalid peer certificate: BadEncoding", "malformed"),
        ("received fatal alert: CertificateRequired", "no-client-certificate"),
        ("received fatal alert: UnknownCA", "unknown-ca incomplete-chain"),
        ("received fatal alert: BadCertificate", "client-refused no-client-certificate"),
        ("peer sent no certificates", "no-client-certificate"),
        (
            "received corrupt message of type InvalidContentType",
            "plaintext-server plaintext-client",
        ),
    ),
    *_signs(
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
        ("client SSL certificate verify error: (3:unable to get certificate CRL)", "no-list"),
        ("client SSL certificate verify error: (12:CRL has expired)", "stale-list"),
        ("client SSL certificate verify error: (26:", "wrong-usage"),
        ("The plain HTTP request was sent to HTTPS port", "plaintext-client"),
        ("The SSL certificate error", "client-refused"),
    ),
    *_signs(
        ENVOY,
        (
            "TLS_error:…CERTIFICATE_VERIFY_FAILED:TLS_error_end",
            "client-refused unknown-ca expired wrong-name",
        ),
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
        ("fail_verify_error", "client-refused unknown-ca expired"),
        ("delayed connect error: 111", "not-listening"),
        ("transport failure reason: delayed connect error: Connection refused", "not-listening"),
        (
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            "closed-without-a-word plaintext-server",
        ),
    ),
    *_signs(
        CURL,
        ("no alternative certificate subject name matches target", "wrong-name"),
        ("Could not resolve host", "no-such-host"),
        ("Failed to connect to…Couldn't connect to server", "not-listening"),
        ("unsuitable as client certificate", "wrong-usage"),
        ("Received HTTP/0.9 when not allowed", "plaintext-client"),
    ),
    *_signs(
        "any program",
        ("Connection refused", "not-listening"),
        ("Name or service not known", "no-such-host"),
        ("Temporary failure in name resolution", "no-such-host"),
        ("No route to host", "unreachable"),
        ("Network is unreachable", "unreachable"),
        ("Connection timed out", "unreachable handshake-timeout"),
        ("Connection reset by peer", "closed-without-a-word"),
        ("Broken pipe", "closed-without-a-word"),
    ),
    *_signs(
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
        ("REVOCATION_STALE", "stale-list no-list"),
        ("this server can't tell whether your certificate is revoked", "stale-list no-list"),
        ("no revocation list is at hand of the issuer", "no-list"),
        ("POLICY_UNAVAILABLE", "policy-unavailable"),
        ("this server has no policy to decide by", "policy-unavailable"),
        ("SERVER_ROLE_MISSING", "server-role-missing"),
        ("CREDENTIAL_ENDED", "credential-ended"),
        ("the certificate that this call's connection began with has ended", "credential-ended"),
        ("our own certificate has ended and no other has come", "credential-ended"),
        ("SERVER_REFUSED", "server-refused"),
        ("the certificate at the address of…was revoked", "revoked"),
        ("the certificate at the address of…has expired", "expired"),
        ("the certificate at the address of…names another workload", "wrong-name"),
        (
            "the certificate at the address of…comes from a CA that is not in our trust bundle",
            "unknown-ca",
        ),
        ("the certificate at the address of…comes from a CA that was revoked", "issuer-revoked"),
        (
            "the certificate at the address of…may have been revoked: our revocation lists are missing or old",
            "stale-list no-list",
        ),
        ("SERVER_NOT_SEEN", "server-not-seen"),
        ("no look at…was possible", "server-not-seen"),
        ("private key does not belong to the certificate", "key-mismatch"),
        ("others may read it", "key-permissions"),
        ("holds no credential: none of", "torn-files"),
    ),
)
