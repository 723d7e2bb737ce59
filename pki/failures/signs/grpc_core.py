"""What gRPC's core writes: a client's ``details()``, and the lines on stderr."""

from __future__ import annotations

from pki.failures.sign import Sign, signs
from pki.failures.signs.parties import GRPC_CLIENT, GRPC_STDERR

_FAILED = "ssl_transport_security.cc:…] Handshake failed with error SSL_ERROR_SSL: error:…:SSL routines:OPENSSL_internal"
# gRPC says of a credential that it can't use only which part it refused, and often not even that.
_KEY = "key-mismatch key-format wrong-password not-pem"
_CREDENTIAL = f"{_KEY} no-trust-anchors file-missing"

CORE: tuple[Sign, ...] = (
    *signs(
        GRPC_CLIENT,
        ("Hostname Verification Check failed", "wrong-name"),
        ("Cannot check peer: missing selected ALPN property", "not-http2"),
        ("connect: Connection refused (111)", "not-listening"),
        ("DNS resolution failed for", "no-such-host"),
        ("Domain name not found", "no-such-host"),
        ("connect: No such file or directory (2)", "no-such-socket"),
        ("unix:…: No such file or directory", "no-such-socket"),
        ("remote host: No such file or directory", "no-such-socket"),
        ("connect: Permission denied (13)", "socket-permission"),
        ("remote host: Permission denied", "socket-permission"),
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
        # A proxy that the environment names: grpc_proxy, https_proxy or http_proxy.
        ("HTTP proxy returned response code", "proxy-refused"),
        ("Trying to connect an http1.x server", "plaintext-server not-http2"),
        ("Peer name … is not in peer certificate", "wrong-name"),
        (
            "timed out before receiving SETTINGS frame",
            "handshake-timeout plaintext-client not-http2",
        ),
        ("Received http2 header with status: 502", "proxy-failed"),
        ("Received http2 header with status: 503", "proxy-failed"),
        ("Received http2 header with status: 504", "proxy-failed"),
        ("Failed to create security handshaker", _CREDENTIAL),
        ("Failed to bind to address", f"bind-failed {_CREDENTIAL}"),
        ("Failed to add secure listening port", f"bind-failed {_CREDENTIAL}"),
    ),
    *signs(
        GRPC_CLIENT, ("Deadline Exceeded", "deadline unreachable handshake-timeout"), vague=True
    ),
    # The handshake goes on after it, and a client that expects a SPIFFE ID ignores it.
    *signs(GRPC_STDERR, ("No match found for server name:", "wrong-name"), vague=True),
    *signs(
        GRPC_STDERR,
        (f"{_FAILED}:PEER_DID_NOT_RETURN_A_CERTIFICATE", "no-client-certificate"),
        (f"{_FAILED}:CERTIFICATE_VERIFY_FAILED: certificate has expired", "expired"),
        (f"{_FAILED}:CERTIFICATE_VERIFY_FAILED: certificate is not yet valid", "not-yet-valid"),
        (
            f"{_FAILED}:CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate",
            "unknown-ca incomplete-chain",
        ),
        (f"{_FAILED}:HTTP_REQUEST", "plaintext-client"),
        # Servers write it about a client without TLS, and clients about a server without TLS.
        (f"{_FAILED}:WRONG_VERSION_NUMBER", "plaintext-client plaintext-server"),
        (f"{_FAILED}:NO_COMMON_SIGNATURE_ALGORITHMS", "unsupported-key"),
        (f"{_FAILED}:NO_SHARED_CIPHER", "cipher-mismatch"),
        (f"{_FAILED}:UNSUPPORTED_PROTOCOL", "protocol-version"),
        # A client with OpenSSL refused the server's certificate in TLS 1.3: its alert is not
        # encrypted, so the server can't read it.
        (
            "BAD_PACKET_LENGTH: Invalid certificate verification context",
            "client-refused unknown-ca wrong-name incomplete-chain expired",
        ),
        ("Invalid private key", _KEY),
        ("Could not deserialize private key", _KEY),
        ("Invalid cert chain file", "not-pem file-missing"),
        ("Could not load any root certificate", "no-trust-anchors not-pem"),
        ("Cannot load server root certificates", "no-trust-anchors not-pem"),
        ("Could not get default pem root certs", "no-trust-anchors"),
        ("Invalid verification certs", "no-trust-anchors not-pem"),
        (
            "Handshaker factory creation failed with TSI_INVALID_ARGUMENT",
            _CREDENTIAL,
        ),
        ("Update handshaker factory failed", _CREDENTIAL),
        ("Unable to create secure server with credentials", _CREDENTIAL),
        (
            "grpc_tls_certificate_distributor.cc:…] Check failed: private_key != nullptr",
            "no-private-key",
        ),
        ("pem_key_cert_pair->private_key != nullptr", "no-private-key"),
        ("pem_key_cert_pair->cert_chain != nullptr", "no-private-key"),
    ),
)
