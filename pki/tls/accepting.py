"""The server's side of a handshake that takes any client certificate, to be verified afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from OpenSSL import SSL, crypto

from pki.keys import PrivateKey


def accepting_context(
    chain: Sequence[x509.Certificate], key: PrivateKey, *, protocol: bytes
) -> SSL.Context:
    """Return a server's context. OpenSSL checks that a caller has its key, and nothing else.

    No session is resumed: what a caller may do is found out anew for each connection.

    Args:
        chain: the server's, from the leaf on.
        key: of the leaf.
        protocol: the one ALPN protocol that is spoken, e.g. ``b"h2"``.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    context.set_alpn_select_callback(
        lambda _, offered: protocol if protocol in offered else SSL.NO_OVERLAPPING_PROTOCOLS
    )
    context.use_certificate(chain[0])
    for issuer in chain[1:]:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(key)
    return context


def peer_chain(tls: SSL.Connection) -> tuple[crypto.X509, ...]:
    """Return what a caller presented, leaf first: for a server, OpenSSL keeps the leaf apart."""
    leaf = tls.get_peer_certificate()
    return () if leaf is None else (leaf, *(tls.get_peer_cert_chain() or ()))
