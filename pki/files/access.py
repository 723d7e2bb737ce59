"""Check who may change a file: the trusted owners, and the modes that let others write.

A file is trusted only if nobody can change it but root, this process's user and, if that is root,
the owner of the folder. Volumes of Kubernetes secrets pass: their files belong to root, their group
may read them, and their folder is sticky. Links are followed, and their targets are checked.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pki.errors import CredentialError, StateError, quote_untrusted

_ROOT = 0


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


def check_directory_access(folder: Path) -> os.stat_result:
    """Check that no untrusted user can put files into a folder; return its status.

    Raises:
        StateError: if one can, or it is no folder, or can't be checked.
    """
    try:
        status = folder.stat()
    except OSError as error:
        raise StateError(f"{quote_untrusted(folder)} can't be checked: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise StateError(f"{quote_untrusted(folder)} is no folder")
    reason = distrust_reason(status, trusted_owners(status))
    if reason:
        raise StateError(
            f"folder {quote_untrusted(folder)} {reason}",
            remedy="Let only its user write to it (chown, chmod go-w), and check the files in it",
        )
    return status


def check_replaceable(folder: Path, names: tuple[str, ...]) -> None:
    """Check that files of a folder can be replaced, and keep their owner and group.

    Args:
        folder: the folder; it exists.
        names: of the files; they need not exist.

    Raises:
        StateError: if one can't be replaced; nothing was changed.
    """
    owners = trusted_owners(check_directory_access(folder))
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise StateError(
            f"{quote_untrusted(folder)} can't be written to",
            remedy="Run this as the user that it belongs to, or make it writable for this user",
        )
    for name in names:
        _check_file_replaceable(folder / name, owners)


def owner_to_keep(path: Path) -> tuple[int, int] | None:
    """Return the user and group for a file that is replaced or new; None for the process's own.

    A file that exists keeps its own. A new file gets this process's, or, if root writes it, those
    of the folder.
    """
    try:
        status = path.stat()
    except OSError:
        if os.geteuid() != _ROOT:
            return None
        status = path.parent.stat()
    if status.st_uid in trusted_owners(path.parent.stat()):
        return status.st_uid, status.st_gid
    return None


def mode_to_keep(path: Path, widest: int) -> int:
    """Return the mode for a file that is replaced: never wider than it is, nor than ``widest``."""
    try:
        return (stat.S_IMODE(path.stat().st_mode) & widest) | (stat.S_IRUSR | stat.S_IWUSR)
    except OSError:
        return widest


def _check_file_replaceable(path: Path, owners: frozenset[int]) -> None:
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            status = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError(f"{quote_untrusted(path)} can't be checked: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise StateError(
            f"{quote_untrusted(path)} is no regular file, and is not replaced",
            remedy="Move it away, or choose another folder",
        )
    me = os.geteuid()
    if status.st_uid not in owners or me not in (_ROOT, status.st_uid):
        raise CredentialError(
            f"{quote_untrusted(path)} belongs to user {status.st_uid}, and this is user {me}",
            remedy="Run this as that user or as root; move the file away if it should not be there",
        )
    if me != _ROOT and status.st_gid not in (os.getegid(), *os.getgroups()):
        raise StateError(
            f"{quote_untrusted(path)} belongs to group {status.st_gid}, which user {me} is not in",
            remedy="Run this as root, or give the file to a group of that user",
        )
