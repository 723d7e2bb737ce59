"""One writer at a time in a folder.

The lock is the kernel's (``flock``) on a file in the folder, so a holder that is killed leaves
nothing locked. The file is 0600, so whoever may only read the folder can't hold it. It is never
removed while somebody may wait for it, and it holds nothing.

Order of locks: a folder first, the ledger's transactions within it. Nobody waits for a folder from
within a transaction.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pki.errors import StateError, quote_untrusted
from pki.files.access import trusted_owners
from pki.files.atomic import PRIVATE

LOCK_NAME = ".handfast.lock"
_PAUSE_SECONDS = 0.02
_WAIT_SECONDS = 30.0


class _Held(threading.local):
    """The folders that this thread holds: it may enter each again."""

    def __init__(self) -> None:
        self.folders: set[tuple[int, int, str]] = set()


_held = _Held()


@contextmanager
def locked(
    folder: Path,
    *,
    name: str = LOCK_NAME,
    wait_seconds: float = _WAIT_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold off every other writer of a folder; within one thread it may be entered again.

    Args:
        folder: which; it is there.
        name: the lock file's.
        wait_seconds: how long another writer is waited for.
        sleep: how to wait between two tries, in seconds.

    Raises:
        StateError: if the lock file is a stranger's or no regular file, or another writer does not
            come to an end.
    """
    try:
        status = folder.stat()
    except OSError as error:
        raise StateError(
            f"{quote_untrusted(folder)} can't be looked at: {error.strerror}"
        ) from error
    key = (status.st_dev, status.st_ino, name)
    if key in _held.folders:
        yield
        return
    descriptor = _acquire(folder / name, status, wait_seconds, sleep)
    _held.folders.add(key)
    try:
        yield
    finally:
        _held.folders.discard(key)
        os.close(descriptor)


def _acquire(
    path: Path, folder: os.stat_result, wait_seconds: float, sleep: Callable[[float], None]
) -> int:
    for remaining in reversed(range(max(1, int(wait_seconds / _PAUSE_SECONDS)))):
        descriptor = _open(path, folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still_there(descriptor, path):
                return descriptor
        except BlockingIOError:
            if remaining:
                sleep(_PAUSE_SECONDS)
        except OSError as error:
            os.close(descriptor)
            raise StateError(
                f"{quote_untrusted(path)} can't be locked: {error.strerror}"
            ) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise StateError(
        f"another process has been writing in {quote_untrusted(path.parent)} for "
        f"{wait_seconds:g} seconds",
        remedy="Find out what holds it (fuser, lsof) and try again",
    )


def _open(path: Path, folder: os.stat_result) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, PRIVATE)
        except FileExistsError:
            descriptor = os.open(path, flags)
    except OSError as error:
        # A link that somebody planted is not followed, and reads as "too many levels".
        raise StateError(
            f"{quote_untrusted(path)} can't be opened to lock the folder: {error.strerror}",
            remedy="Run this as the user of the folder; move a link that lies there away",
        ) from error
    try:
        _check(descriptor, path, folder)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(descriptor: int, path: Path, folder: os.stat_result) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise StateError(
            f"{quote_untrusted(path)} is no regular file of its own", remedy="Move it away"
        )
    if status.st_uid not in trusted_owners(folder):
        raise StateError(
            f"{quote_untrusted(path)} belongs to user {status.st_uid}",
            remedy="Move it away: a stranger could hold the lock for good",
        )
    me = os.geteuid()
    if me in (0, status.st_uid) and stat.S_IMODE(status.st_mode) != PRIVATE:
        os.fchmod(descriptor, PRIVATE)
    if me == 0 and status.st_uid != folder.st_uid:
        os.fchown(descriptor, folder.st_uid, folder.st_gid)


def _is_still_there(descriptor: int, path: Path) -> bool:
    """Return whether the file that was locked is the one that the next writer will open."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    own = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)
