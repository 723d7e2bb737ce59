"""Open a path as root without being led astray by the links of other users.

Root often works in a folder of another user, who can swap each part of a path below it at any time.
So root opens a path part by part, each by the descriptor of the folder before it. The rules:

1. A link that only root can have put there is followed.
2. A link that another user can have put there is followed only as far as that user could have
   opened what it leads to with a file of their own: each folder, link and file after it must belong
   to the user of that link. So it leads to no file of root and to none of a third user.
3. A file with several names (hard links) is not opened in a folder of another user, unless it
   belongs to that user: it may be a second name for a file of root.

Other users open a path as the system does: they can reach nothing that they may not read anyway.
"""

from __future__ import annotations

import errno
import os
import stat

ROOT = 0
_ANYBODY = -1
_MOST_LINKS = 40  # the limit of Linux
# A folder on the way may forbid that it is listed; macOS has no such flag.
_ON_THE_WAY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnsafePathError(OSError):
    """A path that root does not follow."""

    def __init__(self, name: str, user: int, other: int) -> None:
        who = "everybody" if user == _ANYBODY else f"user {user}"
        super().__init__(
            errno.EPERM,
            f"its part {name!r} is a link that {who} can change, and it leads to what "
            f"belongs to user {other}, so root does not follow it",
        )


def only_root_can_change(folder: os.stat_result) -> bool:
    """Return whether nobody but root can put entries into a folder, a sticky one included."""
    in_group = folder.st_mode & stat.S_IWGRP and folder.st_gid != ROOT
    return folder.st_uid == ROOT and not in_group and not folder.st_mode & stat.S_IWOTH


def open_path(path: str | os.PathLike[str], flags: int, *, start: int | None = None) -> int:
    """Open a path that exists; return its descriptor.

    Args:
        path: the path.
        flags: of ``os.open``; nothing is made by them.
        start: the descriptor of the folder that a relative path begins in; None is the current one.

    Raises:
        OSError: if it can't be opened, or the rules above forbid it.
    """
    text = os.fspath(path)
    if os.geteuid() != ROOT:
        return os.open(text, flags | os.O_CLOEXEC, dir_fd=None if text.startswith("/") else start)
    walk = _Walk(_open_start(text, start), text)
    return walk.open_last(flags | os.O_NOFOLLOW | os.O_CLOEXEC)


class _Walk:
    """The way of root along a path, with the folder that was reached."""

    def __init__(self, here: int, path: str) -> None:
        self._here = here
        self._path = path
        self._pending = _parts(path)
        self._links = 0
        # Whose link was followed, and by which name; None as long as only root led the way.
        self._user: int | None = None
        self._name = ""

    def open_last(self, flags: int) -> int:
        """Open what the path leads to; closes the folder that was reached."""
        try:
            while True:
                if not self._pending:
                    return os.open(".", flags, dir_fd=self._here)
                name = self._pending.pop()
                status = os.stat(name, dir_fd=self._here, follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode):
                    self._follow(name, status)
                    continue
                is_last = not self._pending
                descriptor = os.open(name, flags if is_last else _ON_THE_WAY, dir_fd=self._here)
                try:
                    self._check(os.fstat(descriptor))
                except BaseException:
                    os.close(descriptor)
                    raise
                if is_last:
                    return descriptor
                self._enter(descriptor)
        finally:
            os.close(self._here)

    def _follow(self, name: str, link: os.stat_result) -> None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        folder = os.fstat(self._here)
        if self._user is not None:
            self._check(link)
        elif link.st_uid != ROOT or not _keeps_links_of_root(folder):
            self._user = link.st_uid or folder.st_uid or _ANYBODY
            self._name = name
        target = os.readlink(name, dir_fd=self._here)
        if target.startswith("/"):
            self._enter(os.open("/", _ON_THE_WAY))
            self._check(os.fstat(self._here))
        self._pending += _parts(target)

    def _enter(self, descriptor: int) -> None:
        os.close(self._here)
        self._here = descriptor

    def _check(self, status: os.stat_result) -> None:
        if self._user is not None and status.st_uid != self._user:
            raise UnsafePathError(self._name, self._user, status.st_uid)


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _open_start(path: str, start: int | None) -> int:
    if path.startswith("/"):
        return os.open("/", _ON_THE_WAY)
    return os.open(".", _ON_THE_WAY, dir_fd=start)


def _keeps_links_of_root(folder: os.stat_result) -> bool:
    """Return whether a link of root in a folder was put there by root."""
    sticky_of_root = folder.st_uid == ROOT and folder.st_mode & stat.S_ISVTX
    return only_root_can_change(folder) or bool(sticky_of_root)
