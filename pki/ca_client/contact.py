"""The first contact with a CA: who is there, before a proof is sent.

A handshake of our own comes first, because gRPC shows us no certificate. The CA sends its root too.
That root is trusted because its fingerprint is the one that we were given, or because it is one of
those that we trust already. Then the chain must be a workload's, and its SPIFFE ID the CA's own
name: no other workload of the same root is the CA.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL

from pki.errors import CaRefusedError, CaUnreachableError, PkiError, VerificationError
from pki.identity import SpiffeId, TrustDomain, derive_names
from pki.tls.connection import (
    Deadline,
    TlsConnection,
    TooManyBytesError,
    connect,
    ssl_error_message,
)
from pki.tls.target import Target
from pki.x509 import WORKLOAD, ChainVerifier, Purpose, RevocationMode, TrustBundle
from pki.x509.decoding import UNREADABLE
from pki.x509.readers import MAX_CHAIN_LENGTH, to_pem

_SECONDS = 10.0
_MOST_BYTES = 256 * 1024
# OpenSSL's name for the state. A server that asks need not name the roots that it accepts.
_CERTIFICATE_REQUEST = b"SSLv3/TLS read server certificate request"
_SERVICE_OPTIONS = (("grpc.max_receive_message_length", 16 * 1024 * 1024),)


def verified_path(
    address: str,
    trust_domain: TrustDomain,
    *,
    now: datetime,
    fingerprint: bytes | None = None,
    roots: Sequence[x509.Certificate] = (),
    seconds: float = _SECONDS,
) -> tuple[x509.Certificate, ...]:
    """Make a handshake with the CA, and verify it.

    Args:
        address: where it is, as gRPC names it.
        trust_domain: of the CA.
        now: the time.
        fingerprint: the SHA-256 of its root's certificate, if that alone is known.
        roots: the roots that are trusted already.
        seconds: how long the handshake may take.

    Returns:
        Its path: its own certificate, the issuing CA, the root.

    Raises:
        CaUnreachableError: if no handshake was possible.
        CaRefusedError: if somebody else is there.
    """
    name = SpiffeId.of_ca(trust_domain)
    presented = _presented(address, name, seconds)
    chain = presented.chain
    if presented.wants_certificate:
        # No stranger can make a call there. Without this, the CA's own other port looks like
        # somebody else: it does not send its root.
        raise CaRefusedError(
            f"the server at {address} asks for a client certificate, as the CA's port for mutual "
            "TLS does",
            remedy="Use the CA's port for enrollment, 8444 by default (mutual TLS has 8443); a "
            "token gets it with handfast token create NAME --address HOST:PORT",
        )
    if fingerprint is not None:
        roots = [
            item
            for item in chain
            if hmac.compare_digest(item.fingerprint(hashes.SHA256()), fingerprint)
        ]
        if not roots:
            raise CaRefusedError(
                f"the server at {address} does not have the root that the token names",
                remedy="Somebody else may be there; ask who made the token",
            )
    try:
        verifier = ChainVerifier(TrustBundle.of_roots(roots), mode=RevocationMode.WHEN_PRESENT)
        verified = verifier.verify(
            [item for item in chain if item not in roots],
            profile=WORKLOAD,
            purpose=Purpose.SERVER,
            at=now,
            expected=name,
        )
    except VerificationError as error:
        raise CaRefusedError(
            f"the server at {address} is not the CA of {trust_domain}: {error.message}",
            remedy=error.remedy,
        ) from error
    except PkiError as error:
        raise CaRefusedError(f"the root of the CA at {address}: {error.message}") from error
    return verified.path


def presented_root(
    address: str, trust_domain: TrustDomain, *, seconds: float = _SECONDS
) -> x509.Certificate:
    """Return the root that a server presents, which proves nothing: anybody can make one.

    Raises:
        CaUnreachableError: if no handshake was possible.
        CaRefusedError: if the server presents no root.
    """
    for item in _presented(address, SpiffeId.of_ca(trust_domain), seconds).chain:
        # A name that can't be decoded is noticed only now.
        with suppress(*UNREADABLE):
            if item.issuer == item.subject:
                return item
    raise CaRefusedError(f"the server at {address} presented no root")


@contextmanager
def stranger_channel(
    address: str, trust_domain: TrustDomain, root: x509.Certificate
) -> Iterator[grpc.Channel]:
    """Open a channel to the CA without a certificate of our own.

    Only the CA has the DNS name that it is pinned to: the name is derived from its SPIFFE ID, and
    names inside the trust domain are given to nobody else.
    """
    derived = derive_names(SpiffeId.of_ca(trust_domain)).dns
    assert derived is not None
    options: list[tuple[str, Any]] = [
        ("grpc.ssl_target_name_override", derived.name),
        *_SERVICE_OPTIONS,
    ]
    credentials = grpc.ssl_channel_credentials(to_pem([root]))
    with grpc.secure_channel(address, credentials, options) as channel:
        yield channel


@dataclass(frozen=True, slots=True)
class _Presented:
    """What a server showed in a handshake; nothing of it is verified.

    Args:
        chain: its certificates, the leaf first.
        wants_certificate: whether it asked for a client certificate.
    """

    chain: tuple[x509.Certificate, ...]
    wants_certificate: bool


def _presented(address: str, name: SpiffeId, seconds: float) -> _Presented:
    target = Target.parse(address)
    derived = derive_names(name).dns
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_alpn_protos([b"h2"])
    # Verified afterwards: the root is not known yet.
    context.set_verify(SSL.VERIFY_NONE)
    states: set[bytes] = set()
    context.set_info_callback(lambda tls, *_: states.add(tls.get_state_string()))
    deadline = Deadline(seconds)
    try:
        with (
            connect(target, deadline) as plain,
            TlsConnection(plain, context, max_bytes=_MOST_BYTES) as connection,
        ):
            if derived is not None:
                connection.tls.set_tlsext_host_name(derived.name.encode())
            connection.tls.set_connect_state()
            connection.do_handshake(deadline)
            chain = connection.tls.get_peer_cert_chain() or []
            if not 1 <= len(chain) <= MAX_CHAIN_LENGTH:
                raise CaRefusedError(f"the server at {address} presented {len(chain)} certificates")
            certificates = tuple(item.to_cryptography() for item in chain)
            return _Presented(certificates, wants_certificate=_CERTIFICATE_REQUEST in states)
    except TimeoutError:
        raise CaUnreachableError(
            f"the CA at {address} did not answer within {seconds:g} s"
        ) from None
    except SSL.Error as error:
        raise CaUnreachableError(
            f"no TLS connection with the CA at {address}: {ssl_error_message(error)}"
        ) from error
    except TooManyBytesError as error:
        raise CaRefusedError(f"the server at {address}: {error}") from None
    except ValueError:
        raise CaRefusedError(f"the server at {address} presented a malformed certificate") from None
    except OSError as error:
        raise CaUnreachableError(
            f"the CA at {address} can't be reached: {error.strerror or error}",
            remedy="See that it runs, and that the address is right",
        ) from error
