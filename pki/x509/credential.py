"""A credential: private key, certificate chain and trust bundle of one workload, and its lists."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from pki.errors import CredentialError
from pki.identity import SpiffeId
from pki.keys import PrivateKey, public_key_fingerprint
from pki.x509.bundle import TrustBundle
from pki.x509.decoding import public_key_of
from pki.x509.names import read_names
from pki.x509.revocation import CrlSet


@dataclass(frozen=True, slots=True)
class Credential:
    """What a workload shows and what it believes. Never printed: it holds a private key.

    Args:
        key: the private key.
        chain: the leaf, then the issuing CAs, without the root.
        bundle: the roots to believe.
        crls: the revocation lists that came with it; None where there is no such file.
    """

    key: PrivateKey
    chain: tuple[x509.Certificate, ...]
    bundle: TrustBundle
    crls: CrlSet | None

    def __post_init__(self) -> None:
        if not self.chain:
            raise CredentialError("credential holds no certificate")
        theirs = public_key_fingerprint(public_key_of(self.leaf))
        if public_key_fingerprint(self.key.public_key()) != theirs:
            raise CredentialError(
                "private key does not belong to the certificate",
                remedy="Bring the key and the chain that were made together",
            )

    def __repr__(self) -> str:
        """Show the serial number alone."""
        return f"Credential(serial={self.leaf.serial_number:x})"

    @property
    def leaf(self) -> x509.Certificate:
        """The workload's own certificate."""
        return self.chain[0]

    @property
    def spiffe_id(self) -> SpiffeId | None:
        """The workload's name."""
        return read_names(self.leaf).spiffe_id
