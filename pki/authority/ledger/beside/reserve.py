"""Space in reserve: a file beside the ledger that is given up when a revocation finds a full disk.

Whoever fills the CA's disk must not stop a revocation by it. The rules:

1. The file is as large as the ledger and the lists may grow by one revocation and by what follows
   from it: one MiB, or four times the size of the CA's lists where that is more.
2. Its blocks are allocated. A sparse copy, as a backup may bring back, holds nothing.
3. It is emptied for a revocation alone, and made again once there is room for twice its size: else
   the reserve would take the very space that the ledger has just been given.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from pathlib import Path

from pki.errors import PkiError, StateError, quote_untrusted
from pki.files.open_folder import PRIVATE, OpenFolder, opened_folder

RESERVE = "ledger.reserve"
LEAST_BYTES = 1024 * 1024
_TIMES_LISTS = 4
_BLOCK = 512  # of st_blocks, whatever the file system's own are
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
# What SQLite answers on a full disk: https://www.sqlite.org/rescode.html
_FULL, _PERHAPS_FULL = (
    sqlite3.SQLITE_FULL,
    frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}),
)


class Reserve:
    """The file beside the ledger.

    Args:
        folder: that of the ledger.
        lists: where the CA's lists are published.
    """

    def __init__(self, folder: Path, lists: Path) -> None:
        self._path = folder / RESERVE
        self._lists = lists

    def wanted(self) -> int:
        """Return how many bytes shall be in reserve."""
        try:
            return max(LEAST_BYTES, _TIMES_LISTS * self._lists.stat().st_size)
        except OSError:
            return LEAST_BYTES

    def held(self) -> int:
        """Return how many bytes are in reserve; 0 if they were given up, or can't be counted."""
        try:
            with opened_folder(self._path.parent) as folder:
                status = folder.status_of(RESERVE)
        except (PkiError, OSError):
            return 0
        if status is None or not stat.S_ISREG(status.st_mode):
            return 0
        return min(status.st_size, status.st_blocks * _BLOCK)

    def release(self) -> bool:
        """Give the space up, for good once this returns; return whether there was any."""
        if not self.held():
            return False
        try:
            with opened_folder(self._path.parent) as folder:
                descriptor = self._open(folder, os.O_WRONLY)
                try:
                    os.ftruncate(descriptor, 0)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except (PkiError, OSError):
            return False
        return True

    def make(self) -> bool:
        """Take the space if there is room for twice of it; return whether it is held now."""
        wanted = self.wanted()
        if self.held() >= wanted:
            return True
        try:
            with opened_folder(self._path.parent) as folder:
                room = os.fstatvfs(folder.descriptor)
                if room.f_bavail * room.f_frsize < 2 * wanted:
                    return False
                self._allocate(folder, wanted)
        except (PkiError, OSError):
            return False
        return True

    def _allocate(self, folder: OpenFolder, wanted: int) -> None:
        is_new = folder.status_of(RESERVE) is None
        owner = folder.owner_for(RESERVE)
        descriptor = self._open(folder, os.O_WRONLY | os.O_CREAT)
        try:
            if is_new and owner != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, *owner)
            try:
                os.posix_fallocate(descriptor, 0, wanted)
            except OSError:
                # Part of it may be allocated: nobody counts on that.
                os.ftruncate(descriptor, 0)
                raise
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _open(self, folder: OpenFolder, flags: int) -> int:
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(RESERVE, flags, PRIVATE, dir_fd=folder.descriptor)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.close(descriptor)
            raise StateError(f"{quote_untrusted(self._path)} is no file of its own")
        return descriptor


def is_for_lack_of_room(error: BaseException, folder: Path) -> bool:
    """Return whether the ledger failed because its disk is full, as far as can be told.

    Args:
        error: that of the ledger, with its causes.
        folder: that of the ledger.
    """
    cause: BaseException | None = error
    while cause is not None:
        code = getattr(getattr(cause, "orig", cause), "sqlite_errorcode", 0) or 0
        if code & 0xFF == _FULL or getattr(cause, "errno", None) in _NO_ROOM:
            return True
        if code & 0xFF in _PERHAPS_FULL and _is_nearly_full(folder):
            # The file of a new connection's shared memory could not be made.
            return True
        cause = cause.__cause__
    return False


def _is_nearly_full(folder: Path) -> bool:
    try:
        room = os.statvfs(folder)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < LEAST_BYTES
