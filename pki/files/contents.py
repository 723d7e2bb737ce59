"""What can still be read of a credential directory, where not all of it can.

A reader that serves takes a whole credential or none (:mod:`pki.files.reader`). Whoever repairs a
directory, brings lists to it or revokes its certificate uses each part that is good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cryptography import x509

from pki.errors import PkiError
from pki.files.layouts import Layout
from pki.files.parts import KeyMode, Parts
from pki.keys import PrivateKey, public_key_fingerprint
from pki.x509 import CrlSet, TrustBundle, read_names
from pki.x509.decoding import public_key_of

_Part = TypeVar("_Part")


@dataclass(slots=True)
class Contents:
    """The parts of a credential directory; each is None where it is missing or can't be read.

    Args:
        directory: where they lie.
        layout: their names.
        holds_key: whether a key lies there, readable or not; else it is with whoever asked with a
            request (CSR).
        faults: why a part can't be read, by the file's name; lists that are missing are no fault.
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
    faults: dict[str, PkiError] = field(default_factory=dict)

    @property
    def key_of_leaf(self) -> PrivateKey | None:
        """The key that the leaf was made for, if it lies there."""
        if self.leaf is None:
            return None
        theirs = public_key_fingerprint(public_key_of(self.leaf))
        for key in (self.key, self.next_key):
            if key is not None and public_key_fingerprint(key.public_key()) == theirs:
                return key
        return None

    def why_no_leaf(self) -> PkiError:
        """Return why the leaf can't be read."""
        return self.faults[self.layout.chain or self.layout.key]


def read_contents(directory: Path, layout: Layout, *, holds_key: bool = True) -> Contents:
    """Read each part of a credential directory by itself.

    Args:
        directory: where it lies.
        layout: its layout.
        holds_key: whether a key lies there.

    Raises:
        CredentialError: if a stranger can change the directory, or it can't be looked at.
    """
    parts = Parts(directory, layout, KeyMode.STRICT)
    parts.check_directory()
    found = Contents(directory, layout, holds_key)

    def part(name: str, read: Callable[[], _Part]) -> _Part | None:
        try:
            return read()
        except PkiError as error:
            found.faults.setdefault(name, error)
            return None

    if holds_key:
        found.key = part(layout.key, parts.key)
        found.next_key = part(layout.next_key, parts.next_key)
    chain_name = layout.chain or layout.key
    found.chain = part(chain_name, parts.chain)
    found.leaf = found.chain[0] if found.chain else part(chain_name, parts.leaf)
    if found.leaf is not None:
        leaf = found.leaf
        # A public key that can't be decoded, or names that can't be read, make it no leaf of ours.
        if part(chain_name, lambda: (public_key_of(leaf), read_names(leaf).spiffe_id)) is None:
            found.leaf = found.chain = None
    spiffe_id = read_names(found.leaf).spiffe_id if found.leaf is not None else None
    own = spiffe_id.trust_domain if spiffe_id else None
    found.bundle = part(layout.bundle, lambda: parts.bundle(own))
    found.crls = part(layout.crls, parts.crls)
    return found
