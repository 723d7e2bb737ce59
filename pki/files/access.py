"""Who may change a file: the owners that are trusted, and the modes that let others write.

A file counts only if nobody but root, this process's user and, for root alone, the owner of the
folder can change it. Volumes of Kubernetes secrets pass: their files belong to root, their group
may read them, and their folder is sticky. Links are followed, and what they lead to is judged.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pki.errors import CredentialError, StateError, quote_untrusted

_ROOT = 0


def trusted_owners(folder: os.stat_result) -> frozenset[int]:
    """Return the users whose files are taken from a folder."""
    owners = {_ROOT, os.geteuid()}
    if os.geteuid() == _ROOT:
        # Root sees to the credentials of other users, and whoever owns the folder rules it anyway.
        owners.add(folder.st_uid)
    return frozenset(owners)


def is_writable_by_all(status: os.stat_result) -> bool:
    """Return whether everybody may change a file, or put another one into a folder's place."""
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    return bool(status.st_mode & stat.S_IWOTH and not sticky)


def why_not_trusted(status: os.stat_result, owners: frozenset[int]) -> str:
    """Return what lets a stranger change a file or a folder; empty if nothing does.

    The write bit of root's group, or of the process's own, is none: a umask of 002 sets it where
    each user has a group of their own.
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


def check_folder(folder: Path) -> os.stat_result:
    """Check that no stranger can put files into a folder that is written to; return its status.

    Raises:
        StateError: if one can, or it is no folder, or can't be looked at.
    """
    try:
        status = folder.stat()
    except OSError as error:
        raise StateError(
            f"{quote_untrusted(folder)} can't be looked at: {error.strerror}"
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        raise StateError(f"{quote_untrusted(folder)} is no folder")
    why = why_not_trusted(status, trusted_owners(status))
    if why:
        raise StateError(
            f"folder {quote_untrusted(folder)} {why}",
            remedy="Give it to its user alone (chown, chmod go-w), and look at what lies in it",
        )
    return status


def check_replaceable(folder: Path, names: tuple[str, ...]) -> None:
    """Check that files of a folder can be written anew, with the owner and group that they have.

    Args:
        folder: where they lie; it is there.
        names: those that will be written; they need not be there.

    Raises:
        StateError: if one can't; nothing was changed.
    """
    owners = trusted_owners(check_folder(folder))
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise StateError(
            f"{quote_untrusted(folder)} can't be written to",
            remedy="Run this as the user that it belongs to, or make it writable for this one",
        )
    for name in names:
        _check_file_replaceable(folder / name, owners)


def owner_to_keep(path: Path) -> tuple[int, int] | None:
    """Return the user and group that a file is to have once it is written anew.

    A file keeps its own. A new one is this process's; where root writes, it is the folder owner's.
    """
    try:
        there = path.stat()
    except OSError:
        if os.geteuid() != _ROOT:
            return None
        there = path.parent.stat()
    if there.st_uid in trusted_owners(path.parent.stat()):
        return there.st_uid, there.st_gid
    return None


def mode_to_keep(path: Path, widest: int) -> int:
    """Return the mode for a file that is written anew: what was taken from others stays so."""
    try:
        return (stat.S_IMODE(path.stat().st_mode) & widest) | (stat.S_IRUSR | stat.S_IWUSR)
    except OSError:
        return widest


def _check_file_replaceable(path: Path, owners: frozenset[int]) -> None:
    try:
        there = path.lstat()
        if stat.S_ISLNK(there.st_mode):
            there = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError(f"{quote_untrusted(path)} can't be looked at: {error.strerror}") from error
    if not stat.S_ISREG(there.st_mode):
        raise StateError(
            f"{quote_untrusted(path)} is no regular file, and is not replaced",
            remedy="Move it away, or choose another folder",
        )
    me = os.geteuid()
    if there.st_uid not in owners or me not in (_ROOT, there.st_uid):
        raise CredentialError(
            f"{quote_untrusted(path)} belongs to user {there.st_uid}, and this is user {me}",
            remedy="Run this as that user or as root; move away what a stranger put there",
        )
    if me != _ROOT and there.st_gid not in (os.getegid(), *os.getgroups()):
        raise StateError(
            f"{quote_untrusted(path)} belongs to group {there.st_gid}, which user {me} is not in",
            remedy="Run this as root, or give the file to a group of that user",
        )
