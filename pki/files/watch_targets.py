"""Find what to watch for a path: every folder in which a change can make it lead elsewhere.

A watch of the operating system belongs to an inode. But each symbolic link on a path may be
swapped, and each folder moved away and replaced by another. So the folders that hold those links
are watched too, and a signature of all that the path leads to shows changes that no watch saw.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_MOST_LINKS = 40  # the limit of Linux
_MOST_ENTRIES = 1000

Signature = tuple[object, ...]


def watch_directories(path: Path) -> frozenset[str]:
    """Return the folders to watch for a path: all that hold a link on it, and the last one.

    Args:
        path: absolute. For a folder, the last one is itself; for a file, the folder that holds it.
    """
    return _walk(path)[0]


def path_steps(path: Path) -> frozenset[str]:
    """Return the names whose change can make a path lead elsewhere: each link on it, and its end.

    They are absolute, below the folders that :func:`watch_directories` returns.
    """
    return _walk(path)[1]


def _walk(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    folders: set[str] = set()
    steps: set[str] = set()
    pending = list(reversed(path.parts[1:]))
    here, links = path.parts[0] if path.parts else os.sep, 0
    while pending:
        step = os.path.normpath(os.path.join(here, pending.pop()))
        try:
            target = os.readlink(step)
        except OSError:
            # No link, or not there; the rest of the path may come later.
            here = step
            continue
        links += 1
        if links > _MOST_LINKS:
            break
        folders.add(os.path.dirname(step))
        steps.add(step)
        here = os.sep if os.path.isabs(target) else os.path.dirname(step)
        pending.extend(part for part in reversed(Path(target).parts) if part != os.sep)
    folders.add(here if os.path.isdir(here) else os.path.dirname(here))
    return frozenset(folders), frozenset({*steps, here})


def watch_directories_of_entries(folder: Path) -> frozenset[str]:
    """Return the folders to watch for a folder and for the links in it."""
    folders = set(watch_directories(folder))
    for entry in _entries(folder):
        if entry.is_symlink():
            folders |= watch_directories(folder / entry.name)
    return frozenset(folders)


def real_paths(path: Path) -> frozenset[str]:
    """Return the real path of a file, or those of all files in a folder."""
    names = [path / entry.name for entry in _entries(path)] if path.is_dir() else [path]
    return frozenset(os.path.realpath(name) for name in names)


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
