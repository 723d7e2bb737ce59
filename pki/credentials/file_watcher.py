"""Watches paths, and calls a function when one of them leads to something new.

The system's watches are fast but not reliable: a watch belongs to an inode, not to a path, and the
system may have no watch left. So each path is also compared with its last state four times a
second, which needs no descriptor. A watched folder may hold other files, such as a log that each
reload writes to: only names on the watched paths cause a comparison before its time.

``watchfiles.watch`` logs each change before it reports it. In the watching thread that would run
the user's log handlers: one that blocks would hold up the watch, and one that writes to a file in a
watched folder would cause the next change. So the class below ``watchfiles.watch`` is used here,
which logs nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pki.background import defer
from pki.files.watch_targets import (
    Signature,
    path_signature,
    path_steps,
    real_paths,
    watch_directories,
    watch_directories_of_entries,
)

log = logging.getLogger("handfast.credentials")

_TICK_MILLISECONDS = 250
_SETTLE_MILLISECONDS = 50
_MOST_FOLDERS = 256


@dataclass(slots=True)
class WatchedPaths:
    """Paths to watch for one purpose.

    Args:
        paths: returns the paths as they are now, absolute.
        changed: called when one of them leads to something new.
    """

    paths: Callable[[], Iterable[Path]]
    changed: Callable[[], None]
    last_state: dict[Path, Signature] | None = field(default=None, init=False)
    folders: frozenset[str] = field(default=frozenset(), init=False)
    files: frozenset[str] = field(default=frozenset(), init=False)
    steps: frozenset[str] = field(default=frozenset(), init=False)
    whole_folders: frozenset[str] = field(default=frozenset(), init=False)

    def check(self) -> bool:
        """Compare the paths with their last state; return whether one of them changed."""
        now = {path: path_signature(path) for path in self.paths()}
        before, self.last_state = self.last_state, now
        if now == before:
            return False
        self.folders = frozenset().union(*map(_folders_of, now))
        self.files = frozenset().union(*map(real_paths, now))
        self.steps = frozenset().union(*map(path_steps, now))
        self.whole_folders = frozenset(os.path.realpath(path) for path in now if path.is_dir())
        return before is not None

    def concerns(self, changed: str) -> bool:
        """Return whether a change of this name can be one of the watched paths."""
        return (
            changed in self.steps
            or changed in self.files
            or os.path.dirname(changed) in self.whole_folders
        )


class FileWatcher:
    """Watches paths from a thread of its own.

    Args:
        watched: returns what to watch at this moment.
    """

    def __init__(self, watched: Callable[[], Sequence[WatchedPaths]]) -> None:
        self._watched = watched
        self._stop = threading.Event()
        self._paths_changed = threading.Event()
        self._failure = ""
        self._thread = threading.Thread(target=self._run, name="handfast-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def update_paths(self) -> None:
        """Read again which paths to watch."""
        self._paths_changed.set()

    def stop(self, seconds: float) -> None:
        """Stop the thread, and wait for it this long."""
        self._stop.set()
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._paths_changed.clear()
            try:
                self._watch()
            except BaseException as error:
                # A folder is gone, or the system has no watch left: compare states only.
                self._log_once(error)
                self._check_safely()
                self._stop.wait(_TICK_MILLISECONDS / 1000)

    def _log_once(self, error: BaseException) -> None:
        """Log why there is no watch; not again at each comparison until a watch has begun."""
        if self._failure != str(error):
            self._failure = str(error)
            defer(log.debug, "no watch: %s", error)

    def _watch(self) -> None:
        # Loaded here: watchfiles is slow to load, and what it loads besides is not needed.
        from watchfiles._rust_notify import RustNotify  # noqa: PLC0415

        self._check_all()
        folders = self._folders()
        if not folders:
            self._stop.wait(_TICK_MILLISECONDS / 1000)
            return
        inodes = _inodes(folders)
        # Without polling, and without the folders below these.
        with RustNotify(folders, False, False, 0, False, False) as watching:
            self._failure, next_check = "", 0.0
            while not self._stop.is_set():
                changes = watching.watch(
                    _SETTLE_MILLISECONDS, _SETTLE_MILLISECONDS, _TICK_MILLISECONDS, self._stop
                )
                changed = [] if isinstance(changes, str) else [path for _, path in changes]
                if not self._must_check(changed) and time.monotonic() < next_check:
                    continue
                self._check_all(changed)
                next_check = time.monotonic() + _TICK_MILLISECONDS / 1000
                # Watch again where a path leads to another inode now.
                folders_now = self._folders()
                if (
                    self._paths_changed.is_set()
                    or folders_now != folders
                    or _inodes(folders_now) != inodes
                ):
                    return

    def _must_check(self, changed: Sequence[str]) -> bool:
        """Return whether to compare at once; other names in a folder, say of a log, may change."""
        watched = self._watched()
        return self._paths_changed.is_set() or any(
            item.concerns(path) for item in watched for path in changed
        )

    def _check_all(self, changed: Iterable[str] = ()) -> None:
        touched = set(changed)
        for item in self._watched():
            # Two writes within one tick of the file system's clock leave the same signature.
            if item.check() or touched & item.files:
                item.changed()

    def _check_safely(self) -> None:
        try:
            self._check_all()
        except BaseException as error:
            defer(log.error, "watched paths could not be checked: %r", error)

    def _folders(self) -> list[str]:
        folders = frozenset().union(*(item.folders for item in self._watched()))
        return sorted(folders)[:_MOST_FOLDERS]


def _folders_of(path: Path) -> frozenset[str]:
    folders = watch_directories_of_entries(path) if path.is_dir() else watch_directories(path)
    return frozenset(folder for folder in folders if Path(folder).is_dir())


def _inodes(folders: Iterable[str]) -> list[Signature]:
    return [_inode(Path(folder)) for folder in folders]


def _inode(folder: Path) -> Signature:
    try:
        status = folder.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino
