"""Lock a folder, so that one process writes to it at a time.

The lock is the kernel's (``flock``) on an empty file in the folder, so it ends with the process
that holds it. The file has mode 0600, so a user who may only read the folder can't hold the lock.

Order of locks: first the folder, then a transaction of the ledger. Nobody waits for a folder inside
a transaction.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from pki.errors import StateError, quote_untrusted
from pki.files.access import trusted_owners
from pki.files.open_folder import PRIVATE, OpenFolder, opened_folder

LOCK_NAME = ".handfast.lock"
_PAUSE_SECONDS = 0.02
WAIT_SECONDS = 30.0
_AGAIN_SECONDS = 0.2


class BusyFolderError(StateError):
    """Another writer has locked a folder, and does not finish."""

    def __init__(self, folder: Path, wait_seconds: float) -> None:
        super().__init__(
            f"another process has been writing in {quote_untrusted(folder)} for "
            f"{wait_seconds:g} seconds",
            remedy="Find out what holds it (fuser, lsof) and try again",
        )
        self.folder = folder


_Key = tuple[int, int, str]
"""A lock: device and inode of its folder, and its name."""


class _HeldLocks(threading.local):
    """The folders that this thread has locked, and may lock again."""

    def __init__(self) -> None:
        self.folders: set[_Key] = set()


_held = _HeldLocks()


class _Hurry:
    """How long to wait for locks where something urgent is done.

    Args:
        most: for each of them, in seconds, and once: then its holder stands still.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._in_vain: dict[_Key, float] = {}

    def acquire(self, key: _Key, wait_seconds: float, acquire: Callable[[float], int]) -> int:
        waited = self._in_vain.get(key)
        seconds = min(wait_seconds, self._most)
        try:
            return acquire(seconds if waited is None else min(seconds, _AGAIN_SECONDS))
        except BusyFolderError as busy:
            if waited is not None:
                raise BusyFolderError(busy.folder, waited) from busy
            self._in_vain[key] = seconds
            raise


_hurry: ContextVar[_Hurry | None] = ContextVar("hurry", default=None)


@contextmanager
def hurried(most: float) -> Iterator[None]:
    """Within the block, wait for the holder of a lock for a few seconds, and not a second time.

    A process that was stopped while it held a lock would else hold up each step for half a minute.

    Args:
        most: how long to wait for a lock at most, in seconds.
    """
    token = _hurry.set(_Hurry(most))
    try:
        yield
    finally:
        _hurry.reset(token)


@contextmanager
def locked(
    folder: Path,
    *,
    name: str = LOCK_NAME,
    wait_seconds: float = WAIT_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Lock out all other writers of a folder. A thread may enter its own lock again.

    Args:
        folder: the folder; it exists.
        name: of the lock file.
        wait_seconds: how long to wait for another writer; 0 tries once. See :func:`hurried`.
        sleep: waits between two attempts, in seconds.

    Raises:
        BusyFolderError: if another writer does not finish.
        StateError: if the lock file belongs to another user or is no regular file.
    """
    with opened_folder(folder) as opened:
        status = opened.status()
        key = (status.st_dev, status.st_ino, name)
        if key in _held.folders:
            yield
            return
        hurry = _hurry.get()

        def acquire(seconds: float) -> int:
            return _acquire(opened, name, seconds, sleep)

        descriptor = (
            acquire(wait_seconds) if hurry is None else hurry.acquire(key, wait_seconds, acquire)
        )
        _held.folders.add(key)
        try:
            yield
        finally:
            _held.folders.discard(key)
            os.close(descriptor)


class HeldLock:
    """A lock that is held until this is called, or the process ends.

    A second call does nothing: the number of the descriptor may be another file's by then.

    Args:
        descriptor: of the locked file. A process that inherits it holds the lock too.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        """Of the locked file."""
        self._kept = object()
        _kept[descriptor, self._kept] = True

    def __call__(self) -> None:
        """Release the lock."""
        if _kept.pop((self.descriptor, self._kept), False):
            # A child that was forked off has the same lock, until it is released here.
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            os.close(self.descriptor)


def hold_lock(folder: Path, *, name: str) -> HeldLock:
    """Lock a folder until the returned object is called, or the process ends.

    Unlike :func:`locked` it belongs to no thread, and nobody enters it a second time.

    Raises:
        BusyFolderError: if somebody holds it, in this process or another one.
        StateError: if the lock file belongs to another user or is no regular file.
    """
    with opened_folder(folder) as opened:
        return HeldLock(_acquire(opened, name, 0, time.sleep))


def _leave_to_parent() -> None:
    """Close what a fork has copied: a child that outlives its parent would keep others out."""
    for descriptor, _ in _kept:
        with suppress(OSError):
            os.close(descriptor)
    _kept.clear()


_kept: dict[tuple[int, object], bool] = {}
os.register_at_fork(after_in_child=_leave_to_parent)


def _acquire(
    folder: OpenFolder, name: str, wait_seconds: float, sleep: Callable[[float], None]
) -> int:
    path = folder.path / name
    for remaining in reversed(range(max(1, int(wait_seconds / _PAUSE_SECONDS)))):
        descriptor = _open(folder, name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still_there(descriptor, folder, name):
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
    raise BusyFolderError(folder.path, wait_seconds)


def _open(folder: OpenFolder, name: str) -> int:
    path = folder.path / name
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        try:
            new = flags | os.O_CREAT | os.O_EXCL
            descriptor = os.open(name, new, PRIVATE, dir_fd=folder.descriptor)
        except FileExistsError:
            descriptor = os.open(name, flags, dir_fd=folder.descriptor)
    except OSError as error:
        # A symbolic link is not followed, and is reported as "too many levels".
        raise StateError(
            f"{quote_untrusted(path)} can't be opened to lock the folder: {error.strerror}",
            remedy="Run this as the owner of the folder; if it is a link, move it away",
        ) from error
    try:
        _check(descriptor, path, folder.status())
    except OSError as error:
        os.close(descriptor)
        raise StateError(
            f"{quote_untrusted(path)} can't be given to the owner of its folder: {error.strerror}",
            remedy="Run this as that user; root needs CAP_CHOWN",
        ) from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(descriptor: int, path: Path, folder: os.stat_result) -> None:
    status = os.fstat(descriptor)
    # Not empty: it is no lock, and its owner and mode are not changed below.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_size:
        raise StateError(
            f"{quote_untrusted(path)} is no empty regular file of its own", remedy="Move it away"
        )
    if status.st_uid not in trusted_owners(folder):
        raise StateError(
            f"{quote_untrusted(path)} belongs to user {status.st_uid}",
            remedy="Move it away: that user could hold the lock forever",
        )
    me = os.geteuid()
    if me in (0, status.st_uid) and stat.S_IMODE(status.st_mode) != PRIVATE:
        os.fchmod(descriptor, PRIVATE)
    if me == 0 and status.st_uid != folder.st_uid:
        os.fchown(descriptor, folder.st_uid, folder.st_gid)


def _is_still_there(descriptor: int, folder: OpenFolder, name: str) -> bool:
    """Return whether the locked file is still the one in the folder, for the next writer."""
    status = folder.status_of(name)
    if status is None:
        return False
    own = os.fstat(descriptor)
    return (status.st_dev, status.st_ino) == (own.st_dev, own.st_ino)
