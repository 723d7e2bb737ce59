"""Write aside, fsync, rename, fsync the folder: a reader sees the old file or the new one.

After a crash between any two of these steps the old file or the new one is there, whole; a file
left aside begins with a dot and ends in ``.tmp``, and is harmless.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pki.errors import StateError, UnreadableError, quote_untrusted
from pki.files.last_resort import LAST_RESORT

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
    (lambda _: True, "something else"),
)
PRIVATE = 0o600
PUBLIC = 0o644
_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})


def write_durably(
    path: Path,
    data: bytes,
    *,
    mode: int,
    owner: tuple[int, int] | None = None,
    replace: bool = True,
) -> None:
    """Write a file so that it is whole on disk, or not there, whatever happens.

    Args:
        path: where; an existing regular file is replaced. Nothing else is, nor is a link followed.
        data: the whole content.
        mode: the permission bits, whatever the umask is.
        owner: the user and group that it is to have; None leaves it to the process's own.
        replace: whether an existing file may be replaced at all.

    Raises:
        StateError: if it can't be written, or what lies there is no regular file.
    """
    refuse_irregular(path)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        # 0600 from the first moment: the content is never readable wider than it ends up.
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                # Before the mode: a change of owner may take bits of it away.
                if owner is not None and owner != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), *owner)
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            if replace:
                os.replace(aside, path)
            else:
                # A link, because a rename would replace whatever came there meanwhile.
                os.link(aside, path)
                aside.unlink()
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        # Only what is so of this one file: the caller may have changed others before it.
        raise StateError(
            f"{quote_untrusted(path)} can't be written: {error.strerror or error}",
            remedy="It is as it was; see to the folder and try again",
        ) from error
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise StateError(
            f"{quote_untrusted(path)} is written, but may be lost if the machine stops now: "
            f"{error.strerror or error}",
            remedy="See to the disk and try again",
        ) from error


def refuse_irregular(path: Path) -> None:
    """Refuse to write where something stands that is no regular file.

    A directory can't be replaced by a file. A device, a pipe or a link could be, and whoever put it
    there would find a plain file in its place: root would lose ``/dev/null``.

    Raises:
        StateError: if it is a directory, a device, a pipe, a socket or a link, or can't be asked.
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
        words = error.strerror if isinstance(error, OSError) else error
        raise StateError(f"{quote_untrusted(path)} can't be written: {words}") from error
    if not stat.S_ISREG(mode):
        kind = next(name for is_one, name in _KINDS if is_one(mode))
        raise StateError(
            f"{quote_untrusted(path)} is {kind}, and no regular file: it is not written over",
            remedy="Name a file, or a place where nothing is",
        )


def rename_durably(source: Path, target: Path) -> None:
    """Rename a file within its folder, and make that lasting."""
    os.replace(source, target)
    sync_folder(target.parent)


def remove_durably(path: Path) -> None:
    """Remove a file if it is there, and make that lasting."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder lasting."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, never wider than 0755 whatever the umask is.

    Raises:
        StateError: if it can't be made, or something else stands there.
    """
    try:
        # Not mkdir's own parents=True: it makes those with mode 0777 below the umask.
        for missing in reversed([folder, *folder.parents]):
            if not missing.is_dir():
                missing.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise StateError(f"{quote_untrusted(folder)} can't be made: {error.strerror}") from error


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; never wait for whoever writes into a pipe.

    Raises:
        StateError: if it is no regular file.
        OSError: if it can't be opened.
    """
    # Without O_NONBLOCK a named pipe would hold us until somebody writes into it, and a device
    # could act on being opened (a tape rewinds), so the path is asked first.
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
        path: where; symbolic links are followed, because layouts are made of them.
        max_bytes: the largest file that is read.

    Returns:
        Its content, and its status: that of the very file that was read.

    Raises:
        FileNotFoundError: if it is not there.
        UnreadableError: if it can't be opened or read here and now.
        StateError: if it is no regular file, or too large.
    """
    try:
        return _read_regular(path, max_bytes)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(f"{quote_untrusted(path)} can't be read: {error.strerror}") from error


def _read_regular(path: Path, max_bytes: int) -> tuple[bytes, os.stat_result]:
    try:
        file = open_regular(path)
    except OSError as error:
        if error.errno not in _NONE_LEFT:
            raise
        # Strangers may hold all descriptors of a server: what they can do ends here.
        return LAST_RESORT.read(path, max_bytes)
    with file:
        status = os.fstat(file.fileno())
        if status.st_size > max_bytes:
            raise StateError(
                f"{quote_untrusted(path)} has {status.st_size} bytes; {max_bytes} is the most"
            )
        found: bytes | None = file.read(max_bytes + 1)
        if found is None:
            # Some files of the kernel's call themselves regular, and have nothing for us yet.
            raise BlockingIOError(errno.EAGAIN, "it holds nothing now, and may later")
        data = found
    if len(data) > max_bytes:
        # It grew since its status was taken, or its file system tells no size.
        raise StateError(f"{quote_untrusted(path)} has more than {max_bytes} bytes, the most")
    return data, status
