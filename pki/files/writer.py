"""Writes a credential directory so that at every moment a reader finds a key for the chain.

The order, each step durable before the next: the trust bundle, the revocation lists (a new issuer's
list is out before its first leaf), the new key beside the old one, the chain, and last the new key
in the old one's place. Between the last two steps the chain belongs to ``key.pem.next``, which
readers of handfast know; a crash there is mended by the next write.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from pki.errors import CredentialError, StateError, shown
from pki.files.atomic import (
    PRIVATE,
    PUBLIC,
    make_folder,
    read_bounded,
    remove_durably,
    rename_durably,
    write_durably,
)
from pki.files.layouts import HANDFAST, Layout
from pki.keys import PrivateKey, private_key_to_pem, public_key_fingerprint, read_private_key
from pki.keys.encoding import MAX_KEY_BYTES
from pki.x509 import Credential, RevocationLists, TrustBundle, read_chain
from pki.x509.decoding import public_key_of
from pki.x509.readers import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH, to_pem


def save_credential(credential: Credential, directory: Path, *, layout: Layout = HANDFAST) -> None:
    """Write a whole credential into a directory, made if it is not there.

    Raises:
        StateError: if a file can't be written. The credential that was there still works.
    """
    make_folder(directory)
    save_trust(credential.bundle, credential.lists, directory, layout=layout)
    key_pem = private_key_to_pem(credential.key)
    if layout.chain is None:
        write_durably(directory / layout.key, key_pem + to_pem(credential.chain), mode=PRIVATE)
        remove_durably(directory / layout.next_key)
        return
    write_durably(directory / layout.next_key, key_pem, mode=PRIVATE)
    write_durably(directory / layout.chain, to_pem(credential.chain), mode=PUBLIC)
    finish_key(directory, layout=layout)


def save_chain(
    chain: tuple[x509.Certificate, ...], directory: Path, *, layout: Layout = HANDFAST
) -> None:
    """Write a chain alone, where the key is somebody else's."""
    if layout.chain is None:
        raise CredentialError(
            f"layout {layout.name} keeps key and chain in one file, and there is no key"
        )
    make_folder(directory)
    write_durably(directory / layout.chain, to_pem(chain), mode=PUBLIC)


def save_trust(
    bundle: TrustBundle,
    lists: RevocationLists | None,
    directory: Path,
    *,
    layout: Layout = HANDFAST,
) -> None:
    """Write bundle and lists, and leave key and chain as they are."""
    make_folder(directory)
    _write_if_changed(directory / layout.bundle, bundle.to_pem())
    if lists is not None:
        pem = to_pem([item.crl for item in lists.lists.values()])
        _write_if_changed(directory / layout.lists, pem)


def pending_key(directory: Path, made: PrivateKey, *, layout: Layout = HANDFAST) -> PrivateKey:
    """Give the key to ask a certificate for, kept on disk before it is asked for.

    A renewal that was cut off left its key here: it is used again, so that the CA can answer with
    the certificate that it may have issued for it already.

    Args:
        directory: the credential directory.
        made: a fresh key, used and kept if none is waiting.
        layout: the directory's layout.
    """
    path = directory / layout.next_key
    try:
        return read_private_key(read_bounded(path, max_bytes=MAX_KEY_BYTES)[0])
    except FileNotFoundError:
        write_durably(path, private_key_to_pem(made), mode=PRIVATE)
        return made


def finish_key(directory: Path, *, layout: Layout = HANDFAST) -> bool:
    """Put the waiting key into its place if the chain is already the new one.

    Returns:
        Whether there was something to finish.
    """
    waiting = directory / layout.next_key
    if layout.chain is None or not waiting.exists():
        return False
    key = read_private_key(read_bounded(waiting, max_bytes=MAX_KEY_BYTES)[0])
    limit = 2 * MAX_CERTIFICATE_BYTES * MAX_CHAIN_LENGTH
    leaf = read_chain(read_bounded(directory / layout.chain, max_bytes=limit)[0])[0]
    theirs = public_key_fingerprint(public_key_of(leaf))
    if public_key_fingerprint(key.public_key()) != theirs:
        return False
    try:
        rename_durably(waiting, directory / layout.key)
    except OSError as error:
        raise StateError(f"{shown(waiting)} can't be renamed: {error.strerror}") from error
    return True


def _write_if_changed(path: Path, data: bytes) -> None:
    """Leave a file alone that holds this already, so that nobody who watches it is woken."""
    try:
        if read_bounded(path, max_bytes=len(data) + 1)[0] == data:
            return
    except (FileNotFoundError, StateError):
        pass
    write_durably(path, data, mode=PUBLIC)
