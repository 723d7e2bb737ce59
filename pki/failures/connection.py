"""Failures before any certificate is verified: the network, TLS, HTTP/2."""

from __future__ import annotations

from pki.failures.failure import Failure

CONNECTION = (
    Failure(
        "not-listening",
        "nobody listens there",
        "The machine answered that no process listens at that port.",
        "Start the server, or correct the address; a server that binds 127.0.0.1 is not reached "
        "from another machine or container.",
        "PEER_CONNECTION_CLOSED",
    ),
    Failure(
        "no-such-host",
        "the name has no address",
        "The name in the target can't be resolved to an address from here.",
        "Correct the name, or repair DNS. In Kubernetes the namespace is part of the name.",
    ),
    Failure(
        "unreachable",
        "the server can't be reached",
        "No answer came to the connection: a firewall, a network policy or a wrong route drops it.",
        "Try the same address from the server's own machine; then check the network between the two.",
        "HANDSHAKE_TIMEOUT",
    ),
    Failure(
        "no-such-socket",
        "the unix socket is not there",
        "There is no socket at the path: the server is not running, or it listens at another path.",
        "Start the server, or correct the path; in containers both must mount the folder.",
    ),
    Failure(
        "socket-permission",
        "the unix socket may not be opened",
        "The socket exists, but its mode or the mode of its folder keeps this user out.",
        "Run as a user of the socket's group, or correct the mode of the socket and its folder.",
    ),
    Failure(
        "plaintext-server",
        "the server speaks no TLS",
        "The client began TLS, and the server answered in plaintext or closed the connection at once: the "
        "port has no TLS, or a proxy in front of the server ends TLS.",
        "Use the server's TLS port, or serve that port with server_credentials.",
        "PROTOCOL_VERSION_UNSUPPORTED",
    ),
    Failure(
        "plaintext-client",
        "the client speaks no TLS",
        "A client sent HTTP in plaintext to a TLS port: an insecure channel, http:// instead of https://, "
        "or a health check without TLS.",
        "Give the client TLS credentials: Workload.channel, or grpc.secure_channel.",
        "PROTOCOL_VERSION_UNSUPPORTED",
    ),
    Failure(
        "not-http2",
        "TLS without HTTP/2",
        "The two sides did not agree on HTTP/2, which gRPC needs: mostly TLS works, and one side does not offer it "
        "by ALPN; or what came to a port without TLS is HTTP/1.1 or another protocol.",
        "Have the server, or the proxy in front of it, offer h2 by ALPN (nginx: http2 on).",
        "NO_APPLICATION_PROTOCOL",
    ),
    Failure(
        "handshake-timeout",
        "the handshake gets no answer",
        "The connection was accepted, and no answer came: the process hangs or is stopped, its queue is "
        "full, or a proxy between accepts connections that it can't pass on.",
        "Check that the server runs and has free threads; try its address without the proxy between.",
        "HANDSHAKE_TIMEOUT",
    ),
    Failure(
        "protocol-version",
        "no version of TLS in common",
        "The sides speak no common version of TLS. gRPC and handfast need 1.2 or newer.",
        "Update the older side to TLS 1.2 or 1.3.",
        "PROTOCOL_VERSION_UNSUPPORTED",
    ),
    Failure(
        "cipher-mismatch",
        "no cipher suite or signature algorithm in common",
        "The handshake ended because the sides share no cipher suite, curve or signature algorithm; "
        "gRPC offers only ECDHE with AES-GCM or ChaCha20. A key of a kind that the other side does not "
        "know looks the same, so does a server without a certificate, and in TLS 1.2 a client without one.",
        "Let the server accept TLS 1.3, or ECDHE with AES-GCM, and use an ECDSA P-256 key.",
        "CIPHER_SUITE_MISMATCH",
    ),
    Failure(
        "closed-without-reason",
        "the other side closed the connection without a reason",
        "The connection ended without an alert. gRPC servers do this whenever they refuse a certificate, "
        "and for a client without one; so do a plaintext port and a server that shuts down. On a "
        "server it means a client that refuses the server, or a probe that only connects.",
        "Run: handfast doctor TARGET --credential DIR. The server writes the reason to stderr; "
        "or take its place: handfast doctor --stand-in PORT --credential DIR.",
        "PEER_CONNECTION_CLOSED",
    ),
    Failure(
        "proxy-failed",
        "a proxy answered in the server's place",
        "The answer is an HTTP error that proxies and load balancers send (502, 503, 504), and gRPC servers "
        "never do: the proxy could not reach the server behind it, or lost the connection.",
        "Read in the proxy's log what failed: handfast explain knows the texts of nginx and Envoy. Run "
        "handfast doctor on the proxy's machine to test the server itself.",
    ),
    Failure(
        "unknown-method",
        "the server has no such method",
        "The connection works, but the server has no method at that path: it has another version of the "
        "contract, is another service, or is no gRPC server. A handfast server answers "
        "PERMISSION_DENIED instead to a peer without a grant.",
        "Compare the path with the server's .proto files.",
    ),
    Failure(
        "no-renegotiation",
        "one side does not renegotiate",
        "The server asks for the client's certificate only after the handshake (IIS, or Apache with "
        "SSLVerifyClient in a location), and the other side does not renegotiate: gRPC and HTTP/2 "
        "never do (RFC 9113 section 9.2.1).",
        "Have the server ask for the certificate in the first handshake, for the whole port.",
        "HANDSHAKE_FAILURE",
    ),
    Failure(
        "unknown-psk",
        "the server expects a shared key, not certificates",
        "It authenticates by a key that both sides share beforehand (PSK), and knows none of this client's.",
        "Use a port of the server that authenticates by certificates, or configure one.",
        "HANDSHAKE_FAILURE",
    ),
    Failure(
        "proxy-refused",
        "the HTTP proxy makes no connection to the server",
        "An environment variable sends gRPC to a proxy (grpc_proxy, https_proxy or http_proxy, the first that is "
        "set), and the proxy can't be reached, refuses CONNECT, or is no HTTP proxy.",
        "Reach the server directly: add its host to no_proxy (or no_grpc_proxy), or set the channel "
        "option grpc.enable_http_proxy to 0. Else have the proxy permit CONNECT to the server's port.",
        "PEER_CONNECTION_CLOSED",
    ),
    Failure(
        "starttls-required",
        "the server begins TLS only after a request in its own protocol",
        "The port speaks SMTP, IMAP, POP3, MySQL or PostgreSQL in plaintext at first, and TLS begins when the "
        "client asks for it (STARTTLS).",
        "Test it with handfast doctor TARGET --starttls PROTOCOL (smtp, imap, pop3, mysql, postgres). A gRPC "
        "client needs another port.",
        "PROTOCOL_VERSION_UNSUPPORTED",
    ),
    Failure(
        "starttls-refused",
        "the server does not begin TLS",
        "The client asked for TLS in the server's own protocol, and the server declined: TLS is switched off "
        "there, or the port speaks another protocol.",
        "Switch on TLS at the server (PostgreSQL: ssl = on; MySQL: ssl_cert and ssl_key; an SMTP "
        "server: STARTTLS), or name the right port and protocol.",
        "PROTOCOL_VERSION_UNSUPPORTED",
    ),
)
