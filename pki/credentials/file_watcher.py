"""Wakes whoever follows a path when the path means something new: by watches, and by looking.

Watches of the system's are fast and not sure: they hold to inodes, and may be used up. So four
times a second the path itself is looked at as well, which needs no descriptor of its own.

``watchfiles.watch`` logs each change before it tells of it. In the thread that watches, that would
run the user's log handlers: one that blocks would hold up the watch, and one that writes to a file
in a watched folder would make the next change. So what it is made of is used here, and logs
nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from watchfiles._rust_notify import RustNotify

from pki.background import defer
from pki.files.watch_targets import (
    Signature,
    path_signature,
    real_paths,
    watch_directories,
    watch_directories_of_entries,
)

log = logging.getLogger("handfast.rpc")

_TICK_MILLISECONDS = 250
_SETTLE_MILLISECONDS = 50
_MOST_FOLDERS = 256


@dataclass(slots=True)
class WatchedPaths:
    """Paths that somebody follows.

    Args:
        paths: gives them as they are now, absolute.
        changed: called when one of them means something new.
    """

    paths: Callable[[], Iterable[Path]]
    changed: Callable[[], None]
    seen: dict[Path, Signature] | None = field(default=None, init=False)
    folders: frozenset[str] = field(default=frozenset(), init=False)
    files: frozenset[str] = field(default=frozenset(), init=False)

    def look(self) -> bool:
        """Look at the paths; return whether one of them means something new."""
        now = {path: path_signature(path) for path in self.paths()}
        before, self.seen = self.seen, now
        if now == before:
            return False
        self.folders = frozenset().union(*map(_folders_of, now))
        self.files = frozenset().union(*map(real_paths, now))
        return before is not None


class FileWatcher:
    """Watches paths from a thread of its own.

    Args:
        watched: gives what is followed at this moment.
    """

    def __init__(self, watched: Callable[[], Sequence[WatchedPaths]]) -> None:
        self._watched = watched
        self._stop = threading.Event()
        self._renew = threading.Event()
        self._thread = threading.Thread(target=self._run, name="handfast-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def paths_changed(self) -> None:
        """Take up another path: there is one more to watch."""
        self._renew.set()

    def stop(self, seconds: float) -> None:
        """End, and wait for the thread for so long."""
        self._stop.set()
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._renew.clear()
            try:
                self._watch()
            except BaseException as error:
                # A folder is gone, or the system has no watch to give: this thread wakes whoever
                # keeps everything fresh, and goes by looking alone.
                defer(log.debug, "no watch: %s", error)
                self._look_safely()
                self._stop.wait(_TICK_MILLISECONDS / 1000)

    def _watch(self) -> None:
        self._look()
        folders = self._folders()
        if not folders:
            self._stop.wait(_TICK_MILLISECONDS / 1000)
            return
        inodes = _inodes(folders)
        # By the system's watches alone, these folders and none below them.
        with RustNotify(folders, False, False, 0, False, False) as watching:
            while not self._stop.is_set():
                changes = watching.watch(
                    _SETTLE_MILLISECONDS, _SETTLE_MILLISECONDS, _TICK_MILLISECONDS, self._stop
                )
                self._look(() if isinstance(changes, str) else (path for _, path in changes))
                # A watch holds to an inode: where the path means another one, it is set up again.
                again = self._folders()
                if self._renew.is_set() or again != folders or _inodes(again) != inodes:
                    return

    def _look(self, changed: Iterable[str] = ()) -> None:
        touched = set(changed)
        for item in self._watched():
            # What is written in place twice within one tick of the file system's clock leaves the
            # signature as it was.
            if item.look() or touched & item.files:
                item.changed()

    def _look_safely(self) -> None:
        try:
            self._look()
        except BaseException as error:
            defer(log.error, "watched paths could not be looked at: %r", error)

    def _folders(self) -> list[str]:
        found = frozenset().union(*(item.folders for item in self._watched()))
        return sorted(found)[:_MOST_FOLDERS]


def _folders_of(path: Path) -> frozenset[str]:
    found = watch_directories_of_entries(path) if path.is_dir() else watch_directories(path)
    return frozenset(folder for folder in found if Path(folder).is_dir())


def _inodes(folders: Iterable[str]) -> list[Signature]:
    return [_inode(Path(folder)) for folder in folders]


def _inode(folder: Path) -> Signature:
    try:
        status = folder.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino
