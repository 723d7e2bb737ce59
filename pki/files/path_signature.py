"""The signature of a path: a value that differs once the path leads to something else.

It follows links, and so shows it too when a link on the way is swapped, or a folder is moved away
and replaced by another.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_MOST_ENTRIES = 1000

Signature = tuple[object, ...]


def path_signature(path: Path) -> Signature:
    """Return a value that differs between two states of a path, with links followed.

    For a folder, it covers the folder and each entry. No file is opened.
    """
    own = _state_of(path)
    if own[0] != "folder":
        return own
    return (own, *sorted((entry.name, _state_of(path / entry.name)) for entry in _entries(path)))


def _state_of(path: Path) -> Signature:
    try:
        status = path.stat()
    except OSError as error:
        return "none", error.errno
    kind = "folder" if stat.S_ISDIR(status.st_mode) else "file"
    # The inode's change time too, which each change of mode or content sets.
    return (
        kind,
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= _MOST_ENTRIES:
                    return
                yield entry
    except OSError:
        # Gone, which the folder's own state shows, or no descriptor is left for the moment.
        return
