"""A file of lines that are appended whole, also when a disk is full or the file is moved away."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from pki.errors import InputError, StateError, quote_untrusted

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MODE = 0o640
_OF_NO_READER = (
    "It is a socket, as /dev/stdout is under systemd, or a pipe that nobody reads: name a file, or "
    "log to the logger handfast.decisions"
)


class AppendedFile:
    """Appends lines to a file. Not safe for use by several threads; several processes may share it.

    Args:
        path: the file; made with the mode 0640 if it is not there.

    Raises:
        InputError: if the path is a directory, or no path can be so.
        StateError: if the file can't be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        # The program may change its folder later.
        self._path = path.absolute()
        self._descriptor = -1
        self._has_part = False  # the file ends with a part of a line, and more of it is not to come
        try:
            self._open()
        except IsADirectoryError:
            raise InputError(
                f"decision log {quote_untrusted(path)} is a directory", remedy="Name a file in it"
            ) from None
        except ValueError as error:
            raise InputError(f"decision log {quote_untrusted(path)}: {error}") from None
        except OSError as error:
            raise StateError(
                f"decision log {quote_untrusted(path)} can't be written: {error.strerror}",
                remedy=_OF_NO_READER
                if error.errno == errno.ENXIO
                else "Make its folder, and let the service's user write there",
            ) from None

    def append(self, lines: bytes) -> tuple[bytes, OSError | None]:
        """Append lines.

        Args:
            lines: whole lines, or what this has returned before.

        Returns:
            What is left to write, and the error that stands in the way; None if all is written.
        """
        begin = at = 0  # of the line that is being written, and of what is not written yet
        try:
            if self._follow():
                self._has_part = False
            while at < len(lines):
                if self._has_part:
                    os.write(self._descriptor, b"\n")
                    self._has_part = False
                at += os.write(self._descriptor, memoryview(lines)[at:])
                begin = lines.rfind(b"\n", 0, at) + 1
        except OSError as error:
            if at > begin and self._is_regular:
                # Nobody shall read half a line, and nobody shall write on in it.
                self._has_part = not self._take_back(at - begin)
                at = begin
            return lines[at:], error
        return b"", None

    def close(self) -> None:
        """Close it."""
        if self._is_ours():
            os.close(self._descriptor)
        self._descriptor = -1

    @property
    def descriptor(self) -> int:
        """The descriptor; -1 once it is closed."""
        return self._descriptor

    def _open(self) -> None:
        self._descriptor = os.open(self._path, _FLAGS, _MODE)
        status = os.fstat(self._descriptor)
        self._identity = status.st_dev, status.st_ino
        self._is_regular = stat.S_ISREG(status.st_mode)

    def _is_ours(self) -> bool:
        """Return whether the descriptor is still the file's: whoever makes a daemon closes all."""
        try:
            status = os.fstat(self._descriptor)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def _follow(self) -> bool:
        """Open the file anew if it was moved away, as logrotate does; return whether it was.

        Raises:
            OSError: if it can't be opened: then nothing is written to the old one either.
        """
        is_ours = self._is_ours()
        if is_ours and not self._is_regular:
            return False
        if is_ours:
            try:
                status = self._path.stat()
            except FileNotFoundError:
                pass
            else:
                if (status.st_dev, status.st_ino) == self._identity:
                    return False
        old = self._descriptor
        self._open()
        if is_ours:
            os.close(old)
        return True

    def _take_back(self, size: int) -> bool:
        """Take back what was written of a line; return whether that could be done."""
        try:
            end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            if os.fstat(self._descriptor).st_size != end:
                # Another process has written since.
                return False
            os.ftruncate(self._descriptor, end - size)
        except OSError:
            return False
        return True
