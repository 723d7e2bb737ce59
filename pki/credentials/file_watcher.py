"""Watches paths, and calls a function when one of them leads to something new.

Each path is compared with its last state four times a second. The operating system's own watches
are not used: a watch belongs to an inode and not to a path, a machine may have none left, network
file systems report nothing to it, and it reports every file of a folder, log files included. A
comparison costs a ``stat`` for each file, and needs no descriptor.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pki.background import defer
from pki.files.path_signature import Signature, path_signature

log = logging.getLogger("handfast.credentials")

_TICK_SECONDS = 0.25


@dataclass(slots=True)
class WatchedPaths:
    """Paths to watch for one purpose.

    Args:
        paths: returns the paths as they are now, absolute.
        changed: called when one of them leads to something new.
    """

    paths: Callable[[], Iterable[Path]]
    changed: Callable[[], None]
    _last_state: dict[Path, Signature] | None = field(default=None, init=False)
    _check_again: bool = field(default=False, init=False)

    def check(self) -> bool:
        """Compare the paths with their last state; return whether one of them may have changed.

        The check after a change returns True once more: two writes within one tick of the file
        system's clock can leave the same state, and the second may come after the first was read.
        """
        now = {path: path_signature(path) for path in self.paths()}
        before, self._last_state = self._last_state, now
        is_changed = before is not None and now != before
        is_repeated, self._check_again = self._check_again, is_changed
        return is_changed or is_repeated


class FileWatcher:
    """Watches paths from a thread of its own.

    Args:
        watched: returns what to watch at this moment.
    """

    def __init__(self, watched: Callable[[], Sequence[WatchedPaths]]) -> None:
        self._watched = watched
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="handfast-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Stop the thread, and wait for it this long."""
        self._stop.set()
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._check_all()
            self._stop.wait(_TICK_SECONDS)

    def _check_all(self) -> None:
        for item in self._watched():
            try:
                if item.check():
                    item.changed()
            except BaseException as error:
                # One faulty source must not keep the others from being watched.
                defer(log.error, "watched paths could not be checked: %r", error)
