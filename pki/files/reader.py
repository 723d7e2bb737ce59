"""Reads a credential directory, whoever writes it, and never uses a torn pair.

Writers replace files one after the other, so for a moment the key may not belong to the chain. Then
the files are read again a few times; what still does not match is reported, and the caller keeps
what it had.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pki.errors import CertificateError, CredentialError, InputError, shown
from pki.files.atomic import read_bounded
from pki.files.layouts import Layout, detect_layout
from pki.identity import TrustDomain
from pki.keys import PrivateKey, read_private_key
from pki.keys.encoding import MAX_KEY_BYTES, decode_private_key, is_private_key_block
from pki.pem import read_blocks
from pki.x509 import Credential, RevocationLists, TrustBundle, read_chain, read_names
from pki.x509.readers import (
    MAX_BUNDLE_BYTES,
    MAX_CERTIFICATE_BYTES,
    MAX_CHAIN_LENGTH,
    MAX_LISTS_BYTES,
    decode_certificate,
)

_MAX_CHAIN_BYTES = 2 * MAX_CERTIFICATE_BYTES * MAX_CHAIN_LENGTH
_TRIES = 5
_PAUSE_SECONDS = 0.05
_OTHERS = 0o077


class KeyMode(StrEnum):
    """What to do about a key file that others may read."""

    STRICT = "strict"
    """Refuse it."""
    WARN = "warn"
    """Take it with a warning: a Kubernetes secret is mounted 0644 on a read-only volume."""


@dataclass(frozen=True, slots=True)
class LoadedCredential:
    """What was read, and what a person should know about it."""

    credential: Credential
    layout: Layout
    warnings: tuple[str, ...]


def load_credential(
    directory: Path,
    *,
    layout: Layout | None = None,
    key_mode: KeyMode = KeyMode.STRICT,
    passphrase: bytes | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> LoadedCredential:
    """Read a credential directory.

    Args:
        directory: where it lies.
        layout: its layout; None tells it by the file names.
        key_mode: whether a key file that others may read is refused.
        passphrase: for an encrypted key.
        sleep: how to wait between two tries, in seconds.

    Raises:
        CredentialError: if a file is missing, the key is readable by others, or the key does not
            belong to the chain.
        InputError: if a file does not hold exactly what it should.
    """
    used = layout or detect_layout(directory)
    for remaining in reversed(range(_TRIES)):
        try:
            return _load(directory, used, key_mode, passphrase)
        except (CredentialError, InputError) as error:
            if not remaining or _is_lasting(error):
                raise
            sleep(_PAUSE_SECONDS)
    raise AssertionError("unreachable: the last try returns or raises")


def load_lists(directory: Path, layout: Layout) -> RevocationLists | None:
    """Read the revocation lists of a credential directory; None where there are none.

    Raises:
        InputError: if the file does not hold exactly what it should.
    """
    try:
        data, _ = read_bounded(directory / layout.lists, max_bytes=MAX_LISTS_BYTES)
    except FileNotFoundError:
        return None
    return RevocationLists.read(data)


class _LastingError(CredentialError):
    """A fault that another look does not mend."""


def _is_lasting(error: Exception) -> bool:
    return isinstance(error, _LastingError)


def _load(
    directory: Path, layout: Layout, key_mode: KeyMode, passphrase: bytes | None
) -> LoadedCredential:
    warnings: list[str] = []
    keys = _read_keys(directory, layout, key_mode, passphrase, warnings)
    if layout.chain is None:
        blocks = read_blocks(
            _read(directory, layout.key, _MAX_CHAIN_BYTES),
            what=layout.key,
            max_bytes=_MAX_CHAIN_BYTES,
        )
        chain = tuple(decode_certificate(block.der, what=layout.key) for block in blocks[1:])
        if not 1 <= len(chain) <= MAX_CHAIN_LENGTH:
            raise CertificateError(f"{layout.key} holds {len(chain)} certificates behind the key")
    else:
        chain = read_chain(_read(directory, layout.chain, _MAX_CHAIN_BYTES))
    spiffe_id = read_names(chain[0]).spiffe_id
    own: TrustDomain | None = spiffe_id.trust_domain if spiffe_id else None
    bundle = TrustBundle.read(_read(directory, layout.bundle, MAX_BUNDLE_BYTES), default=own)
    lists = load_lists(directory, layout)
    for number, key in enumerate(keys, start=1):
        try:
            credential = Credential(key, chain, bundle, lists)
        except CredentialError as error:
            if number == len(keys):
                raise CredentialError(
                    f"{shown(directory)}: {error.message}", remedy=error.remedy
                ) from None
        else:
            return LoadedCredential(credential, layout, tuple(warnings))
    raise AssertionError("unreachable: there is at least one key")


def _read_keys(
    directory: Path,
    layout: Layout,
    key_mode: KeyMode,
    passphrase: bytes | None,
    warnings: list[str],
) -> list[PrivateKey]:
    """Read the key and, if a writer is at work or was cut off, the one that comes next."""
    keys: list[PrivateKey] = []
    for name in (layout.key, layout.next_key):
        path = directory / name
        try:
            data, mode = read_bounded(path, max_bytes=MAX_KEY_BYTES + _MAX_CHAIN_BYTES)
        except FileNotFoundError:
            continue
        if mode & _OTHERS:
            words = f"key file {shown(path)} has mode {mode:04o}: others may read it"
            if key_mode is KeyMode.STRICT:
                raise _LastingError(
                    words, remedy="Make it 0600, or set key_mode to warn for a secret's volume"
                )
            warnings.append(words)
        if layout.chain is None:
            blocks = read_blocks(data, what=name, max_bytes=len(data))
            if not blocks or not is_private_key_block(blocks[0]):
                raise CredentialError(f"{shown(path)} does not begin with a private key")
            keys.append(decode_private_key(blocks[0], passphrase))
        else:
            keys.append(read_private_key(data, passphrase))
    if not keys:
        raise CredentialError(f"{shown(directory / layout.key)} is not there")
    return keys


def _read(directory: Path, name: str, max_bytes: int) -> bytes:
    try:
        return read_bounded(directory / name, max_bytes=max_bytes)[0]
    except FileNotFoundError:
        raise CredentialError(f"{shown(directory / name)} is not there") from None
