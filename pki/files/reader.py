"""Reads a credential directory, whoever writes it, and never uses a torn pair.

Writers replace files one after the other, so for a moment the key may not belong to the chain. Then
the files are read again a few times; what still does not match is reported, and the caller keeps
what it had.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pki.errors import CredentialError, InputError, PkiError, quote_untrusted
from pki.files.atomic import read_bounded
from pki.files.layouts import Layout, detect_layout
from pki.files.parts import KeyMode, LastingError, Parts, naming
from pki.identity import TrustDomain
from pki.keys import PrivateKey
from pki.x509 import Credential, CrlSet, read_names
from pki.x509.readers import MAX_CRLS_BYTES

_TRIES = 5
_PAUSE_SECONDS = 0.05


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
        key_mode: whether a key file that others may read, and files that belong to others, are
            refused.
        passphrase: for an encrypted key.
        sleep: how to wait between two tries, in seconds.

    Raises:
        CredentialError: if a file is missing, the key is readable by others, a stranger may change
            a file, or the key does not belong to the chain.
        InputError: if a file does not hold exactly what it should.
    """
    used = layout or detect_layout(directory)
    for remaining in reversed(range(_TRIES)):
        try:
            return _load(Parts(directory, used, key_mode, passphrase))
        except (CredentialError, InputError) as error:
            if not remaining or isinstance(error, LastingError):
                raise
            sleep(_PAUSE_SECONDS)
    raise AssertionError("unreachable: the last try returns or raises")


def load_crls(directory: Path, layout: Layout) -> CrlSet | None:
    """Read the revocation lists of a credential directory; None where there are none.

    Whoever writes them: they bear their issuers' signatures.

    Raises:
        InputError: if the file does not hold exactly what it should.
    """
    path = directory / layout.crls
    try:
        data, _ = read_bounded(path, max_bytes=MAX_CRLS_BYTES)
    except FileNotFoundError:
        return None
    with naming(path):
        return CrlSet.read(data)


def _load(parts: Parts) -> LoadedCredential:
    parts.check_directory()
    keys = _keys(parts)
    chain = parts.chain()
    spiffe_id = read_names(chain[0]).spiffe_id
    own: TrustDomain | None = spiffe_id.trust_domain if spiffe_id else None
    bundle = parts.bundle(own)
    crls = parts.crls()
    for number, key in enumerate(keys, start=1):
        try:
            credential = Credential(key, chain, bundle, crls)
        except CredentialError as error:
            if number == len(keys):
                raise CredentialError(
                    f"{quote_untrusted(parts.directory)}: {error.message}", remedy=error.remedy
                ) from None
        else:
            return LoadedCredential(credential, parts.layout, tuple(dict.fromkeys(parts.warnings)))
    raise AssertionError("unreachable: there is at least one key")


def _keys(parts: Parts) -> list[PrivateKey]:
    """Read the key and, if a writer is at work or was cut off, the one that comes next."""
    keys: list[PrivateKey] = []
    missing: CredentialError | None = None
    try:
        keys.append(parts.key())
    except LastingError:
        raise
    except CredentialError as error:
        missing = error
    try:
        coming = parts.next_key()
    except PkiError as error:
        # A key that can't be trusted or read is none: the one in place may do without it.
        parts.warnings.append(f"the next key is not used: {error.message}")
    else:
        if coming is not None:
            keys.append(coming)
    if not keys:
        assert missing is not None
        raise missing
    return keys
