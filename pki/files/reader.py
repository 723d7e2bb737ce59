"""Read a credential directory, whichever tool writes it, and never use a key with another's chain.

A writer replaces the files one after the other, so for a moment the key may not belong to the
chain. Then the files are read again a few times. If they still do not match, that is reported, and
the caller keeps its current credential.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pki.errors import CredentialError, InputError, PkiError, quote_untrusted
from pki.files.atomic import read_bounded
from pki.files.credential_files import CredentialFiles, KeyMode, PermanentError, error_context
from pki.files.layouts import Layout, detect_layout
from pki.identity import TrustDomain
from pki.keys import PrivateKey
from pki.x509 import Credential, CrlSet, read_names
from pki.x509.readers import MAX_CRLS_BYTES

_ATTEMPTS = 5
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class LoadedCredential:
    """A credential that was read, with warnings about its files."""

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
        directory: the directory.
        layout: its layout; None detects it by the file names.
        key_mode: whether to refuse a key that others may read, and files that others may change.
        passphrase: for an encrypted key.
        sleep: waits between two attempts, in seconds.

    Raises:
        CredentialError: if a file is missing, others may read the key, others may change a file, or
            the key does not belong to the chain.
        InputError: if a file is damaged or holds anything else than it should.
    """
    layout = layout or detect_layout(directory)
    for remaining in reversed(range(_ATTEMPTS)):
        try:
            return _load(CredentialFiles(directory, layout, key_mode, passphrase))
        except (CredentialError, InputError) as error:
            if not remaining or isinstance(error, PermanentError):
                raise
            sleep(_PAUSE_SECONDS)
    raise AssertionError("unreachable: the last attempt returns or raises")


def load_crls(directory: Path, layout: Layout) -> CrlSet | None:
    """Read the CRLs of a credential directory; None if there is no file of them.

    The file's owner does not matter, because the issuers sign the CRLs.

    Raises:
        InputError: if the file holds anything but CRLs.
    """
    path = directory / layout.crls
    try:
        data, _ = read_bounded(path, max_bytes=MAX_CRLS_BYTES)
    except FileNotFoundError:
        return None
    with error_context(path):
        return CrlSet.read(data)


def _load(files: CredentialFiles) -> LoadedCredential:
    files.check_directory()
    keys = _keys(files)
    chain = files.chain()
    spiffe_id = read_names(chain[0]).spiffe_id
    own: TrustDomain | None = spiffe_id.trust_domain if spiffe_id else None
    bundle = files.bundle(own)
    crls = files.crls()
    for number, key in enumerate(keys, start=1):
        try:
            credential = Credential(key, chain, bundle, crls)
        except CredentialError as error:
            if number == len(keys):
                raise CredentialError(
                    f"{quote_untrusted(files.directory)}: {error.message}", remedy=error.remedy
                ) from None
        else:
            return LoadedCredential(credential, files.layout, tuple(dict.fromkeys(files.warnings)))
    raise AssertionError("unreachable: there is at least one key")


def _keys(files: CredentialFiles) -> list[PrivateKey]:
    """Read the key and, if a renewal is in progress or was interrupted, the next key."""
    keys: list[PrivateKey] = []
    missing: CredentialError | None = None
    try:
        keys.append(files.key())
    except PermanentError:
        raise
    except CredentialError as error:
        missing = error
    try:
        next_key = files.next_key()
    except PkiError as error:
        # Ignored, because the current key may belong to the chain.
        files.warnings.append(f"the next key is not used: {error.message}")
    else:
        if next_key is not None:
            keys.append(next_key)
    if not keys:
        assert missing is not None
        raise missing
    return keys
