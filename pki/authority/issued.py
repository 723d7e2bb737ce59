"""What the CA hands out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from pki.errors import StateError
from pki.files import HANDFAST, Layout, save_credential, save_trust
from pki.files.writer import save_chain
from pki.identity import SpiffeId
from pki.keys import PrivateKey
from pki.x509 import Credential, RevocationLists, TrustBundle


@dataclass(frozen=True, slots=True)
class Issued:
    """An issued certificate with all that its holder needs.

    ``key`` is None where the asker made it and asked with a request. ``notes`` say what was changed
    on the way.
    """

    spiffe_id: SpiffeId
    chain: tuple[x509.Certificate, ...]
    bundle: TrustBundle
    lists: RevocationLists
    key: PrivateKey | None
    notes: tuple[str, ...] = ()

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return self.chain[0]

    @property
    def credential(self) -> Credential:
        """The whole credential.

        Raises:
            StateError: if the key is the asker's own.
        """
        if self.key is None:
            raise StateError("the key is with whoever made the request")
        return Credential(self.key, self.chain, self.bundle, self.lists)

    def save(self, directory: str | Path, *, layout: Layout = HANDFAST) -> None:
        """Write it into a directory: key (0600), chain, trust bundle and revocation lists.

        Raises:
            StateError: if a file can't be written; the credential that was there still works.
        """
        folder = Path(directory)
        if self.key is None:
            save_trust(self.bundle, self.lists, folder, layout=layout)
            save_chain(self.chain, folder, layout=layout)
        else:
            save_credential(self.credential, folder, layout=layout)
