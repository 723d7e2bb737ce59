"""Opens the CA in the state folder, with the passphrase of its keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pki.authority import Authority
from pki.authority.directory import AuthorityDirectory
from pki.cli.options import ca_directory
from pki.cli.output import print_error
from pki.cli.state.meant_path import no_ca_remedy
from pki.errors import InputError, StateError, quote_untrusted
from pki.files.access import check_folder_status, distrust_reason, trusted_owners
from pki.files.open_folder import opened_folder
from pki.files.passphrase import read_first_line

PASSPHRASE_VARIABLE = "HANDFAST_CA_PASSPHRASE_FILE"  # noqa: S105 - no secret


def open_authority(state: Path, *, read_only: bool = False) -> Authority:
    """Open the CA in a state folder; with ``read_only`` nothing is published.

    The passphrase of its keys, if they have one, is read from the file that
    ``HANDFAST_CA_PASSPHRASE_FILE`` names.

    Raises:
        StateError: if there is no CA, or another user can change or replace it.
    """
    if state.is_dir():
        with opened_folder(state) as folder:
            check_folder_status(state, folder.status())
    with ca_suggested(state):
        authority = Authority.open(
            ca_directory(state),
            passphrase=ca_passphrase(),
            read_only=read_only,
            passphrase_remedy=passphrase_remedy(),
        )
    for warning in authority.migration_warnings():
        print_error(f"note: {warning}")
    return authority


@contextmanager
def ca_suggested(state: Path) -> Iterator[None]:
    """Let an error about a state folder without a CA suggest where the CA may be."""
    try:
        yield
    except StateError as error:
        directory = AuthorityDirectory(ca_directory(state))
        if not os.path.lexists(directory.ledger) and (
            not state.is_dir() or not directory.ca_files()
        ):
            error.remedy = no_ca_remedy(state)
        raise


def passphrase_remedy() -> str:
    """Return what to do if the passphrase of the CA's keys is missing or wrong."""
    named = os.environ.get(PASSPHRASE_VARIABLE)
    if not named:
        return (
            f"Put the passphrase into a file that only this user can read, and name it: "
            f"{PASSPHRASE_VARIABLE}=FILE"
        )
    return (
        f"The passphrase was the first line of {quote_untrusted(named)}, which "
        f"{PASSPHRASE_VARIABLE} names: check both"
    )


def ca_passphrase() -> bytes | None:
    """Read the passphrase of the CA's keys, if one is set.

    It is the file's first line: all bytes before the first line feed, without a carriage return
    right before it. Further lines are not read.

    Raises:
        PkiError: if the file can't be read, is no regular file, or another user can change it, or
            if that line is empty.
    """
    named = os.environ.get(PASSPHRASE_VARIABLE)
    if not named:
        return None
    path = Path(named)
    try:
        first, status = read_first_line(path)
    except StateError as error:
        error.remedy = error.remedy or f"{PASSPHRASE_VARIABLE} names it: set it right"
        raise
    try:
        why = distrust_reason(status, trusted_owners(path.parent.stat()))
    except OSError as error:
        raise StateError(f"passphrase file {quote_untrusted(path)}: {error.strerror}") from error
    if why:
        raise StateError(
            f"passphrase file {quote_untrusted(path)} {why}",
            remedy="Give it to this user or to root, writable for them alone; "
            f"{PASSPHRASE_VARIABLE} names it",
        )
    if not first:
        raise InputError(
            f"the first line of passphrase file {quote_untrusted(path)} is empty",
            remedy="Put the passphrase there, and nothing before it; "
            f"{PASSPHRASE_VARIABLE} names it",
        )
    return first
