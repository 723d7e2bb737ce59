"""Make a backup of a CA while it runs.

1. What is pending is read first: its file is emptied once the ledger holds it, and so it is in the
   one or in the other, or in both, which does no harm.
2. All tables are read in one snapshot of the ledger. Nobody waits for it: others write meanwhile.
3. The keys are read last: a key is on disk before the ledger names its certificate.
4. Keys are copied as they are on disk: encrypted if they are encrypted there. A key in a token
   stays there; the backup holds the file that names it.
5. The file has mode 0600 from its first byte on. It is there once it is whole and on disk, and
   never in place of another file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

from pki.authority.audit import log_origin
from pki.authority.backups.archive import ArchiveWriter
from pki.authority.backups.manifest import Manifest
from pki.authority.backups.rows import count_rows, ledger_tables, read_rows
from pki.authority.context import AuthorityContext
from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger import IssuerKind, Transaction, tables
from pki.authority.ledger.databases.schema import SCHEMA_VERSION
from pki.authority.pending.file import KEPT, PENDING
from pki.errors import StateError, quote_untrusted
from pki.files import HANDFAST
from pki.files.atomic import read_file_in, refuse_irregular
from pki.files.open_folder import PRIVATE, opened_folder
from pki.version import __version__

# Keys and where they are, the CA's policy and other settings, what it published, its evidence.
_FILES = re.compile(
    rf"[A-Za-z0-9_][A-Za-z0-9_.-]*\.(?:key\.pem|toml|checkpoint|vkey)"
    rf"|{re.escape(HANDFAST.bundle)}|{re.escape(HANDFAST.crls)}",
    re.ASCII,
)
_MAX_FILE_BYTES = 256 * 1024 * 1024
FILES, LEDGER = "files/", "ledger/"


def make_backup(context: AuthorityContext, path: Path) -> Manifest:
    """Write a backup of a CA to a new file with mode 0600; return what it holds.

    Args:
        context: the CA, which others may use and change meanwhile.
        path: of the new file; its folder exists.

    Raises:
        StateError: if the file is there already, or it or the CA's files can't be read or written.
        OlderLedgerError: if the ledger is an older copy.
    """
    refuse_irregular(path)
    failure = f"{quote_untrusted(path)} can't be written"
    try:
        with opened_folder(path.parent, failure=failure) as folder:
            with folder.writing(path.name, mode=PRIVATE, replace=False) as file:
                manifest = _write(context, file)
            folder.sync()
    except FileExistsError:
        raise StateError(
            f"{quote_untrusted(path)} is there already, and a backup replaces no other file",
            remedy="Name another file with --out",
        ) from None
    except OSError as error:
        raise StateError(f"{failure}: {error.strerror or error}") from error
    return manifest


def _write(context: AuthorityContext, file: BinaryIO) -> Manifest:
    made_at = context.now()
    archive = ArchiveWriter(file, made_at)
    directory = context.directory
    _add_files(archive, directory, [PENDING, KEPT])
    with context.ledger.snapshot(newest=True) as transaction:
        _add_rows(archive, transaction)
        state, head = transaction.state(), transaction.audit.head()
        certificates = count_rows(transaction.connection, tables.certificates)
        origin = log_origin(head.verifier_key, context.settings.limits.trust_domain)
        holds_root_key = any(
            context.root_key_path(item, transaction).is_file()
            for item in transaction.issuers()
            if item.kind is IssuerKind.ROOT
        )
    names = [name for name in _names(directory) if _FILES.fullmatch(name)]
    _add_files(archive, directory, names)
    manifest = Manifest(
        __version__,
        made_at,
        context.settings.limits.trust_domain.name,
        SCHEMA_VERSION,
        state.ledger_id,
        state.sequence,
        certificates,
        origin,
        head.size,
        head.root.hex(),
        _keys_elsewhere(directory, names),
        holds_root_key,
        tuple(archive.parts),
    )
    archive.finish(manifest)
    return manifest


def _add_rows(archive: ArchiveWriter, transaction: Transaction) -> None:
    for table in ledger_tables():
        with archive.part(f"{LEDGER}{table.name}.jsonl") as part:
            for line in read_rows(transaction.connection, table):
                part.write(line)


def _add_files(archive: ArchiveWriter, directory: AuthorityDirectory, names: list[str]) -> None:
    with opened_folder(directory.path) as folder:
        for name in names:
            try:
                data, _ = read_file_in(folder, name, max_bytes=_MAX_FILE_BYTES)
            except FileNotFoundError:
                # Nothing is pending; or a key that nobody needs any more was removed just now.
                continue
            with archive.part(f"{FILES}{name}") as part:
                part.write(data)


def _names(directory: AuthorityDirectory) -> list[str]:
    with opened_folder(directory.path) as folder:
        return sorted(folder.names())


def _keys_elsewhere(directory: AuthorityDirectory, names: list[str]) -> dict[str, str]:
    """Return the URIs of the keys that are in a token, by the names of their files."""
    found = {}
    for name in names:
        if name.endswith(".key.toml"):
            path = (directory.path / name).with_suffix(".pem")
            found[name] = str(directory.key_uri(path, what="a key of the CA"))
    return found
