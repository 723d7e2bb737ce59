"""Check who may change a file: the trusted owners, and the modes that let others write.

A file is trusted only if nobody can change it but root, this process's user and, if that is root,
the owner of the folder. In a folder that only root can change, root also trusts the owner of the
key: root gave the key to the service that uses it. Volumes of Kubernetes secrets pass: their files
belong to root, their group may read them, and their folder is sticky. Where files are only read,
links are followed and their targets are checked; a link is never replaced.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pki.errors import CredentialError, StateError, quote_untrusted
from pki.files.open_folder import OpenFolder
from pki.files.safe_path import ROOT as _ROOT
from pki.files.safe_path import only_root_can_change


def trusted_owners(folder: os.stat_result) -> frozenset[int]:
    """Return the users whose files in a folder are trusted."""
    owners = {_ROOT, os.geteuid()}
    if os.geteuid() == _ROOT:
        # Root manages other users' credentials, and a folder's owner can change it anyway.
        owners.add(folder.st_uid)
    return frozenset(owners)


def is_writable_by_all(status: os.stat_result) -> bool:
    """Return whether everybody may change a file, or the entries of a folder."""
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    return bool(status.st_mode & stat.S_IWOTH and not sticky)


def distrust_reason(status: os.stat_result, owners: frozenset[int]) -> str:
    """Return why an untrusted user can change a file or a folder; empty if none can.

    The write bit of root's group and of the process's own group is accepted: a umask of 002 sets
    it on systems where each user has an own group.
    """
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in owners:
        return f"belongs to user {status.st_uid}"
    if is_writable_by_all(status):
        return f"has mode {mode:04o}: everybody may write to it"
    sticky = stat.S_ISDIR(status.st_mode) and mode & stat.S_ISVTX
    if mode & stat.S_IWGRP and not sticky and status.st_gid not in (_ROOT, os.getegid()):
        return f"has mode {mode:04o}: group {status.st_gid} may write to it"
    return ""


def check_folder_status(folder: Path, status: os.stat_result) -> None:
    """Check by a folder's status that no untrusted user can put files into it.

    Raises:
        StateError: if one can.
    """
    reason = distrust_reason(status, trusted_owners(status))
    if reason:
        raise StateError(
            f"folder {quote_untrusted(folder)} {reason}",
            remedy="Let only its user write to it (chown, chmod go-w), and check the files in it",
        )


def owners_in(folder: OpenFolder, key: str) -> frozenset[int]:
    """Return the users whose files in a credential directory are trusted by whoever writes there.

    Args:
        folder: the directory.
        key: the name of its key file.
    """
    status = folder.status()
    owners = trusted_owners(status)
    key_status = folder.status_of(key)
    if os.geteuid() == _ROOT and key_status is not None and only_root_can_change(status):
        owners |= {key_status.st_uid}
    return owners


def check_replaceable(folder: OpenFolder, names: tuple[str, ...], *, key: str) -> None:
    """Check that files of a folder can be replaced, and keep their owner and group.

    Args:
        folder: the folder.
        names: of the files; they need not exist.
        key: the name of the key file.

    Raises:
        StateError: if one can't be replaced; nothing was changed.
    """
    if not folder.is_writable():
        raise StateError(
            f"{quote_untrusted(folder.path)} can't be written to",
            remedy="Run this as the user that it belongs to, or make it writable for this user",
        )
    owners = owners_in(folder, key)
    for name in names:
        _check_file_replaceable(folder, name, owners)
    folder.check_can_give(frozenset(folder.owner_for(name) for name in names))


def mode_to_keep(folder: OpenFolder, name: str, widest: int) -> int:
    """Return the mode for a file that is replaced: never wider than it is, nor than ``widest``."""
    status = folder.status_of(name)
    if status is None:
        return widest
    return (stat.S_IMODE(status.st_mode) & widest) | (stat.S_IRUSR | stat.S_IWUSR)


def _check_file_replaceable(folder: OpenFolder, name: str, owners: frozenset[int]) -> None:
    path = folder.path / name
    try:
        status = folder.status_of(name)
    except OSError as error:
        raise StateError(f"{quote_untrusted(path)} can't be checked: {error.strerror}") from error
    if status is None:
        return
    if not stat.S_ISREG(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no regular file"
        raise StateError(
            f"{quote_untrusted(path)} is {kind}, and is not replaced",
            remedy="Move it away, or choose another folder",
        )
    me = os.geteuid()
    if status.st_uid not in owners or me not in (_ROOT, status.st_uid):
        raise CredentialError(
            f"{quote_untrusted(path)} belongs to user {status.st_uid}, and this is user {me}",
            remedy="Give it to the owner of its folder (chown), or move it away if it should not "
            "be there"
            if me == _ROOT
            else "Run this as that user or as root; move the file away if it should not be there",
        )
    if me != _ROOT and status.st_gid not in (os.getegid(), *os.getgroups()):
        raise StateError(
            f"{quote_untrusted(path)} belongs to group {status.st_gid}, which user {me} is not in",
            remedy="Run this as root, or give the file to a group of that user",
        )
