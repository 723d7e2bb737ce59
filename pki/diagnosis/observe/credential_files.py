"""Reads the files of a credential directory, each by itself: one that can't be read hides no other.

The runtime's reader refuses an incomplete credential. Here everything that can be read counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pki.errors import PkiError
from pki.files import Layout, detect_layout, read_bounded
from pki.keys.encoding import MAX_KEY_BYTES
from pki.x509.readers import (
    MAX_BUNDLE_BYTES,
    MAX_CERTIFICATE_BYTES,
    MAX_CHAIN_LENGTH,
    MAX_CRLS_BYTES,
)

# In some layouts one file holds the key and the chain.
MAX_KEY_AND_CHAIN_BYTES = MAX_KEY_BYTES + 2 * MAX_CERTIFICATE_BYTES * MAX_CHAIN_LENGTH


@dataclass(frozen=True, slots=True)
class CredentialFile:
    """One file of a credential directory.

    Args:
        path: where it is.
        data: its content; it may hold a private key, so it is never shown.
        mode: its permission bits.
        error: why it could not be read; None if it was.
    """

    path: Path
    data: bytes = field(default=b"", repr=False)
    mode: int = 0
    error: FileNotFoundError | PkiError | None = None

    def content(self) -> bytes:
        """Return the content.

        Raises:
            FileNotFoundError: if there is no such file.
            PkiError: if it could not be read.
        """
        if self.error is not None:
            raise self.error
        return self.data


@dataclass(frozen=True, slots=True)
class CredentialFiles:
    """The files of a credential directory, in the names of its layout."""

    layout: Layout
    key: CredentialFile
    chain: CredentialFile
    bundle: CredentialFile
    crls: CredentialFile


def read_credential_files(directory: Path) -> CredentialFiles:
    """Read a credential directory in any layout.

    Raises:
        CredentialError: if it holds no credential at all.
    """
    layout = detect_layout(directory)
    key = _read(directory / layout.key, MAX_KEY_AND_CHAIN_BYTES)
    return CredentialFiles(
        layout,
        key=key,
        chain=key
        if layout.chain is None
        else _read(directory / layout.chain, MAX_KEY_AND_CHAIN_BYTES),
        bundle=_read(directory / layout.bundle, MAX_BUNDLE_BYTES),
        crls=_read(directory / layout.crls, MAX_CRLS_BYTES),
    )


def _read(path: Path, max_bytes: int) -> CredentialFile:
    try:
        data, mode = read_bounded(path, max_bytes=max_bytes)
    except (FileNotFoundError, PkiError) as error:
        return CredentialFile(path, error=error)
    return CredentialFile(path, data, mode)
