"""Bind a certificate signing request to the proof that it is sent with.

Requests are no secret. Without a binding, somebody with a proof of their own could send the request
of another workload: its key would then belong to the wrong workload, and the right one could never
use it. So the key of the request signs which proof it is meant for.
"""

from __future__ import annotations

from enum import StrEnum

from pki.identity import TrustDomain
from pki.keys import PrivateKey, PublicKey
from pki.proofs.statement import check_signature, sha256, sign, statement


class Purpose(StrEnum):
    """What a request is sent for, and what proves who sends it."""

    ENROLL = "enroll"
    """An enrollment; the proof is the id of a token, or a JWT."""
    RENEW = "renew"
    """A renewal; the proof is the certificate of the connection, DER."""
    RECOVER = "recover"
    """A recovery; the proof is the CA's nonce."""


def bind_request(
    key: PrivateKey, purpose: Purpose, trust_domain: TrustDomain, *, proof: bytes, request: bytes
) -> bytes:
    """Sign that a request belongs to a proof.

    Args:
        key: the private key of the request.
        purpose: what the request is sent for.
        trust_domain: of the CA.
        proof: what proves the sender, see :class:`Purpose`; it need not be secret.
        request: the request, DER.
    """
    return sign(key, _binding(purpose, trust_domain, proof, request))


def check_binding(
    key: PublicKey,
    binding: bytes,
    purpose: Purpose,
    trust_domain: TrustDomain,
    *,
    proof: bytes,
    request: bytes,
) -> None:
    """Check that a request belongs to a proof; the arguments are those of :func:`bind_request`.

    Args:
        key: the public key of the request.
        binding: what :func:`bind_request` returned.
        purpose: as there.
        trust_domain: as there.
        proof: as there.
        request: as there.

    Raises:
        NotPermittedError: if it does not.
    """
    check_signature(
        key,
        binding,
        _binding(purpose, trust_domain, proof, request),
        what="the signature that binds the request (CSR) to its proof",
    )


def _binding(purpose: Purpose, trust_domain: TrustDomain, proof: bytes, request: bytes) -> bytes:
    return statement(
        f"bind {purpose.value}", trust_domain.name.encode(), sha256(proof), sha256(request)
    )
