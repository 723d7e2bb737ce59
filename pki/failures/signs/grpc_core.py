"""What gRPC's core writes: a client's ``details()``, and the lines on stderr."""

from __future__ import annotations

from pki.failures.sign import Sign, signs

GRPC_CLIENT = "grpcio client"
GRPC_STDERR = "gRPC's stderr (a server's, or a client's)"

CORE: tuple[Sign, ...] = (
    *signs(
        GRPC_CLIENT,
        ("Hostname Verification Check failed", "wrong-name"),
        ("Cannot check peer: missing selected ALPN property", "not-http2"),
        ("connect: Connection refused (111)", "not-listening"),
        ("DNS resolution failed for", "no-such-host"),
        ("Domain name not found", "no-such-host"),
        ("connect: No such file or directory (2)", "no-such-socket"),
        ("connect: Permission denied (13)", "socket-permission"),
        ("connect: Network is unreachable", "unreachable"),
        ("connect: No route to host", "unreachable"),
        (
            "Socket closed",
            "closed-without-reason no-client-certificate unknown-ca expired plaintext-server",
        ),
        (
            "recvmsg:Connection reset by peer",
            "closed-without-reason no-client-certificate unknown-ca expired",
        ),
        ("Handshake read failed", "closed-without-reason plaintext-server"),
        ("Method not found!", "unknown-method"),
        ("Received http2 header with status: 404", "unknown-method"),
        ("tcp handshaker shutdown", "handshake-timeout"),
        ("Trying to connect an http1.x server", "plaintext-server not-http2"),
        ("Peer name…is not in peer certificate", "wrong-name"),
        (
            "timed out before receiving SETTINGS frame",
            "handshake-timeout plaintext-client not-http2",
        ),
        ("Received http2 header with status: 502", "proxy-failed"),
        ("Received http2 header with status: 503", "proxy-failed"),
        ("Received http2 header with status: 504", "proxy-failed"),
    ),
    *signs(
        GRPC_CLIENT, ("Deadline Exceeded", "deadline unreachable handshake-timeout"), vague=True
    ),
    # The handshake goes on after it, and a client that expects a SPIFFE ID ignores it.
    *signs(GRPC_STDERR, ("No match found for server name:", "wrong-name"), vague=True),
    *signs(
        GRPC_STDERR,
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
        # Servers write it about a client without TLS, and clients about a server without TLS.
        (
            "ssl_transport_security…Handshake failed…WRONG_VERSION_NUMBER",
            "plaintext-client plaintext-server",
        ),
        (
            "ssl_transport_security…Handshake failed…NO_COMMON_SIGNATURE_ALGORITHMS",
            "unsupported-key",
        ),
        ("ssl_transport_security…Handshake failed…NO_SHARED_CIPHER", "cipher-mismatch"),
        ("ssl_transport_security…Handshake failed…UNSUPPORTED_PROTOCOL", "protocol-version"),
    ),
)
