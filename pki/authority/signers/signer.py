"""A signer: where one of the CA's private keys lives, and signs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from cryptography.hazmat.primitives import hashes

from pki.keys import PrivateKey, private_key_to_pem


class Signer(ABC):
    """Where one of the CA's private keys lives, and signs.

    The builders of certificates and CRLs take its ``key``, whose signatures it makes.
    """

    file_suffix: ClassVar[str]
    """How the name of the file ends that stands for the key in the CA's folder."""

    @property
    @abstractmethod
    def key(self) -> PrivateKey:
        """The private key, for the builders of certificates and CRLs."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the key lives, for people: ``file``, or the URI of a token's key."""

    @abstractmethod
    def connect(self) -> None:
        """Check that the key can be reached now.

        Raises:
            SignerError: if it can't.
        """

    @abstractmethod
    def file_contents(self) -> bytes:
        """Return the contents of the file that stands for the key in the CA's folder."""

    @abstractmethod
    def discard(self) -> None:
        """Remove a key that was made just now, and that no certificate names."""


class ExternalSigner(Signer):
    """A signer outside this process, e.g. a token.

    What it signs can't be taken back, so what shall be signed is recorded before.
    """

    @abstractmethod
    def sign(self, data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        """Return the signature of data: ECDSA in DER, or RSA with PKCS#1 v1.5.

        Raises:
            SignerError: if it does not sign.
        """


class FileSigner(Signer):
    """A key in a file, encrypted if there is a passphrase. It signs in this process."""

    file_suffix = ".pem"
    place = "file"

    def __init__(self, key: PrivateKey, passphrase: bytes | None) -> None:
        self._key = key
        self._passphrase = passphrase

    @property
    def key(self) -> PrivateKey:
        """The private key."""
        return self._key

    def connect(self) -> None:
        """Do nothing: the key is in memory."""

    def file_contents(self) -> bytes:
        """Return the key as PEM, encrypted if there is a passphrase."""
        return private_key_to_pem(self._key, self._passphrase)

    def discard(self) -> None:
        """Do nothing: the key is in its file alone, which the CA removes."""
