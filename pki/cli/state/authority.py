"""Opens the CA in the state folder, with the passphrase of its keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pki.authority import Authority
from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger.ledger import WRITING, LedgerAccess
from pki.cli.options import ca_directory
from pki.cli.output import print_error
from pki.cli.state.key_access import ca_passphrase, passphrase_remedy, token_access
from pki.cli.state.ledger_place import ledger_elsewhere
from pki.cli.state.meant_path import no_ca_remedy
from pki.errors import StateError
from pki.files.access import check_folder_status
from pki.files.open_folder import opened_folder


def open_authority(
    state: Path,
    *,
    read_only: bool = False,
    passphrase_file: Path | None = None,
    module: Path | None = None,
    ledger: Path | None = None,
    access: LedgerAccess = WRITING,
) -> Authority:
    """Open the CA in a state folder.

    Args:
        state: the folder.
        read_only: publish nothing, and ask nobody for a passphrase.
        passphrase_file: the file with the passphrase of its keys.
        module: the PKCS#11 module.
        ledger: the ledger, if it is not in the CA's folder; None asks the environment.
        access: how to open the ledger.

    Raises:
        StateError: if there is no CA, or another user can change or replace it.
    """
    if state.is_dir():
        with opened_folder(state) as folder:
            check_folder_status(state, folder.status())
    ledger = ledger or ledger_elsewhere()
    with ca_suggested(state):
        is_needed = not read_only and AuthorityDirectory(ca_directory(state)).needs_passphrase()
        authority = Authority.open(
            ca_directory(state),
            passphrase=ca_passphrase(passphrase_file, is_needed=is_needed),
            tokens=token_access(module),
            ledger=ledger,
            read_only=read_only,
            passphrase_remedy=passphrase_remedy(passphrase_file),
            access=access,
        )
    if not read_only:
        authority.log_in()
    for warning in authority.migration_warnings():
        print_error(f"note: {warning}")
    return authority


@contextmanager
def ca_suggested(state: Path) -> Iterator[None]:
    """Let an error about a state folder without a CA suggest where the CA may be."""
    try:
        yield
    except StateError as error:
        directory = AuthorityDirectory(ca_directory(state), ledger_file=ledger_elsewhere())
        if not os.path.lexists(directory.ledger) and (
            not state.is_dir() or not directory.ca_files()
        ):
            error.remedy = no_ca_remedy(state)
        raise
