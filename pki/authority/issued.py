"""What the CA hands out: a certificate with all that its workload needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from pki.errors import StateError
from pki.files import HANDFAST, Layout, save_credential, save_trust, writer_lock
from pki.files.overwrite import CredentialOwner, refuse_overwrite
from pki.files.writer import require_chain_file, save_chain
from pki.identity import SpiffeId
from pki.keys import PrivateKey
from pki.x509 import Credential, CrlSet, TrustBundle, read_names
from pki.x509.decoding import public_key_of


@dataclass(frozen=True, slots=True)
class Issued:
    """An issued certificate with all that its workload needs.

    Args:
        spiffe_id: the workload.
        chain: the leaf, then its issuing CA.
        bundle: the trust bundle.
        crls: the current CRLs.
        key: the private key; None if it stayed with the sender of a request.
        notes: what differs from the order, one sentence each.
        ca_certificates: the CA's own certificates, those of withdrawn roots included. A credential
            below one of them is of this CA, and may be overwritten.
    """

    spiffe_id: SpiffeId
    chain: tuple[x509.Certificate, ...]
    bundle: TrustBundle
    crls: CrlSet
    key: PrivateKey | None
    notes: tuple[str, ...] = ()
    ca_certificates: tuple[x509.Certificate, ...] = ()

    @property
    def leaf(self) -> x509.Certificate:
        """The leaf."""
        return self.chain[0]

    @property
    def credential(self) -> Credential:
        """The credential: key, chain, trust bundle and CRLs.

        Raises:
            StateError: if the key stayed with the sender of a request.
        """
        if self.key is None:
            raise StateError("the key is with the sender of the request")
        return Credential(self.key, self.chain, self.bundle, self.crls)

    def save(self, directory: str | Path, *, layout: Layout = HANDFAST) -> None:
        """Write key (mode 0600), chain, trust bundle and CRLs into a directory.

        Raises:
            StateError: if a file can't be written, or the directory holds a credential of another
                workload or another CA, or one that can't be read; the files there still work then.
        """
        folder = Path(directory)
        owner = CredentialOwner(self.spiffe_id, read_names(self.leaf).subject)
        request_key = None
        if self.key is None:
            request_key = public_key_of(self.leaf)
            require_chain_file(layout)
        with writer_lock(folder, layout=layout):
            # Refused before the first file is written.
            refuse_overwrite(
                folder,
                owner,
                layout=layout,
                ca_certificates=(
                    *self.chain[1:],
                    *self.bundle.roots_of(self.spiffe_id.trust_domain),
                    *self.ca_certificates,
                ),
                request_key=request_key,
            )
            if self.key is not None:
                save_credential(self.credential, folder, layout=layout)
                return
            save_trust(self.bundle, self.crls, folder, layout=layout, issuers=self.chain)
            save_chain(self.chain, folder, layout=layout)
