"""What is in force at one moment: one value that is replaced whole, never in part."""

from __future__ import annotations

from dataclasses import dataclass

from pki.x509 import ChainVerifier, Credential


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A credential in force, and the verifier that goes with it.

    Args:
        version: grows with each change of key, chain or trust bundle: of what a handshake uses. A
            connection or a port made for the same version need not be made again. New revocation
            lists leave the version as it is.
        credential: the workload's own credential, and what it trusts.
        verifier: verifies peers by the trust bundle and the revocation lists in force.
    """

    version: int
    credential: Credential
    verifier: ChainVerifier
