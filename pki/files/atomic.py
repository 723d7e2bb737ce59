"""Write a temporary file, fsync, rename, fsync the folder: a reader sees the old or the new file.

After a crash between any two of these steps, the old or the new file is there and whole. A
temporary file that is left over begins with a dot, ends in ``.tmp`` and is harmless.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pki.errors import StateError, UnreadableError, quote_untrusted
from pki.files.descriptor_reserve import DESCRIPTOR_RESERVE
from pki.files.open_folder import OpenFolder, opened_folder

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
    (lambda _: True, "something else"),
)
_NO_DESCRIPTOR_LEFT = frozenset({errno.EMFILE, errno.ENFILE})


def write_durably(
    path: Path, data: bytes, *, mode: int, like: str | None = None, replace: bool = True
) -> None:
    """Write a file so that, even after a crash, it is either whole on disk or not there.

    A file that is replaced keeps its owner and group; a new one gets those of its folder, as far as
    this process may give them.

    Args:
        path: the file. An existing regular file is replaced; anything else is refused, and a link
            is not followed.
        data: the whole content.
        mode: the permission bits, whatever the umask is.
        like: the name of another file in the folder that is renamed over later: its owner is kept.
        replace: whether an existing file may be replaced.

    Raises:
        StateError: if it can't be written, or the path is no regular file.
    """
    refuse_irregular(path)
    failure = f"{quote_untrusted(path)} can't be written"
    with _file_errors(path), opened_folder(path.parent, failure=failure) as folder:
        folder.write(path.name, data, mode=mode, like=like, replace=replace)
        try:
            folder.sync()
        except OSError as error:
            raise StateError(
                f"{quote_untrusted(path)} is written, but may be lost if the machine stops now: "
                f"{error.strerror or error}",
                remedy="Check the disk and try again",
            ) from error


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Says nothing about other files, which the caller may have changed already.
        raise StateError(
            f"{quote_untrusted(path)} can't be written: {error.strerror or error}",
            remedy="It is unchanged; check the folder and try again",
        ) from error


def refuse_irregular(path: Path) -> None:
    """Refuse a path that exists and is no regular file.

    A directory can't be replaced by a file. A device, a pipe or a link could be, and would be lost
    to all who use it: root would replace ``/dev/null``.

    Raises:
        StateError: if it is a directory, device, pipe, socket or link, or can't be checked.
    """
    if not path.name:
        raise StateError(
            f"{quote_untrusted(path)} is a directory, and a file is to be written",
            remedy="Name a file in it",
        )
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StateError(f"{quote_untrusted(path)} can't be written: {reason}") from error
    if not stat.S_ISREG(mode):
        kind = next(name for is_kind, name in _KINDS if is_kind(mode))
        raise StateError(
            f"{quote_untrusted(path)} is {kind}, not a regular file, and is not overwritten",
            remedy="Name a regular file, or a path that does not exist",
        )


def rename_durably(source: Path, target: Path) -> None:
    """Rename a file within its folder, durably."""
    with opened_folder(source.parent) as folder:
        folder.rename(source.name, target.name)
        folder.sync()


def remove_durably(path: Path) -> None:
    """Remove a file if it exists, durably."""
    with opened_folder(path.parent) as folder:
        folder.remove(path.name)
        folder.sync()


def make_folder(folder: Path, *, give: bool = True) -> None:
    """Make a folder and its parents, with mode 0755 at most, whatever the umask is.

    Args:
        folder: the folder.
        give: whether root, in a folder of another user, gives what it makes to that user.

    Raises:
        StateError: if it can't be made, or the path is something else.
    """
    try:
        # mkdir's parents=True would make the parents with mode 0777 less the umask.
        for missing in reversed([folder, *folder.parents]):
            if missing.is_dir():
                continue
            failure = f"{quote_untrusted(folder)} can't be made"
            with (
                opened_folder(missing.parent, failure=failure) as parent,
                suppress(FileExistsError),
            ):
                parent.make_folder(missing.name, give=give)
        if not folder.is_dir():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    except OSError as error:
        raise StateError(
            f"{quote_untrusted(folder)} can't be made: {error.strerror}",
            remedy="A file is in its place: move it away, or name another folder"
            if isinstance(error, FileExistsError | NotADirectoryError)
            else "",
        ) from error


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without waiting if it is a pipe.

    Raises:
        StateError: if it is no regular file.
        OSError: if it can't be opened.
    """
    # O_NONBLOCK, because opening a named pipe waits for a writer. Checked before too, because a
    # device may act when it is opened (a tape rewinds).
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise StateError(f"{quote_untrusted(path)} is no regular file")
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise StateError(f"{quote_untrusted(path)} is no regular file")
    return file


def read_bounded(path: Path, *, max_bytes: int) -> tuple[bytes, int]:
    """Read a file as :func:`read_with_status` does; return its content and permission bits."""
    data, status = read_with_status(path, max_bytes=max_bytes)
    return data, stat.S_IMODE(status.st_mode)


def read_with_status(path: Path, *, max_bytes: int) -> tuple[bytes, os.stat_result]:
    """Read a whole regular file.

    Args:
        path: the file; symbolic links are followed, because some layouts consist of them.
        max_bytes: the largest file that is read.

    Returns:
        Its content and status, both of the same open file.

    Raises:
        FileNotFoundError: if it is not there.
        UnreadableError: if it can't be opened or read at the moment.
        StateError: if it is no regular file, or too large.
    """
    try:
        return _read_regular(path, max_bytes)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(f"{quote_untrusted(path)} can't be read: {error.strerror}") from error


def read_file_in(folder: OpenFolder, name: str, *, max_bytes: int) -> tuple[bytes, os.stat_result]:
    """Read a whole regular file of an open folder; as :func:`read_with_status` does.

    Raises:
        FileNotFoundError: if it is not there.
        UnreadableError: if it can't be opened or read at the moment.
        StateError: if it is no regular file, or too large.
    """
    path = folder.path / name
    try:
        with os.fdopen(folder.open_file(name), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StateError(f"{quote_untrusted(path)} is no regular file")
            return _read_open(file, path, max_bytes)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(f"{quote_untrusted(path)} can't be read: {error.strerror}") from error


def _read_regular(path: Path, max_bytes: int) -> tuple[bytes, os.stat_result]:
    try:
        file = open_regular(path)
    except OSError as error:
        if error.errno not in _NO_DESCRIPTOR_LEFT:
            raise
        # Clients may use up all descriptors of a server; its files must be readable all the same.
        return DESCRIPTOR_RESERVE.read(path, max_bytes)
    with file:
        return _read_open(file, path, max_bytes)


def _read_open(file: BinaryIO, path: Path, max_bytes: int) -> tuple[bytes, os.stat_result]:
    status = os.fstat(file.fileno())
    if status.st_size > max_bytes:
        raise StateError(
            f"{quote_untrusted(path)} has {status.st_size} bytes; {max_bytes} is the most"
        )
    data: bytes | None = file.read(max_bytes + 1)
    if data is None:
        # Some files of the kernel claim to be regular, and may have no data yet.
        raise BlockingIOError(errno.EAGAIN, "it holds nothing now, and may later")
    if len(data) > max_bytes:
        # It grew since its status was read, or its file system reports no size.
        raise StateError(f"{quote_untrusted(path)} has more than {max_bytes} bytes, the most")
    return data, status
