"""Write a credential directory so that a reader always finds the key of the chain.

The order, each step durable before the next: the trust bundle, the CRLs (so that a new issuer's CRL
is there before its first leaf), the new key beside the old one, the chain, and last the new key in
place of the old one. Between the last two steps the chain belongs to ``key.pem.next``, which
handfast reads too. The next write repairs what a crash there leaves.

Every writer holds the directory's lock, checks all files before it writes the first, and keeps
their owners and groups; the new key has those of the key that it replaces. Whoever writes what
depends on an earlier read holds the lock for both (:func:`writer_lock`), and reads and writes in
the same open folder (:mod:`pki.files.open_folder`).
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509

from pki.errors import CredentialError, InputError, PkiError, StateError, quote_untrusted
from pki.files.access import check_folder_status, check_replaceable, mode_to_keep
from pki.files.atomic import (
    make_folder,
    read_file_in,
    remove_durably,
    rename_durably,
    write_durably,
)
from pki.files.credential_files import CredentialFiles, KeyMode
from pki.files.layouts import HANDFAST, Layout
from pki.files.lock import LOCK_NAME, WAIT_SECONDS, locked
from pki.files.open_folder import PRIVATE, PUBLIC, opened_folder
from pki.keys import PrivateKey, private_key_to_pem, public_key_fingerprint
from pki.x509 import Credential, CrlSet, TrustBundle
from pki.x509.decoding import public_key_of
from pki.x509.readers import MAX_CRLS_BYTES, to_pem
from pki.x509.revocation import IssuerId


@contextmanager
def writer_lock(
    directory: Path,
    *,
    layout: Layout = HANDFAST,
    trust_only: bool = False,
    wait_seconds: float = WAIT_SECONDS,
) -> Iterator[None]:
    """Make a credential directory if it is missing, and lock out all other writers.

    A directory that was made here and is still empty at the end is removed.

    Args:
        directory: the directory.
        layout: its layout.
        trust_only: whether only the trust bundle and CRLs will be written.
        wait_seconds: how long to wait for another writer; 0 tries once.

    Raises:
        StateError: if the directory can't be made or locked, another writer does not finish, or one
            of the files can't be replaced; nothing was changed.
    """
    is_new = not directory.is_dir()
    made = [path for path in (directory, *directory.parents) if not path.is_dir()]
    make_folder(directory)
    try:
        with opened_folder(directory) as folder:
            check_folder_status(directory, folder.status())
            with locked(directory, wait_seconds=wait_seconds):
                try:
                    names = (layout.bundle, layout.crls) if trust_only else layout.file_names()
                    check_replaceable(folder, names, key=layout.key)
                    yield
                finally:
                    if is_new and folder.names() == [LOCK_NAME]:
                        # A process that waits for this lock notices that the file is gone.
                        folder.remove(LOCK_NAME)
    finally:
        for path in made:
            if not _remove_if_empty(path):
                break


def save_credential(credential: Credential, directory: Path, *, layout: Layout = HANDFAST) -> None:
    """Write a whole credential into a directory, which is made if it is missing.

    Raises:
        StateError: if a file can't be written; the old credential still works then.
    """
    with writer_lock(directory, layout=layout):
        save_trust(
            credential.bundle, credential.crls, directory, layout=layout, issuers=credential.chain
        )
        key_pem = private_key_to_pem(credential.key)
        if layout.chain is None:
            _write(directory, layout.key, key_pem + to_pem(credential.chain), PRIVATE)
            remove_durably(directory / layout.next_key)
            return
        _write_next_key(directory, layout, key_pem)
        _write(directory, layout.chain, to_pem(credential.chain), PUBLIC)
        promote_pending_key(directory, layout=layout)


def save_chain(
    chain: tuple[x509.Certificate, ...], directory: Path, *, layout: Layout = HANDFAST
) -> None:
    """Write only a chain: its key is in the directory already, or with the sender of a request.

    Raises:
        CredentialError: if the layout keeps key and chain in one file.
        StateError: if it can't be written.
    """
    name = require_chain_file(layout)
    with writer_lock(directory, layout=layout):
        _write(directory, name, to_pem(chain), PUBLIC)


def require_chain_file(layout: Layout) -> str:
    """Return the name of the file that holds only the chain.

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
    """Write the trust bundle and CRLs; leave key and chain as they are.

    Args:
        bundle: the trusted roots.
        crls: the CRLs; None leaves those in the directory.
        directory: the directory; made if it is missing.
        layout: its layout.
        issuers: further CAs. A newer CRL in the directory that one of them or a root signed stays.

    Raises:
        StateError: if a file can't be written.
    """
    with writer_lock(directory, layout=layout, trust_only=True):
        _write_if_changed(directory, layout.bundle, bundle.to_pem())
        if crls is not None:
            signers = (*issuers, *bundle.all_roots())
            kept = _keep_newer_crls(crls, directory, layout, signers)
            pem = to_pem([item.crl for item in kept.crls.values()])
            _write_if_changed(directory, layout.crls, pem)


