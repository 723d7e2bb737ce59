"""A credential: private key, certificate chain, trust bundle and CRLs of one workload."""

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
    """What a workload presents, and what it trusts. Never printed, because it holds a private key.

    Args:
        key: the private key.
        chain: the leaf, then the issuing CAs, without the root.
        bundle: the trusted roots.
        crls: the CRLs that came with it; None if there is no file of them.
    """

    key: PrivateKey
    chain: tuple[x509.Certificate, ...]
    bundle: TrustBundle
    crls: CrlSet | None

    def __post_init__(self) -> None:
        if not self.chain:
            raise CredentialError("credential holds no certificate")
        of_leaf = public_key_fingerprint(public_key_of(self.leaf))
        if public_key_fingerprint(self.key.public_key()) != of_leaf:
            raise CredentialError(
                "private key does not belong to the certificate",
                remedy="Bring the key and the chain that belong together",
            )

    def __repr__(self) -> str:
        """Return the serial number only."""
        return f"Credential(serial={self.leaf.serial_number:x})"

    @property
    def leaf(self) -> x509.Certificate:
        """The workload's own certificate."""
        return self.chain[0]

    @property
    def spiffe_id(self) -> SpiffeId | None:
        """The workload's SPIFFE ID; None if the certificate has none."""
        return read_names(self.leaf).spiffe_id
