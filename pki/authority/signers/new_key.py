"""Make a new CA key where its owner wants it: in a file, or in a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pki.authority.signers.pkcs11_uri import Pkcs11Uri
from pki.authority.signers.signer import FileSigner, Signer
from pki.authority.signers.token_access import TokenAccess
from pki.keys import KeyType, generate_key


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where a CA key shall live.

    Args:
        uri: of the token, for a new key, or of a key that is there; None for a file.
    """

    uri: Pkcs11Uri | None = None

    @classmethod
    def parse(cls, text: str) -> KeyPlace:
        """Parse ``file``, or the PKCS#11 URI of a token or of a key in it.

        Raises:
            InputError: if it is neither.
        """
        return IN_FILE if text == "file" else cls(Pkcs11Uri.parse(text))


IN_FILE: Final = KeyPlace()


def check_place(place: KeyPlace, tokens: TokenAccess) -> None:
    """Check that a key can be made or found in its place, before anything is made.

    Raises:
        SignerError: if the token can't be used, or holds no such key.
        MissingExtraError: if ``handfast[pkcs11]`` is not installed.
    """
    if place.uri is not None:
        from pki.authority.signers.token_signer import (  # noqa: PLC0415 - needs an extra
            TokenSigner,
        )

        TokenSigner.check_place(place.uri, tokens)


def make_signer(
    place: KeyPlace, key_type: KeyType, passphrase: bytes | None, tokens: TokenAccess
) -> Signer:
    """Make a new CA key, or find the one that a URI names.

    Args:
        place: where the key shall live.
        key_type: of a key that is made.
        passphrase: encrypts a key in a file.
        tokens: how to reach a token.

    Raises:
        SignerError: if the token can't be used, or holds no such key.
        KeyRefusedError: if no such key can live there.
    """
    uri = place.uri
    if uri is None:
        return FileSigner(generate_key(key_type), passphrase)
    from pki.authority.signers.token_signer import TokenSigner  # noqa: PLC0415 - needs an extra

    if uri.names_key:
        return TokenSigner.find(uri, tokens)
    return TokenSigner.generate(uri, key_type, tokens)
