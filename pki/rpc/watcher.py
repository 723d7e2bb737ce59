"""Watches folders in a thread of its own, and looks again at least twice a second.

The folders are watched, not the files: a file that is replaced, or a symbolic link that is swapped
(Kubernetes), ends a watch on the file itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from watchfiles import watch

log = logging.getLogger("handfast.rpc")

_TICK_MILLISECONDS = 250
_SETTLE_MILLISECONDS = 50


class Watcher:
    """Calls back when something in the folders changed, and at each tick.

    Args:
        folders: gives the folders as they are now.
        changed: called with True after a change, with False at a tick without one.
    """

    def __init__(
        self, folders: Callable[[], Iterable[Path]], changed: Callable[[bool], None]
    ) -> None:
        self._folders = folders
        self._changed = changed
        self._stop = threading.Event()
        self._renew = threading.Event()
        self._thread = threading.Thread(target=self._run, name="handfast-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def folders_changed(self) -> None:
        """Look at the folders anew: there is another one to watch."""
        self._renew.set()

    def stop(self) -> None:
        """End, and wait for the thread."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._renew.clear()
            try:
                self._watch()
            except Exception as error:
                # The folder is gone, or the system has no watch to give, or whatever: this thread
                # keeps everything fresh, and looks by the clock instead.
                log.debug("no watch: %s", error)
                self._call(changed=True)
                self._stop.wait(_TICK_MILLISECONDS / 1000)

    def _watch(self) -> None:
        folders = {str(folder) for folder in self._folders()}
        if not folders:
            # Nothing on disk to watch: a source that pushes, and no policy.
            self._call(changed=False)
            self._stop.wait(_TICK_MILLISECONDS / 1000)
            return
        for changes in watch(
            *sorted(folders),
            debounce=_SETTLE_MILLISECONDS,
            step=_SETTLE_MILLISECONDS,
            stop_event=self._stop,
            rust_timeout=_TICK_MILLISECONDS,
            yield_on_timeout=True,
            recursive=False,
            watch_filter=None,
            raise_interrupt=False,
        ):
            self._call(changed=bool(changes))
            if self._renew.is_set() or not all(Path(folder).is_dir() for folder in folders):
                return

    def _call(self, *, changed: bool) -> None:
        try:
            self._changed(changed)
        except Exception:
            # The thread that keeps everything fresh must not die of one bad look.
            log.exception("looking again failed")
