"""Writes a credential directory so that at every moment a reader finds a key for the chain.

The order, each step durable before the next: the trust bundle, the revocation lists (a new issuer's
list is out before its first leaf), the new key beside the old one, the chain, and last the new key
in the old one's place. Between the last two steps the chain belongs to ``key.pem.next``, which
readers of handfast know; a crash there is mended by the next write.

Every writer holds the directory's lock, checks all files before it writes the first, and leaves
their owners and groups as they are. Whoever reads and then writes what follows from it holds the
lock over both (:func:`writing`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509

from pki.errors import CredentialError, InputError, PkiError, StateError, quote_untrusted
from pki.files.access import check_folder, check_replaceable, mode_to_keep, owner_to_keep
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
from pki.files.lock import LOCK_NAME, locked
from pki.files.parts import KeyMode, Parts
from pki.keys import PrivateKey, private_key_to_pem, public_key_fingerprint
from pki.x509 import Credential, CrlSet, TrustBundle
from pki.x509.decoding import public_key_of
from pki.x509.readers import MAX_CRLS_BYTES, to_pem
from pki.x509.revocation import IssuerId


@contextmanager
def writing(
    directory: Path, *, layout: Layout = HANDFAST, trust_alone: bool = False
) -> Iterator[None]:
    """Hold a credential directory, made if it is not there, against every other writer.

    One that was made is taken away again if nothing came to lie in it.

    Args:
        directory: which.
        layout: its file names.
        trust_alone: whether only trust bundle and lists will be written; else all may be.

    Raises:
        StateError: if it can't be made or locked, another writer does not come to an end, or a file
            that will be written can't be; nothing was changed.
    """
    is_new = not directory.is_dir()
    made = [folder for folder in (directory, *directory.parents) if not folder.is_dir()]
    make_folder(directory)
    try:
        check_folder(directory)
        with locked(directory):
            try:
                names = (layout.bundle, layout.crls) if trust_alone else _names(layout)
                check_replaceable(directory, names)
                yield
            finally:
                if is_new and os.listdir(directory) == [LOCK_NAME]:
                    # Whoever waits for this file sees that it is gone, and makes it anew.
                    (directory / LOCK_NAME).unlink()
    finally:
        for folder in made:
            if not _removed_if_empty(folder):
                break


def save_credential(credential: Credential, directory: Path, *, layout: Layout = HANDFAST) -> None:
    """Write a whole credential into a directory, made if it is not there.

    Raises:
        StateError: if a file can't be written. The credential that was there still works.
    """
    with writing(directory, layout=layout):
        save_trust(
            credential.bundle, credential.crls, directory, layout=layout, issuers=credential.chain
        )
        key_pem = private_key_to_pem(credential.key)
        if layout.chain is None:
            _write(directory / layout.key, key_pem + to_pem(credential.chain), PRIVATE)
            remove_durably(directory / layout.next_key)
            return
        _write(directory / layout.next_key, key_pem, PRIVATE)
        _write(directory / layout.chain, to_pem(credential.chain), PUBLIC)
        finish_key(directory, layout=layout)


def save_chain(
    chain: tuple[x509.Certificate, ...], directory: Path, *, layout: Layout = HANDFAST
) -> None:
    """Write a chain alone, where the key is somebody else's, or the one that lies there.

    Raises:
        CredentialError: if the layout keeps key and chain in one file.
        StateError: if it can't be written.
    """
    name = chain_file(layout)
    with writing(directory, layout=layout):
        _write(directory / name, to_pem(chain), PUBLIC)


def chain_file(layout: Layout) -> str:
    """Return the name of the file that holds the chain alone.

    Raises:
        CredentialError: if the layout keeps key and chain in one file.
    """
    if layout.chain is None:
        raise CredentialError(
            f"layout {layout.name} keeps key and chain in one file, and there is no key",
            remedy="Choose another layout for a certificate whose key is elsewhere",
        )
    return layout.chain


def save_trust(
    bundle: TrustBundle,
    crls: CrlSet | None,
    directory: Path,
    *,
    layout: Layout = HANDFAST,
    issuers: Iterable[x509.Certificate] = (),
) -> None:
    """Write bundle and lists, and leave key and chain as they are.

    Args:
        bundle: the roots to believe.
        crls: the revocation lists; None leaves those that are there.
        directory: where to, made if it is not there.
        layout: the file names.
        issuers: CAs at hand; a newer list of theirs, or of a root, that lies there already stays.

    Raises:
        StateError: if a file can't be written.
    """
    with writing(directory, layout=layout, trust_alone=True):
        _write_if_changed(directory / layout.bundle, bundle.to_pem())
        if crls is not None:
            known = (*issuers, *bundle.all_roots())
            kept = _never_back(crls, directory / layout.crls, known)
            pem = to_pem([item.crl for item in kept.crls.values()])
            _write_if_changed(directory / layout.crls, pem)


def pending_key(directory: Path, made: PrivateKey, *, layout: Layout = HANDFAST) -> PrivateKey:
    """Return the key to ask a certificate for, kept on disk before it is asked for.

    A renewal that was cut off left its key here: it is used again, so that the CA can answer with
    the certificate that it may have issued for it already.

    Args:
        directory: the credential directory.
        made: a fresh key, used and kept if none is waiting.
        layout: the directory's layout.

    Raises:
        CredentialError: if the key that is waiting is a stranger's, or others may read it.
    """
    with writing(directory, layout=layout):
        try:
            waiting = Parts(directory, layout, KeyMode.STRICT).next_key()
        except InputError:
            # Nobody can use what lies there. If a certificate was issued for it, the CA says so.
            waiting = None
        if waiting is None:
            _write(directory / layout.next_key, private_key_to_pem(made), PRIVATE)
        return waiting or made


def finish_key(directory: Path, *, layout: Layout = HANDFAST) -> bool:
    """Put the waiting key into its place if the chain is already the new one.

    Returns:
        Whether there was something to finish.

    Raises:
        CredentialError: if the key that is waiting is a stranger's, or others may read it.
    """
    waiting = directory / layout.next_key
    if layout.chain is None or not waiting.exists():
        return False
    with writing(directory, layout=layout):
        parts = Parts(directory, layout, KeyMode.STRICT)
        try:
            key = parts.next_key()
            theirs = public_key_fingerprint(public_key_of(parts.leaf()))
        except InputError:
            # Neither is a reason to stop whoever repairs the rest.
            return False
        if key is None or public_key_fingerprint(key.public_key()) != theirs:
            return False
        try:
            rename_durably(waiting, directory / layout.key)
        except OSError as error:
            raise StateError(
                f"{quote_untrusted(waiting)} can't be renamed: {error.strerror}"
            ) from error
        return True


def _names(layout: Layout) -> tuple[str, ...]:
    names = (layout.key, layout.next_key, layout.chain, layout.bundle, layout.crls)
    return tuple(name for name in names if name is not None)


def _write(path: Path, data: bytes, mode: int) -> None:
    write_durably(path, data, mode=mode_to_keep(path, mode), owner=owner_to_keep(path))


def _write_if_changed(path: Path, data: bytes) -> None:
    """Leave a file alone that holds this already, so that nobody who watches it is woken."""
    try:
        there, mode = read_bounded(path, max_bytes=len(data) + 1)
        if there == data and not mode & ~PUBLIC:
            return
    except (FileNotFoundError, StateError):
        pass
    _write(path, data, PUBLIC)


def _never_back(crls: CrlSet, path: Path, issuers: tuple[x509.Certificate, ...]) -> CrlSet:
    """Return the lists to write: of each issuer the newer of the one to write and the one there.

    What lies there counts only where one of the issuers at hand signed it: a forged number would
    hold off the true lists for good.
    """
    try:
        data, _ = read_bounded(path, max_bytes=MAX_CRLS_BYTES)
        there = CrlSet.read(data)
    except (PkiError, FileNotFoundError):
        return crls
    newest = dict(crls.crls)
    for issuer, item in there.crls.items():
        new = newest.get(issuer)
        if new is None or item.number <= new.number:
            continue
        if any(item.is_signed_by(ca) for ca in issuers if IssuerId.named_by(ca) == issuer):
            newest[issuer] = item
    return CrlSet.of(newest.values())


def _removed_if_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
