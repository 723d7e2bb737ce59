"""The files of a credential directory, each read by itself, with its name in every error."""

from __future__ import annotations

import os
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
    quote_untrusted,
)
from pki.files.access import is_writable_by_all, trusted_owners, why_not_trusted
from pki.files.atomic import read_with_status
from pki.files.layouts import Layout
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
    """What to do about files whose owner or mode lets others at them."""

    STRICT = "strict"
    """Refuse them."""
    WARN = "warn"
    """Take them with a warning: a Kubernetes secret is mounted 0644 on a read-only volume. What
    everybody may write to is refused all the same."""


class LastingError(CredentialError):
    """A fault that another look does not mend."""


class Parts:
    """Reads the files of one directory.

    Args:
        directory: where they lie.
        layout: their names.
        key_mode: what to do about files that others may read (keys) or change (all).
        passphrase: for an encrypted key.
    """

    def __init__(
        self, directory: Path, layout: Layout, key_mode: KeyMode, passphrase: bytes | None = None
    ) -> None:
        self.directory = directory
        self.layout = layout
        self._key_mode = key_mode
        self._passphrase = passphrase
        self._owners: frozenset[int] | None = None
        self.warnings: list[str] = []

    def check_directory(self) -> None:
        """Check that no stranger can put files into the directory.

        Raises:
            CredentialError: if one can, or the directory can't be looked at.
        """
        try:
            status = self.directory.stat()
        except FileNotFoundError:
            # The first file that is missed says so.
            return
        except OSError as error:
            raise CredentialError(
                f"{quote_untrusted(self.directory)} can't be looked at: {error.strerror}"
            ) from None
        self._judge(self.directory, status, trusted_owners(status))

    def key(self) -> PrivateKey:
        """Read the key.

        Raises:
            CredentialError: if it is not there, others may read it, or it is a stranger's.
            InputError: if it is no key.
        """
        return self._key(self.layout.key)

    def next_key(self) -> PrivateKey | None:
        """Read the key that comes next; None where there is none. Raises as :meth:`key`."""
        try:
            return self._key(self.layout.next_key)
        except FileNotFoundError:
            return None

    def chain(self) -> tuple[x509.Certificate, ...]:
        """Read the chain.

        Raises:
            PkiError: if it is not there, or is not a whole one.
        """
        name = self.layout.chain or self.layout.key
        data = self._read(name, MAX_CHAIN_BYTES)
        with naming(self.directory / name):
            if self.layout.chain is not None:
                return read_chain(data)
            blocks = read_blocks(data, what="key and chain", max_bytes=MAX_CHAIN_BYTES)
            chain = tuple(decode_certificate(block.der, what="chain") for block in blocks[1:])
            if not 1 <= len(chain) <= MAX_CHAIN_LENGTH:
                raise CertificateError(f"it holds {len(chain)} certificates behind the key")
            return chain

    def leaf(self) -> x509.Certificate:
        """Read the leaf alone, also where the chain behind it is damaged.

        Raises:
            PkiError: if it is not there, or damaged itself.
        """
        name = self.layout.chain or self.layout.key
        data = self._read(name, MAX_CHAIN_BYTES)
        end = data.find(_END_OF_CERTIFICATE)
        first = data if end < 0 else data[: end + len(_END_OF_CERTIFICATE)]
        with naming(self.directory / name):
            if self.layout.chain is not None:
                return read_chain(first)[0]
            blocks = read_blocks(first, what="key and chain", max_bytes=MAX_CHAIN_BYTES)
            if len(blocks) < 2:
                raise CertificateError("it holds no certificate behind the key")
            return decode_certificate(blocks[1].der, what="chain")

    def bundle(self, own: TrustDomain | None) -> TrustBundle:
        """Read the trust bundle; roots that name no trust domain are ``own``'s.

        Raises:
            PkiError: if it is not there, or is not a whole one.
        """
        data = self._read(self.layout.bundle, MAX_BUNDLE_BYTES)
        with naming(self.directory / self.layout.bundle):
            return TrustBundle.read(data, default=own)

    def crls(self) -> CrlSet | None:
        """Read the revocation lists; None where there are none.

        Raises:
            PkiError: if the file does not hold exactly what it should.
        """
        path = self.directory / self.layout.crls
        try:
            data, status = read_with_status(path, max_bytes=MAX_CRLS_BYTES)
        except FileNotFoundError:
            return None
        self._judge(path, status, self._trusted())
        with naming(path):
            return CrlSet.read(data)

    def _key(self, name: str) -> PrivateKey:
        path = self.directory / name
        try:
            data, status = read_with_status(path, max_bytes=MAX_KEY_BYTES + MAX_CHAIN_BYTES)
        except FileNotFoundError:
            if name != self.layout.key:
                raise
            raise CredentialError(f"{quote_untrusted(path)} is not there") from None
        self._judge(path, status, self._trusted())
        mode = stat.S_IMODE(status.st_mode)
        if mode & _OTHERS:
            self._object(
                f"key file {quote_untrusted(path)} has mode {mode:04o}: others may read it",
                "Make it 0600, or set key_mode to warn for a secret's volume",
            )
        with naming(path):
            if self.layout.chain is not None:
                return read_private_key(data, self._passphrase)
            # The key alone counts here, though the chain behind it may be cut.
            end = data.find(b"-----BEGIN CERTIFICATE-----")
            first = data if end < 0 else data[:end]
            blocks = read_blocks(first, what="key and chain", max_bytes=len(data))
            if len(blocks) != 1 or not is_private_key_block(blocks[0]):
                raise CredentialError("it does not begin with a private key")
            return decode_private_key(blocks[0], self._passphrase)

    def _read(self, name: str, max_bytes: int) -> bytes:
        path = self.directory / name
        try:
            data, status = read_with_status(path, max_bytes=max_bytes)
        except FileNotFoundError:
            raise CredentialError(f"{quote_untrusted(path)} is not there") from None
        self._judge(path, status, self._trusted())
        return data

    def _trusted(self) -> frozenset[int]:
        if self._owners is None:
            try:
                self._owners = trusted_owners(self.directory.stat())
            except OSError as error:
                raise CredentialError(
                    f"{quote_untrusted(self.directory)} can't be looked at: {error.strerror}"
                ) from None
        return self._owners

    def _judge(self, path: Path, status: os.stat_result, owners: frozenset[int]) -> None:
        why = why_not_trusted(status, owners)
        if not why:
            return
        words = f"{quote_untrusted(path)} {why}"
        if stat.S_ISREG(status.st_mode) and is_writable_by_all(status):
            raise LastingError(words, remedy="Make it writable for its owner alone (chmod go-w)")
        self._object(
            words,
            "Give it to root or to this user, writable for them alone, or set key_mode to warn "
            "for a volume that others fill",
        )

    def _object(self, words: str, remedy: str) -> None:
        """Refuse the file, or warn of it, as the setting says.

        Raises:
            LastingError: if the setting is strict.
        """
        if self._key_mode is KeyMode.WARN:
            self.warnings.append(words)
            return
        if not os.path.lexists(self.directory / self.layout.crls):
            # Files that other tools write mostly fall short of both settings: named at one start.
            remedy += (
                f"; there is no {self.layout.crls} either: bring it, or set revocation to "
                "when-present or short-lived too"
            )
        raise LastingError(words, remedy=remedy)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put a file's name before the words of every error that is raised within."""
    try:
        yield
    except (InputError, StateError) as error:
        name_in(error, path)
        raise


def name_in(error: PkiError, path: Path) -> None:
    """Put a file's name before an error's words, unless it stands there already."""
    if quote_untrusted(path) not in error.message:
        error.message = f"{quote_untrusted(path)}: {error.message}"
        error.args = (error.message,)
