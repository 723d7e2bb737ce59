"""Opens the CA in the state folder, with the passphrase of its keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pki.authority import Authority
from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger.beside.reserve import Reserve, is_for_lack_of_room
from pki.authority.ledger.databases.access import WRITING, LedgerAccess
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.signers import TokenAccess
from pki.cli.options import ca_directory
from pki.cli.output import print_error
from pki.cli.state.key_access import ca_passphrase, passphrase_remedy, token_access
from pki.cli.state.ledger_place import ledger_elsewhere
from pki.cli.state.meant_path import no_ca_remedy
from pki.errors import LedgerError, OlderLedgerError, StateError
from pki.files.access import check_folder_status
from pki.files.open_folder import opened_folder

URGENT = LedgerAccess(wait_seconds=5.0)
"""For a command that revokes something: it waits no longer for another process that writes."""


def open_authority(
    state: Path,
    *,
    read_only: bool = False,
    passphrase_file: Path | None = None,
    module: Path | None = None,
    ledger: LedgerPlace | None = None,
    access: LedgerAccess = WRITING,
    tokens: TokenAccess | None = None,
) -> Authority:
    """Open the CA in a state folder.

    Args:
        state: the folder.
        read_only: publish nothing, and ask nobody for a passphrase.
        passphrase_file: the file with the passphrase of its keys.
        module: the PKCS#11 module.
        ledger: the ledger, if it is not in the CA's folder; None asks the environment.
        access: how to open the ledger.
        tokens: how to reach PKCS#11 tokens; None for the module, and what the environment says.

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
            tokens=tokens or token_access(module),
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


def open_to_show(state: Path) -> Authority:
    """Open the CA for a command that only shows it, also where its ledger can't be written now.

    Args:
        state: the folder.

    Raises:
        StateError: as :func:`open_authority`.
    """
    try:
        return open_authority(state, read_only=True)
    except OlderLedgerError:
        raise
    except LedgerError:
        return open_authority(state, read_only=True, access=LedgerAccess(for_reading=True))


def open_urgently(
    state: Path, *, read_only: bool = False, passphrase_file: Path | None = None
) -> Authority:
    """Open the CA for what revokes something: it waits for seconds, and a full disk stops it not.

    Args:
        state: the folder.
        read_only: publish nothing, and ask nobody for a passphrase.
        passphrase_file: the file with the passphrase of its keys.

    Raises:
        LedgerError: if the ledger can't be written all the same.
        StateError: as :func:`open_authority`.
    """

    def opened() -> Authority:
        return open_authority(
            state, read_only=read_only, passphrase_file=passphrase_file, access=URGENT
        )

    try:
        return opened()
    except OlderLedgerError:
        raise
    except LedgerError as error:
        home = AuthorityDirectory(ca_directory(state), elsewhere=ledger_elsewhere())
        disk = home.home.disk
        if not is_for_lack_of_room(error, disk) or not Reserve(disk, home.crls).release():
            error.remedy = error.remedy or (
                "Nothing was changed. See why the ledger can't be written: its disk (df), and who "
                "holds it (fuser)"
            )
            raise
    return opened()


@contextmanager
def ca_suggested(state: Path) -> Iterator[None]:
    """Let an error about a state folder without a CA suggest where the CA may be."""
    try:
        yield
    except StateError as error:
        directory = AuthorityDirectory(ca_directory(state), elsewhere=ledger_elsewhere())
        if not directory.ledger.exists() and (not state.is_dir() or not directory.ca_files()):
            error.remedy = no_ca_remedy(state)
        raise
