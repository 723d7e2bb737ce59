"""An open folder: all that is read and written in it goes through one descriptor.

So what was checked and what is written lie in the same folder, even if another user swaps a part of
its path meanwhile. Names in the folder are never followed as links when they are written.

A file that is replaced keeps its owner and group. A new one gets those of the folder, as far as
this process may give them: root may give both, and another user only a group of their own.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypedDict, Unpack

from pki.errors import StateError, quote_untrusted
from pki.files.safe_path import ROOT, open_path

PRIVATE = 0o600
PUBLIC = 0o644
_KEEP = -1  # of chown: leave it as it is
# macOS has no such flag.
_STATUS_ONLY = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)


class WriteOptions(TypedDict, total=False):
    """How a file is written: as the owner of which other file, and over which one."""

    like: str | None
    """As for :meth:`OpenFolder.owner_for`."""
    replace: bool
    """Whether an existing file may be replaced; it may."""
    is_durable: bool
    """Whether to wait for the disk, which is done. Else the file may be empty after a crash of the
    machine, which is for files alone that are made again."""


class OpenFolder:
    """A folder that is open. Make one with :func:`opened_folder`.

    Args:
        path: the path by which it was opened, for error messages.
        descriptor: of the folder.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def status(self) -> os.stat_result:
        """Return the folder's owner and mode."""
        return os.fstat(self.descriptor)

    def status_of(self, name: str) -> os.stat_result | None:
        """Return the status of an entry, a link's own status included; None if it is not there."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def status_behind(self, name: str) -> os.stat_result | None:
        """Return the status of the file that an entry is or leads to; None if it is not there.

        A file that is no link is not opened: to close it would end this process's locks on it.

        Raises:
            OSError: if it can't be read, or root must not follow where it leads.
        """
        status = self.status_of(name)
        if status is None:
            return None
        if stat.S_ISLNK(status.st_mode):
            try:
                descriptor = open_path(name, _STATUS_ONLY, start=self.descriptor)
            except FileNotFoundError:
                return None
            try:
                status = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        self._refuse_second_name(status)
        return status

    def names(self) -> list[str]:
        """Return the names of the entries."""
        return os.listdir(self.descriptor)

    def is_writable(self) -> bool:
        """Return whether this process may make and remove entries."""
        return os.access(
            ".",
            os.W_OK | os.X_OK,
            dir_fd=self.descriptor,
            effective_ids=os.access in os.supports_effective_ids,
        )

    def open_file(self, name: str) -> int:
        """Open an entry for reading; return its descriptor.

        Raises:
            OSError: if it can't be opened, or root must not follow where it leads.
        """
        descriptor = open_path(name, os.O_RDONLY | os.O_NONBLOCK, start=self.descriptor)
        try:
            self._refuse_second_name(os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def owner_for(self, name: str, *, like: str | None = None) -> tuple[int, int]:
        """Return the user and the group that a file will have.

        Args:
            name: of the file.
            like: the file that it will replace later, by being renamed to it.
        """
        existing = (self.status_of(like) if like else None) or self.status_of(name)
        if existing is not None:
            return existing.st_uid, existing.st_gid
        folder = self.status()
        if os.geteuid() == ROOT:
            return folder.st_uid, folder.st_gid
        may_give = folder.st_gid in (os.getegid(), *os.getgroups())
        return os.geteuid(), folder.st_gid if may_give else os.getegid()

    def check_can_give(self, owners: frozenset[tuple[int, int]]) -> None:
        """Check that this process may give files to these users and groups.

        Raises:
            StateError: if it may not; nothing was changed.
        """
        others = owners - {(os.geteuid(), os.getegid())}
        if not others:
            return
        probe = f".owner.{secrets.token_hex(8)}.tmp"
        try:
            descriptor = self._make(probe)
            try:
                for user, group in others:
                    os.fchown(descriptor, user, group)
            finally:
                os.close(descriptor)
                with suppress(FileNotFoundError):
                    os.unlink(probe, dir_fd=self.descriptor)
        except OSError as error:
            raise StateError(
                f"the owners of the files in {quote_untrusted(self.path)} can't be kept: "
                f"{error.strerror or error}",
                remedy="Run this as the user that they belong to; root needs CAP_CHOWN",
            ) from error

    def write(self, name: str, data: bytes, *, mode: int, **options: Unpack[WriteOptions]) -> None:
        """Write a file with this whole content; as :meth:`writing`."""
        with self.writing(name, mode=mode, **options) as file:
            file.write(data)

    @contextmanager
    def writing(
        self, name: str, *, mode: int, **options: Unpack[WriteOptions]
    ) -> Iterator[BinaryIO]:
        """Write a file in a block, then replace the old one at once; durable after :meth:`sync`.

        Args:
            name: of the file.
            mode: the permission bits, whatever the umask is.
            options: as :class:`WriteOptions`.

        Raises:
            OSError: if it can't be written; the old file is unchanged.
        """
        owner = self.owner_for(name, like=options.get("like"))
        temporary = f".{name}.{secrets.token_hex(8)}.tmp"
        descriptor = self._make(temporary)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                # Before the mode, because a change of owner may clear some of its bits.
                _give(file.fileno(), owner)
                os.fchmod(file.fileno(), mode)
                if options.get("is_durable", True):
                    os.fsync(file.fileno())
            if options.get("replace", True):
                self.rename(temporary, name)
            else:
                # A hard link, because a rename would replace a file made in the meantime.
                os.link(temporary, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
                os.unlink(temporary, dir_fd=self.descriptor)
        except BaseException:
            self.remove(temporary)
            raise

    def create(self, name: str, data: bytes, *, mode: int) -> None:
        """Write a file that is not there yet; its owner and group are the folder's, if possible.

        Neither the file nor its content is durable, and readers may see a part of it.

        Args:
            name: of the file.
            data: the whole content.
            mode: the permission bits, whatever the umask is.

        Raises:
            OSError: if it is there already, or can't be written.
        """
        owner = self.owner_for(name)
        descriptor = self._make(name)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            _give(descriptor, owner)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    @contextmanager
    def made_folder(self, name: str) -> Iterator[OpenFolder]:
        """Make a folder in this one, and open it.

        Raises:
            OSError: if it can't be made.
        """
        self.make_folder(name)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=self.descriptor)
        try:
            yield OpenFolder(self.path / name, descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        """Rename an entry; it replaces the target."""
        os.replace(source, target, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        """Remove an entry if it exists."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def remove_folder(self, name: str) -> None:
        """Remove a folder that is empty.

        Raises:
            OSError: if it is not empty, or no folder.
        """
        os.rmdir(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Make renames and removals durable."""
        os.fsync(self.descriptor)

    def make_folder(self, name: str, *, mode: int = 0o755, give: bool = True) -> None:
        """Make a folder with this mode at most, whatever the umask is.

        Args:
            name: of the new folder.
            mode: its widest mode.
            give: whether root gives it to the owner of this folder.

        Raises:
            OSError: if it can't be made.
        """
        os.mkdir(name, mode=mode, dir_fd=self.descriptor)
        owner = self.status()
        if not give or os.geteuid() != ROOT or owner.st_uid == ROOT:
            return
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(name, flags, dir_fd=self.descriptor)
        try:
            # The owner may have put another folder in its place; one of root that holds files stays
            # root's.
            if os.fstat(made).st_uid == ROOT and not os.listdir(made):
                os.fchown(made, owner.st_uid, owner.st_gid)
        finally:
            os.close(made)

    def _make(self, name: str) -> int:
        # 0600 from the start, so that nobody can read the content who may not read the result.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, PRIVATE, dir_fd=self.descriptor)

    def _refuse_second_name(self, status: os.stat_result) -> None:
        owner = self.status().st_uid
        is_theirs = os.geteuid() != ROOT or owner in {ROOT, status.st_uid}
        if not is_theirs and stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            raise OSError(
                errno.EPERM,
                f"it belongs to user {status.st_uid} and has a second name elsewhere, so root "
                f"does not read it in a folder of user {owner}",
            )


class _OpenFolders(threading.local):
    """The folders that this thread has open, by path."""

    def __init__(self) -> None:
        self.by_path: dict[str, OpenFolder] = {}


_open_folders = _OpenFolders()


@contextmanager
def opened_folder(path: Path, *, failure: str = "") -> Iterator[OpenFolder]:
    """Open a folder; as long as a thread has it open, the same path is the same folder for it.

    Args:
        path: the folder.
        failure: begins the error's message, e.g. ``'x' can't be written``.

    Raises:
        StateError: if it can't be opened, is no folder, or root must not follow where it leads.
    """
    key = os.path.abspath(path)
    folder = _open_folders.by_path.get(key)
    if folder is not None:
        yield folder
        return
    try:
        descriptor = open_path(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        failure = failure or f"folder {quote_untrusted(path)} can't be opened"
        raise StateError(
            f"{failure}: {error.strerror or error}",
            remedy=f"Check the folder {quote_untrusted(path)}",
        ) from error
    _open_folders.by_path[key] = folder = OpenFolder(path, descriptor)
    try:
        yield folder
    finally:
        del _open_folders.by_path[key]
        os.close(descriptor)


def _give(descriptor: int, owner: tuple[int, int]) -> None:
    status = os.fstat(descriptor)
    user, group = (
        wanted if wanted != own else _KEEP
        for wanted, own in zip(owner, (status.st_uid, status.st_gid), strict=True)
    )
    if (user, group) != (_KEEP, _KEEP):
        os.fchown(descriptor, user, group)
