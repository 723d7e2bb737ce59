"""The files of CA keys that replicas on other machines need too: they lie in the shared ledger.

A key that is not encrypted stays in the CA's folder alone. The root's never leaves it.
"""

from __future__ import annotations

import os
import re

from pki.authority.directory import AUDIT_KEY, AuthorityDirectory
from pki.authority.ledger import Ledger, Transaction
from pki.authority.signers.key_file import MAX_KEY_FILE_BYTES
from pki.errors import StateError, quote_untrusted
from pki.files import write_durably
from pki.files.atomic import read_file_in
from pki.files.open_folder import PRIVATE, opened_folder
from pki.keys.encoding import MAX_KEY_BYTES

_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
MAX_SHARED_BYTES = max(MAX_KEY_BYTES, MAX_KEY_FILE_BYTES)
"""The most that a shared file has."""
_NAME = re.compile(r"issuing-[0-9a-f]{16}\.key\.(pem|toml)")


def share_key_file(
    directory: AuthorityDirectory, ledger: Ledger, transaction: Transaction, name: str
) -> None:
    """Put a key's file into a ledger that replicas share, if the key is encrypted or in a token.

    Args:
        directory: the CA's files.
        ledger: the ledger.
        transaction: that names the key.
        name: of the file of a key in a file; that of one in a token ends with ``.toml``.
    """
    if not ledger.place.is_shared:
        return
    for file in (name, name.removesuffix(".pem") + ".toml"):
        try:
            with opened_folder(directory.path) as folder:
                data, _ = read_file_in(folder, file, max_bytes=MAX_SHARED_BYTES)
        except FileNotFoundError:
            continue
        if file.endswith(".toml") or _ENCRYPTED in data:
            transaction.key_files.put(file, data)


def take_key_files(directory: AuthorityDirectory, ledger: Ledger) -> None:
    """Write the files of keys that other replicas have put into the ledger, and that are not here.

    Raises:
        StateError: if one can't be written, or the ledger holds a file that is no key's.
    """
    if not ledger.place.is_shared:
        return
    with ledger.snapshot() as transaction:
        files = transaction.key_files.all()
    for name, contents in files.items():
        is_named_so = name == AUDIT_KEY or _NAME.fullmatch(name)
        is_closed = name.endswith(".toml") or _ENCRYPTED in contents
        if not is_named_so or not is_closed or len(contents) > MAX_SHARED_BYTES:
            # Who can write to the database must not choose what is written here, and does not know
            # the CA's passphrase.
            raise StateError(
                f"ledger {quote_untrusted(ledger.place)} holds the file {quote_untrusted(name)}, "
                "which is no key of a CA, or not encrypted",
                remedy="Find out who put it there",
            )
        stem = directory.path / f"{name.rpartition('.')[0]}.pem"
        if not directory.holds_key(stem) and not os.path.lexists(directory.path / name):
            write_durably(directory.path / name, contents, mode=PRIVATE, replace=False)
