"""Failures before any certificate counts: the way there, TLS, HTTP/2."""

from __future__ import annotations

from pki.failures.failure import Failure

CONNECTION = (
    Failure(
        "not-listening",
        "nobody listens there",
        "The machine answered that no process takes connections at that port.",
        "Start the server, or correct the address; a server that binds 127.0.0.1 is not reached "
        "from another machine or container.",
        "PEER_CONNECTION_CLOSED",
    ),
    Failure(
        "no-such-host",
        "the name has no address",
        "The name in the target can't be resolved to an address from here.",
        "Correct the name, or see to DNS: in Kubernetes the namespace is part of it.",
    ),
    Failure(
        "unreachable",
        "no way to the server",
        "No answer came to the connection: a firewall, a network policy or a wrong route drops it.",
        "Try the same address from the server's own machine; then look at what lies between.",
        "HANDSHAKE_TIMEOUT",
    ),
    Failure(
        "no-such-socket",
        "the unix socket is not there",
        "No socket lies at the path: the server is not up, or makes it elsewhere.",
        "Start the server, or correct the path; in containers both must mount the folder.",
    ),
    Failure(
        "socket-permission",
        "the unix socket may not be opened",
        "The socket is there, and its mode or its folder's keeps this user out.",
        "Run as a user of the socket's group, or correct the mode of the socket and its folder.",
    ),
    Failure(
        "plaintext-server",
        "the server speaks no TLS",
        "The client began TLS, and the server answered in plaintext or hung up at once: the port is "
        "one without TLS, or a proxy in front of the server took TLS off.",
        "Use the server's TLS port, or serve that port with server_credentials.",
        "PROTOCOL_VERSION_UNSUPPORTED",
    ),
    Failure(
        "plaintext-client",
        "the client speaks no TLS",
        "A client sent HTTP in plaintext to a port of TLS: an insecure channel, http:// for https://, "
        "or a health check that knows no TLS.",
        "Give the client TLS credentials: Workload.channel, or grpc.secure_channel.",
        "PROTOCOL_VERSION_UNSUPPORTED",
    ),
    Failure(
        "not-http2",
        "TLS without HTTP/2",
        "TLS came about, and the sides agreed on no HTTP/2 by ALPN. gRPC takes no connection without.",
        "Have the server, or the proxy in front of it, offer h2 by ALPN (nginx: http2 on).",
        "NO_APPLICATION_PROTOCOL",
    ),
    Failure(
        "handshake-timeout",
        "the handshake gets no answer",
        "The connection was taken, and nothing came back: the process hangs or is stopped, its queue "
        "is full, or something between takes connections that it can't pass on.",
        "See whether the server runs and has threads left; try the address without what lies between.",
        "HANDSHAKE_TIMEOUT",
    ),
    Failure(
        "protocol-version",
        "no version of TLS in common",
        "The sides speak no common version of TLS. gRPC and handfast need 1.2 or newer.",
        "Bring the older side up to TLS 1.2 or 1.3.",
        "PROTOCOL_VERSION_UNSUPPORTED",
    ),
    Failure(
        "cipher-mismatch",
        "no cipher suite or signature algorithm in common",
        "The handshake ended because the sides share no cipher suite, curve or signature algorithm; "
        "gRPC offers ECDHE with AES-GCM or ChaCha20 alone. A key of a kind that the other side does "
        "not know looks the same, and so does, in TLS 1.2, a client without a certificate.",
        "Let the server take TLS 1.3, or ECDHE with AES-GCM, and use an ECDSA P-256 key.",
        "CIPHER_SUITE_MISMATCH",
    ),
    Failure(
        "closed-without-a-word",
        "the other side closed the connection and said nothing",
        "The connection ended without an alert. gRPC servers do this for each certificate that they "
        "refuse, whatever the reason, and for a client without one; a plaintext port does it too, "
        "and so does a server that ends. Seen from a server it is a client that refuses the server, "
        "or a probe that only connects.",
        "Run: handfast doctor TARGET --credential DIR. On the server, the reason stands on stderr; "
        "or take its place: handfast doctor --stand-in PORT --credential DIR.",
        "PEER_CONNECTION_CLOSED",
    ),
    Failure(
        "proxy-failed",
        "a proxy answered in the server's place",
        "The answer is an HTTP error as proxies and load balancers give it (502, 503, 504), and gRPC "
        "servers never do: what answered could not reach the server behind it, or lost it.",
        "Read the proxy's log for its connection to the server: handfast explain knows the words of "
        "nginx and Envoy. From the proxy's machine, handfast doctor looks at the server itself.",
    ),
    Failure(
        "unknown-method",
        "the server has no such method",
        "The connection stands, and the server knows no method of that path: another version of the "
        "contract, another service, or a server that is none of gRPC. A handfast server says "
        "PERMISSION_DENIED instead to a peer without a grant.",
        "Compare the path with the server's .proto files.",
    ),
)