def ensure_pending_key(
    directory: Path, new_key: PrivateKey, *, layout: Layout = HANDFAST
) -> PrivateKey:
    """Return the key for a renewal, which is on disk before the certificate is requested.

    An interrupted renewal leaves its key here. That key is used again, because the CA may have
    issued a certificate for it already.

    Args:
        directory: the credential directory.
        new_key: a new key; written and used if no key is pending.
        layout: the directory's layout.

    Raises:
        CredentialError: if other users own the pending key or may read it.
    """
    with writer_lock(directory, layout=layout), opened_folder(directory) as folder:
        try:
            files = CredentialFiles(directory, layout, KeyMode.STRICT, folder=folder)
            pending = files.next_key()
        except InputError:
            # Unusable. If a certificate was issued for it, the CA refuses the second renewal.
            pending = None
        if pending is None:
            _write_next_key(directory, layout, private_key_to_pem(new_key))
        return pending or new_key


def promote_pending_key(directory: Path, *, layout: Layout = HANDFAST) -> bool:
    """Replace the key by the pending one, if the chain already belongs to the pending one.

    Returns:
        Whether the key was replaced.

    Raises:
        CredentialError: if other users own the pending key or may read it.
    """
    pending = directory / layout.next_key
    if layout.chain is None or not pending.exists():
        return False
    with writer_lock(directory, layout=layout), opened_folder(directory) as folder:
        files = CredentialFiles(directory, layout, KeyMode.STRICT, folder=folder)
        try:
            key = files.next_key()
            of_leaf = public_key_fingerprint(public_key_of(files.leaf()))
        except InputError:
            # A damaged key or leaf must not stop the repair of the other files.
            return False
        if key is None or public_key_fingerprint(key.public_key()) != of_leaf:
            return False
        try:
            rename_durably(pending, directory / layout.key)
        except OSError as error:
            raise StateError(
                f"{quote_untrusted(pending)} can't be renamed: {error.strerror}"
            ) from error
        return True


def _write(directory: Path, name: str, data: bytes, widest: int) -> None:
    with opened_folder(directory) as folder:
        mode = mode_to_keep(folder, name, widest)
        write_durably(directory / name, data, mode=mode)


def _write_next_key(directory: Path, layout: Layout, data: bytes) -> None:
    """Write the key that is renamed over the current one, with the owner and mode of that one."""
    with opened_folder(directory) as folder:
        mode = mode_to_keep(folder, layout.key, PRIVATE)
        write_durably(directory / layout.next_key, data, mode=mode, like=layout.key)


def _write_if_changed(directory: Path, name: str, data: bytes) -> None:
    """Write a file unless it holds the data already, so that no watcher is woken needlessly."""
    try:
        with opened_folder(directory) as folder:
            existing, status = read_file_in(folder, name, max_bytes=len(data) + 1)
        if existing == data and not stat.S_IMODE(status.st_mode) & ~PUBLIC:
            return
    except (FileNotFoundError, StateError):
        pass
    _write(directory, name, data, PUBLIC)


def _keep_newer_crls(
    crls: CrlSet, directory: Path, layout: Layout, issuers: tuple[x509.Certificate, ...]
) -> CrlSet:
    """Return the CRLs to write: for each issuer the newer of the new CRL and the existing one.

    An existing CRL is kept only if one of the issuers signed it. Otherwise, a forged CRL with a
    high number would keep all later CRLs out.
    """
    try:
        with opened_folder(directory) as folder:
            data, _ = read_file_in(folder, layout.crls, max_bytes=MAX_CRLS_BYTES)
        existing = CrlSet.read(data)
    except (PkiError, FileNotFoundError):
        return crls
    newest = dict(crls.crls)
    for issuer, item in existing.crls.items():
        new = newest.get(issuer)
        if new is None or item.number <= new.number:
            continue
        if any(item.is_signed_by(ca) for ca in issuers if IssuerId.of_ca(ca) == issuer):
            newest[issuer] = item
    return CrlSet.of(newest.values())


def _remove_if_empty(folder: Path) -> bool:
    try:
        with opened_folder(folder.parent) as parent:
            parent.remove_folder(folder.name)
    except (OSError, StateError):
        return False
    return True
