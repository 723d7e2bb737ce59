"""Check the files of the ledger around their opening, because SQLite opens them by path.

Root may work with the CA of another user, who can swap the folder or a file in it for a link to
root's own ledger at any time. So the files are checked before SQLite opens them, and after it, and
before it writes, that it has opened these very files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from pki.authority.ledger.beside.reserve import RESERVE
from pki.errors import StateError, quote_untrusted
from pki.files.access import check_folder_status, distrust_reason, trusted_owners
from pki.files.open_folder import OpenFolder, opened_folder
from pki.files.safe_path import ROOT

MARK = "ledger.mark"
_OWN_DESCRIPTORS = Path("/proc/self/fd")


def check_ledger_files(ledger: Path) -> None:
    """Check that no untrusted user can change a ledger or its folder, or lead root elsewhere by it.

    Args:
        ledger: the ledger's path; its folder exists, the file itself need not.

    Raises:
        StateError: if such a user can; nothing was changed.
    """
    _check_beside(ledger)
    if os.geteuid() == ROOT:
        # SQLite keeps the write-ahead log where a link in place of the ledger leads.
        _check_beside(Path(os.path.realpath(ledger)))


def check_opened_files(ledger: Path, *suffixes: str) -> None:
    """Check, after SQLite has opened files of a ledger, that root was not led to others meanwhile.

    Args:
        ledger: the ledger's path.
        suffixes: of the files that SQLite has opened, e.g. ``-wal``; empty for the ledger itself.

    Raises:
        StateError: if SQLite has opened other files than those at these paths.
    """
    if os.geteuid() != ROOT or not _OWN_DESCRIPTORS.is_dir():
        return
    check_ledger_files(ledger)
    opened = _own_files()
    ledger = Path(os.path.realpath(ledger))
    with opened_folder(ledger.parent) as folder:
        for suffix in suffixes:
            name = f"{ledger.name}{suffix}"
            status = _status(folder, name)
            if status is not None and (status.st_dev, status.st_ino) not in opened:
                raise StateError(
                    f"{quote_untrusted(folder.path / name)} was replaced while it was opened",
                    remedy="Find out who changes this folder",
                )


def _check_beside(ledger: Path) -> None:
    with opened_folder(ledger.parent) as folder:
        check_folder_status(folder.path, folder.status())
        owners = trusted_owners(folder.status())
        for name in _names(folder, ledger.name):
            _check_file(folder, name, owners)


def _names(folder: OpenFolder, ledger: str) -> list[str]:
    others = (name for name in sorted(folder.names()) if name.startswith(f"{ledger}-"))
    return [ledger, *others, MARK, RESERVE]


def _check_file(folder: OpenFolder, name: str, owners: frozenset[int]) -> None:
    status = _status(folder, name)
    if status is None:
        return
    if not stat.S_ISREG(status.st_mode):
        raise StateError(f"{quote_untrusted(folder.path / name)} is no regular file")
    why = distrust_reason(status, owners)
    if why:
        raise StateError(
            f"{quote_untrusted(folder.path / name)} {why}",
            remedy="Find out who changed it; then give it to the CA's user, with mode 0600",
        )


def _status(folder: OpenFolder, name: str) -> os.stat_result | None:
    try:
        return folder.status_behind(name)
    except OSError as error:
        raise StateError(
            f"{quote_untrusted(folder.path / name)} can't be checked: {error.strerror or error}",
            remedy="Find out who put it there, and put the file itself in its place",
        ) from error


def _own_files() -> set[tuple[int, int]]:
    """Return the device and the inode of each file that this process has open."""
    files = set()
    for name in os.listdir(_OWN_DESCRIPTORS):
        try:
            status = os.fstat(int(name))
        except OSError:
            continue  # Closed meanwhile, as is the descriptor of the list itself.
        files.add((status.st_dev, status.st_ino))
    return files


def refuse_other_ledger(ledger: object, key_ids: Iterable[str], ca_files: Iterable[str]) -> None:
    """Refuse a ledger if the issuing CAs whose keys are in the CA's directory are none of its own.

    Args:
        ledger: names the ledger.
        key_ids: of the CAs in it.
        ca_files: the names of the files in the CA's directory.

    Raises:
        StateError: if it is another CA's.
    """
    names = [name.split(".")[0] for name in ca_files if name.startswith("issuing-")]
    if names and {f"issuing-{key_id}" for key_id in key_ids}.isdisjoint(names):
        raise StateError(
            f"the ledger {quote_untrusted(ledger)} belongs to another CA than the keys in "
            "the CA's folder",
            remedy="Name this CA's ledger",
        )
