"""Read each file of a credential directory on its own, with the file's name in every error."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from cryptography import x509

from pki.errors import (
    CertificateError,
    CredentialError,
    InputError,
    PkiError,
    StateError,
    printable,
    quote_untrusted,
)
from pki.files.access import (
    distrust_reason,
    is_writable_by_all,
    owners_in,
    trusted_owners,
)
from pki.files.atomic import read_file_in, read_with_status
from pki.files.layouts import Layout
from pki.files.open_folder import OpenFolder
from pki.identity import TrustDomain
from pki.keys import PrivateKey, read_private_key
from pki.keys.encoding import MAX_KEY_BYTES, decode_private_key, is_private_key_block
from pki.pem import read_blocks
from pki.x509 import CrlSet, TrustBundle, read_chain
from pki.x509.readers import (
    MAX_BUNDLE_BYTES,
    MAX_CERTIFICATE_BYTES,
    MAX_CHAIN_LENGTH,
    MAX_CRLS_BYTES,
    decode_certificate,
)

MAX_CHAIN_BYTES = 2 * MAX_CERTIFICATE_BYTES * MAX_CHAIN_LENGTH
_OTHERS = 0o077
_END_OF_CERTIFICATE = b"-----END CERTIFICATE-----"


class KeyMode(StrEnum):
    """What to do about files whose owner or mode gives access to other users."""

    STRICT = "strict"
    """Refuse them."""
    WARN = "warn"
    """Accept them with a warning: a Kubernetes secret is mounted 0644 on a read-only volume. A file
    that everybody may write is refused all the same."""


class PermanentError(CredentialError):
    """A fault that remains when the files are read again."""


class CredentialFiles:
    """Reads the files of one credential directory.

    Args:
        directory: the directory.
        layout: the names of its files.
        key_mode: what to do about keys that others may read, and files that others may change.
        passphrase: for an encrypted key.
        folder: the directory, if the files are read for a writer, which has it open.
    """

    def __init__(
        self,
        directory: Path,
        layout: Layout,
        key_mode: KeyMode,
        passphrase: bytes | None = None,
        *,
        folder: OpenFolder | None = None,
    ) -> None:
        self.directory = directory
        self.layout = layout
        self._key_mode = key_mode
        self._passphrase = passphrase
        self._folder = folder
        self._owners: frozenset[int] | None = None
        self.warnings: list[str] = []

    def check_directory(self) -> None:
        """Check that no other user can put files into the directory.

        Raises:
            CredentialError: if another user can, or the directory can't be checked.
        """
        try:
            status = self._folder.status() if self._folder else self.directory.stat()
        except FileNotFoundError:
            # Reported by the first file that is missing.
            return
        except OSError as error:
            raise CredentialError(
                f"{quote_untrusted(self.directory)} can't be checked: {error.strerror}"
            ) from None
        self._check_access(self.directory, status, trusted_owners(status))

    def key(self) -> PrivateKey:
        """Read the key.

        Raises:
            CredentialError: if it is not there, or other users own it or may read it.
            InputError: if the file does not hold a key.
        """
        return self._key(self.layout.key)

    def next_key(self) -> PrivateKey | None:
        """Read the next key; None if there is none. Raises as :meth:`key`."""
        try:
            return self._key(self.layout.next_key)
        except FileNotFoundError:
            return None

    def chain(self) -> tuple[x509.Certificate, ...]:
        """Read the chain.

        Raises:
            PkiError: if it is not there, or is damaged.
        """
        name = self.layout.chain or self.layout.key
        data = self._read(name, MAX_CHAIN_BYTES)
        with error_context(self.directory / name):
            if self.layout.chain is not None:
                return read_chain(data)
            blocks = read_blocks(data, what="key and chain", max_bytes=MAX_CHAIN_BYTES)
            chain = tuple(decode_certificate(block.der, what="chain") for block in blocks[1:])
            if not 1 <= len(chain) <= MAX_CHAIN_LENGTH:
                raise CertificateError(f"it holds {len(chain)} certificates after the key")
            return chain

    def leaf(self) -> x509.Certificate:
        """Read only the leaf, even if the rest of the chain is damaged.

        Raises:
            PkiError: if it is not there, or is damaged.
        """
        name = self.layout.chain or self.layout.key
        data = self._read(name, MAX_CHAIN_BYTES)
        end = data.find(_END_OF_CERTIFICATE)
        first = data if end < 0 else data[: end + len(_END_OF_CERTIFICATE)]
        with error_context(self.directory / name):
            if self.layout.chain is not None:
                return read_chain(first)[0]
            blocks = read_blocks(first, what="key and chain", max_bytes=MAX_CHAIN_BYTES)
            if len(blocks) < 2:
                raise CertificateError("it holds no certificate after the key")
            return decode_certificate(blocks[1].der, what="chain")

    def bundle(self, own: TrustDomain | None) -> TrustBundle:
        """Read the trust bundle.

        Args:
            own: the trust domain of roots that name none.

        Raises:
            PkiError: if it is not there, or is damaged.
        """
        data = self._read(self.layout.bundle, MAX_BUNDLE_BYTES)
        with error_context(self.directory / self.layout.bundle):
            return TrustBundle.read(data, default=own)

    def crls(self) -> CrlSet | None:
        """Read the CRLs; None if there is no file of them.

        Raises:
            PkiError: if the file holds anything but CRLs.
        """
        path = self.directory / self.layout.crls
        try:
            data, status = self._read_file(self.layout.crls, MAX_CRLS_BYTES)
        except FileNotFoundError:
            return None
        self._check_access(path, status, self._trusted_owners())
        with error_context(path):
            return CrlSet.read(data)

    def _key(self, name: str) -> PrivateKey:
        path = self.directory / name
        try:
            data, status = self._read_file(name, MAX_KEY_BYTES + MAX_CHAIN_BYTES)
        except FileNotFoundError:
            if name != self.layout.key:
                raise
            raise CredentialError(f"{quote_untrusted(path)} is not there") from None
        self._check_access(path, status, self._trusted_owners())
        mode = stat.S_IMODE(status.st_mode)
        if mode & _OTHERS:
            self._refuse_or_warn(
                f"key file {quote_untrusted(path)} has mode {mode:04o}: others may read it",
                f"Let only its user read it: chmod 600 {printable(shlex.quote(str(path)))}; or set "
                "key_mode to warn for a secret's volume",
            )
        with error_context(path):
            if self.layout.chain is not None:
                return read_private_key(data, self._passphrase)
            # The chain after the key may be cut off; the key can be read without it.
            end = data.find(b"-----BEGIN CERTIFICATE-----")
            first = data if end < 0 else data[:end]
            blocks = read_blocks(first, what="key and chain", max_bytes=len(data))
            if len(blocks) != 1 or not is_private_key_block(blocks[0]):
                raise CredentialError("it does not begin with a private key")
            return decode_private_key(blocks[0], self._passphrase)

    def _read(self, name: str, max_bytes: int) -> bytes:
        path = self.directory / name
        try:
            data, status = self._read_file(name, max_bytes)
        except FileNotFoundError:
            raise CredentialError(f"{quote_untrusted(path)} is not there") from None
        self._check_access(path, status, self._trusted_owners())
        return data

    def _read_file(self, name: str, max_bytes: int) -> tuple[bytes, os.stat_result]:
        if self._folder is not None:
            return read_file_in(self._folder, name, max_bytes=max_bytes)
        return read_with_status(self.directory / name, max_bytes=max_bytes)

    def _trusted_owners(self) -> frozenset[int]:
        if self._owners is None:
            try:
                self._owners = (
                    owners_in(self._folder, self.layout.key)
                    if self._folder
                    else trusted_owners(self.directory.stat())
                )
            except OSError as error:
                raise CredentialError(
                    f"{quote_untrusted(self.directory)} can't be checked: {error.strerror}"
                ) from None
        return self._owners

    def _check_access(self, path: Path, status: os.stat_result, owners: frozenset[int]) -> None:
        reason = distrust_reason(status, owners)
        if not reason:
            return
        message = f"{quote_untrusted(path)} {reason}"
        if stat.S_ISREG(status.st_mode) and is_writable_by_all(status):
            raise PermanentError(message, remedy="Make it writable only for its owner (chmod go-w)")
        self._refuse_or_warn(
            message,
            "Give it to root or to this user, writable only for that user, or set key_mode to warn "
            "for a volume that others fill",
        )

    def _refuse_or_warn(self, message: str, remedy: str) -> None:
        """Refuse a file, or add a warning, depending on ``key_mode``.

        Raises:
            PermanentError: if it is strict.
        """
        if self._key_mode is KeyMode.WARN:
            self.warnings.append(message)
            return
        if not os.path.lexists(self.directory / self.layout.crls):
            # Most files of other tools need both settings, so both are named at the first start.
            remedy += (
                f"; there is no {self.layout.crls} either: bring it, or set revocation to "
                "when-present or short-lived too"
            )
        raise PermanentError(message, remedy=remedy)


@contextmanager
def error_context(path: Path) -> Iterator[None]:
    """Put a file's path before the message of every error that is raised in the block."""
    try:
        yield
    except (InputError, StateError) as error:
        _add_path(error, path)
        raise


def _add_path(error: PkiError, path: Path) -> None:
    """Put a file's path before an error's message, unless the message holds it already."""
    if quote_untrusted(path) not in error.message:
        error.message = f"{quote_untrusted(path)}: {error.message}"
        error.args = (error.message,)
