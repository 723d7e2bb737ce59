"""Read those parts of a credential directory that can be read, if not all of them can.

A server needs a whole credential (:mod:`pki.files.reader`). A command that repairs a directory,
brings CRLs to it or revokes its certificate uses each part that is intact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cryptography import x509

from pki.errors import PkiError
from pki.files.credential_files import CredentialFiles, KeyMode
from pki.files.layouts import Layout
from pki.files.open_folder import opened_folder
from pki.keys import PrivateKey, public_key_fingerprint
from pki.x509 import CrlSet, TrustBundle, read_names
from pki.x509.decoding import public_key_of

_Part = TypeVar("_Part")


@dataclass(slots=True)
class PartialCredential:
    """The parts of a credential directory; each is None if it is missing or can't be read.

    Args:
        directory: the directory.
        layout: the names of its files.
        holds_key: whether it holds a key, readable or not; else the key is with the sender of a
            request (CSR).
        errors: why a part can't be read, by file name. Missing CRLs are no error.
    """

    directory: Path
    layout: Layout
    holds_key: bool
    key: PrivateKey | None = None
    next_key: PrivateKey | None = None
    leaf: x509.Certificate | None = None
    chain: tuple[x509.Certificate, ...] | None = None
    bundle: TrustBundle | None = None
    crls: CrlSet | None = None
    errors: dict[str, PkiError] = field(default_factory=dict)

    @property
    def leaf_key(self) -> PrivateKey | None:
        """The key of the leaf, if it is in the directory."""
        if self.leaf is None:
            return None
        fingerprint = public_key_fingerprint(public_key_of(self.leaf))
        for key in (self.key, self.next_key):
            if key is not None and public_key_fingerprint(key.public_key()) == fingerprint:
                return key
        return None

    def leaf_error(self) -> PkiError:
        """Return why the leaf can't be read."""
        return self.errors[self.layout.chain or self.layout.key]


def read_partial_credential(
    directory: Path, layout: Layout, *, holds_key: bool = True
) -> PartialCredential:
    """Read each part of a credential directory on its own.

    Args:
        directory: the directory.
        layout: its layout.
        holds_key: whether it holds a key.

    Raises:
        CredentialError: if another user can change the directory, or it can't be checked.
    """
    with opened_folder(directory) as folder:
        files = CredentialFiles(directory, layout, KeyMode.STRICT, folder=folder)
        files.check_directory()
        return _read_parts(files, holds_key=holds_key)


def _read_parts(files: CredentialFiles, *, holds_key: bool) -> PartialCredential:
    layout = files.layout
    partial = PartialCredential(files.directory, layout, holds_key)

    def read_part(name: str, read: Callable[[], _Part]) -> _Part | None:
        try:
            return read()
        except PkiError as error:
            partial.errors.setdefault(name, error)
            return None

    if holds_key:
        partial.key = read_part(layout.key, files.key)
        partial.next_key = read_part(layout.next_key, files.next_key)
    chain_name = layout.chain or layout.key
    partial.chain = read_part(chain_name, files.chain)
    partial.leaf = partial.chain[0] if partial.chain else read_part(chain_name, files.leaf)
    if partial.leaf is not None:
        leaf = partial.leaf
        # Without a public key and names that can be decoded, the leaf is of no use.
        if read_part(chain_name, lambda: (public_key_of(leaf), read_names(leaf).spiffe_id)) is None:
            partial.leaf = partial.chain = None
    spiffe_id = read_names(partial.leaf).spiffe_id if partial.leaf is not None else None
    own = spiffe_id.trust_domain if spiffe_id else None
    partial.bundle = read_part(layout.bundle, lambda: files.bundle(own))
    partial.crls = read_part(layout.crls, files.crls)
    return partial
