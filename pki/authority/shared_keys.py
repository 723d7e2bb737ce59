"""The files of CA keys that replicas on other machines need too: they lie in the shared ledger.

Whoever can write to the database need not be allowed to do anything on a replica's machine. So:

1. A key that is not encrypted stays in the CA's folder alone, and none is taken from the ledger.
   The root's key never leaves the folder.
2. Of a key in a token, the ledger says in which token it is and what it is called there, and no
   more. A module is code that would be run, a ``pin-source`` a file that would be read and sent to
   a token. A row that names one is refused. Both are named on each machine, by its own
   configuration or in its own folder.
3. What is written into the folder is composed here, never copied from such a row.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from pki.authority.directory import AUDIT_KEY, AuthorityDirectory
from pki.authority.ledger import Ledger, Transaction
from pki.authority.signers import Pkcs11Uri
from pki.authority.signers.key_file import MAX_KEY_FILE_BYTES, parse_key_file, write_key_file
from pki.errors import InputError, PkiError, StateError, quote_untrusted
from pki.files import write_durably
from pki.files.atomic import read_file_in
from pki.files.open_folder import PRIVATE, opened_folder
from pki.keys.encoding import MAX_KEY_BYTES
from pki.pem import read_blocks

MAX_SHARED_BYTES = max(MAX_KEY_BYTES, MAX_KEY_FILE_BYTES)
"""The most that a shared file has."""
_REFERENCE = ".toml"
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
    for file in (name, name.removesuffix(".pem") + _REFERENCE):
        try:
            with opened_folder(directory.path) as folder:
                data, _ = read_file_in(folder, file, max_bytes=MAX_SHARED_BYTES)
        except FileNotFoundError:
            continue
        if file.endswith(_REFERENCE):
            uri = parse_key_file(data)
            transaction.key_files.put(file, write_key_file(replace(uri, pin_source=None)))
        elif _is_encrypted(data):
            transaction.key_files.put(file, data)


def take_key_files(directory: AuthorityDirectory, ledger: Ledger) -> None:
    """Write the files of keys that other replicas have put into the ledger, and that are not here.

    Raises:
        StateError: if one can't be written, or as :func:`shared_key_files`.
    """
    if not ledger.place.is_shared:
        return
    with ledger.snapshot() as transaction:
        files = shared_key_files(ledger, transaction)
    for name, contents in files.items():
        stem = directory.path / f"{name.rpartition('.')[0]}.pem"
        if directory.holds_key(stem) or os.path.lexists(directory.path / name):
            continue
        if name.endswith(_REFERENCE):
            uri = parse_key_file(contents)
            own = write_key_file(replace(uri, pin_source=_own_pin_source(directory, uri)))
        else:
            own = contents
        write_durably(directory.path / name, own, mode=PRIVATE, replace=False)


def shared_key_files(ledger: Ledger, transaction: Transaction) -> dict[str, bytes]:
    """Return the files of keys in the ledger, as they may be written on any machine.

    Raises:
        StateError: if the ledger holds what is no key's file, a key that is not encrypted, or names
            a file of the machine that reads it.
    """
    files = transaction.key_files.all()
    return {name: _checked(name, contents, ledger) for name, contents in files.items()}


def _checked(name: str, contents: bytes, ledger: Ledger) -> bytes:
    is_in_token = _NAME.fullmatch(name) is not None and name.endswith(_REFERENCE)
    if is_in_token and len(contents) <= MAX_KEY_FILE_BYTES:
        try:
            uri = parse_key_file(contents)
        except InputError as error:
            raise _refusal(ledger, name, error.message) from None
        if uri.pin_source is not None:
            raise _refusal(
                ledger, name, "it names a file with a PIN, which each machine names itself"
            )
        return write_key_file(uri)
    is_named_so = not is_in_token and (name == AUDIT_KEY or _NAME.fullmatch(name) is not None)
    if is_named_so and _is_encrypted(contents):
        return contents
    raise _refusal(ledger, name, "it is no key of a CA, or not encrypted")


def _refusal(ledger: Ledger, name: str, why: str) -> StateError:
    return StateError(
        f"ledger {quote_untrusted(ledger.place)} holds the file {quote_untrusted(name)}, which is "
        f"not taken: {why}",
        remedy="No CA puts such a file there. Find out who did: it is in the database's table "
        "key_files",
    )


def _is_encrypted(contents: bytes) -> bool:
    """Return whether a file holds one encrypted key, and nothing that a reader could take for it.

    Who writes to the database does not know the CA's passphrase, so can't choose such a key.
    """
    try:
        blocks = read_blocks(contents, what="key", max_bytes=MAX_KEY_BYTES)
    except InputError:
        return False
    return [block.label for block in blocks] == ["ENCRYPTED PRIVATE KEY"]


def _own_pin_source(directory: AuthorityDirectory, uri: Pkcs11Uri) -> Path | None:
    """Return the PIN file that this machine's folder names for the token of a key, if it does."""
    for name in directory.ca_files():
        if not name.endswith(f".key{_REFERENCE}"):
            continue
        path = (directory.path / name).with_suffix(".pem")
        try:
            own = directory.key_uri(path, what="a key of the CA")
        except PkiError:
            # Whoever needs that key says what is wrong with it.
            continue
        if own is not None and own.pin_source is not None and own.names_token_of(uri):
            return own.pin_source
    return None
