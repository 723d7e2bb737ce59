"""What of a path is watched: every folder in which a change makes it mean something else.

A watch of the system's holds to an inode. A path is more: each symbolic link on its way may be
swapped, and each folder moved aside and replaced by another. So the folders that hold those links
are watched too, and a signature of all that the path leads to tells a change that no watch saw.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_MOST_LINKS = 40  # as Linux follows
_MOST_ENTRIES = 1000

Signature = tuple[object, ...]


def folders_on_the_way(path: Path) -> frozenset[str]:
    """Return the folders to watch for a path: those that hold a link on its way, and its last one.

    Args:
        path: absolute; a folder is watched itself, a file by the folder that it lies in.
    """
    found: set[str] = set()
    pending = list(reversed(path.parts[1:]))
    here, links = path.parts[0] if path.parts else os.sep, 0
    while pending:
        step = os.path.normpath(os.path.join(here, pending.pop()))
        try:
            target = os.readlink(step)
        except OSError:
            # No link, or not there: what lies below it is looked for all the same.
            here = step
            continue
        links += 1
        if links > _MOST_LINKS:
            break
        found.add(os.path.dirname(step))
        here = os.sep if os.path.isabs(target) else os.path.dirname(step)
        pending.extend(part for part in reversed(Path(target).parts) if part != os.sep)
    found.add(here if os.path.isdir(here) else os.path.dirname(here))
    return frozenset(found)


def folders_behind(folder: Path) -> frozenset[str]:
    """Return the folders to watch for a folder and for what its links lead to."""
    found = set(folders_on_the_way(folder))
    for entry in _entries(folder):
        if entry.is_symlink():
            found |= folders_on_the_way(folder / entry.name)
    return frozenset(found)


def files_behind(path: Path) -> frozenset[str]:
    """Return the real paths of the file that a path leads to, or of those in its folder."""
    names = [path / entry.name for entry in _entries(path)] if path.is_dir() else [path]
    return frozenset(os.path.realpath(name) for name in names)


def signature_of(path: Path) -> Signature:
    """Return what tells one state of a path from another, links followed.

    For a folder, its own and that of each entry. It opens no file, and a folder only to list it.
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
    # The time of the inode too: it is set by each change, of the mode as of the content.
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
        # Gone, or no descriptor is left: its own state tells of the first, time of the second.
        return
