"""Write credential directories that are not there yet: each appears whole, or not at all.

Their files are written into folders with other names, which are renamed when all of them are on
disk: many directories wait for the disk once. A crash before that leaves folders that begin with a
dot, end in ``.tmp``, and are harmless.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pki.errors import PkiError, StateError, quote_untrusted
from pki.files.atomic import make_folder
from pki.files.layouts import Layout
from pki.files.open_folder import PRIVATE, PUBLIC, opened_folder
from pki.keys import private_key_to_pem
from pki.x509 import Credential
from pki.x509.readers import to_pem

_EXISTS = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})


@dataclass(slots=True)
class NewDirectory:
    """A credential directory to write.

    Args:
        path: the directory, which is not there, or empty.
        credential: with its CRLs.
        layout: its layout.
        error: why it could not be written.
        is_in_place: whether it is there.
    """

    path: Path
    credential: Credential
    layout: Layout
    error: PkiError | None = None
    is_in_place: bool = False


def write_new_directories(directories: Iterable[NewDirectory]) -> None:
    """Write directories; one that fails does not stop the others, and has its ``error`` then."""
    written: list[tuple[NewDirectory, str]] = []
    try:
        _write_each(directories, written)
    except BaseException:
        # An interrupt: keys that nobody uses are left nowhere.
        for item, temporary in written:
            if not item.is_in_place:
                _remove(item, temporary)
        raise


def _write_each(
    directories: Iterable[NewDirectory], written: list[tuple[NewDirectory, str]]
) -> None:
    """Write directories; keep in ``written`` which folders lie beside those that are to appear."""
    encode = _trust_encoder()
    for item in directories:
        temporary = _attempt(item, lambda item: _write_aside(item, encode))
        if temporary is not None:
            written.append((item, temporary))
    parents = {item.path.parent for item, _ in written}
    failed = {parent: error for parent in parents if (error := _synced(parent)) is not None}
    for item, temporary in written:
        item.error = failed.get(item.path.parent)
        if item.error is None:
            _attempt(item, lambda item, name=temporary: _appear(item, name))  # type: ignore[misc]
        if item.error is not None:
            _remove(item, temporary)
    for parent in parents - set(failed):
        error = _synced(parent)
        for item, _ in written:
            if item.path.parent == parent:
                item.error = item.error or error


def _attempt(item: NewDirectory, step: Callable[[NewDirectory], str]) -> str | None:
    try:
        return step(item)
    except PkiError as error:
        item.error = error
    except OSError as error:
        item.error = _failure(item, error)
    return None


def _write_aside(item: NewDirectory, encode: _EncodeTrust) -> str:
    """Write the files into a folder beside the directory; return its name."""
    credential, layout = item.credential, item.layout
    bundle, crls = encode(credential)
    key, chain = private_key_to_pem(credential.key), to_pem(credential.chain)
    files = {layout.bundle: (bundle, PUBLIC), layout.crls: (crls, PUBLIC)}
    if layout.chain is None:
        files[layout.key] = (key + chain, PRIVATE)
    else:
        files.update({layout.key: (key, PRIVATE), layout.chain: (chain, PUBLIC)})
    parent = item.path.parent
    if not parent.is_dir():
        make_folder(parent)
    # Without the directory's own name, which may be as long as a name can be.
    temporary = f".new.{secrets.token_hex(8)}.tmp"
    with opened_folder(parent) as above:
        try:
            with above.made_folder(temporary) as folder:
                for name, (data, mode) in files.items():
                    folder.create(name, data, mode=mode)
        except BaseException:
            _remove(item, temporary)
            raise
    return temporary


def _appear(item: NewDirectory, temporary: str) -> str:
    with opened_folder(item.path.parent) as parent:
        parent.rename(temporary, item.path.name)
    item.is_in_place = True
    return temporary


def _remove(item: NewDirectory, temporary: str) -> None:
    with suppress(OSError, StateError), opened_folder(item.path.parent) as parent:
        with opened_folder(parent.path / temporary) as folder:
            for name in folder.names():
                folder.remove(name)
        parent.remove_folder(temporary)


def _failure(item: NewDirectory, error: OSError) -> StateError:
    if error.errno in _EXISTS:
        return StateError(
            f"{quote_untrusted(item.path)} was made by somebody else meanwhile",
            remedy="Run this again, which looks at what is there",
        )
    return StateError(
        f"{quote_untrusted(item.path)} can't be written: {error.strerror or error}",
        remedy="It is as it was; check the folder and try again",
    )


_EncodeTrust = Callable[[Credential], tuple[bytes, bytes]]


def _trust_encoder() -> _EncodeTrust:
    """Return a function that encodes bundle and CRLs, once where many credentials share them."""
    known: list[tuple[object, object, bytes, bytes]] = []

    def encode(credential: Credential) -> tuple[bytes, bytes]:
        bundle, crls = credential.bundle, credential.crls
        if not known or known[0][0] is not bundle or known[0][1] is not crls:
            pem = to_pem([item.crl for item in crls.crls.values()]) if crls is not None else b""
            known[:] = [(bundle, crls, bundle.to_pem(), pem)]
        return known[0][2:]

    return encode


def _synced(folder: Path) -> PkiError | None:
    """Make all that was written in a folder's file system durable."""
    try:
        with opened_folder(folder) as opened:
            _sync_file_system(opened.descriptor)
    except PkiError as error:
        return error
    except OSError as error:
        return StateError(
            f"what was written in {quote_untrusted(folder)} may be lost if the machine stops now: "
            f"{error.strerror or error}",
            remedy="Check the disk and try again",
        )
    return None


def _sync_file_system(descriptor: int) -> None:
    sync = _syncfs()
    if sync is None:
        os.sync()
    elif sync(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@functools.cache
def _syncfs() -> Callable[[int], int] | None:
    """Return Linux' call that waits for one file system; Python has only the one for all."""
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    return found
