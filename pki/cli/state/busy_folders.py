"""Works through folders that other processes may have locked, without waiting for one of them.

Whoever owns a folder can hold its lock for ever. So a busy folder is left for later, and is then
tried again in turn with the other busy ones, until one time limit for all of them together is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pki.cli.state.credential_folders import FailedFolders
from pki.errors import PkiError, StateError, quote_untrusted
from pki.files.lock import WAIT_SECONDS, BusyFolderError

_PAUSE_SECONDS = 0.1


def work_through(
    folders: Iterable[Path],
    work: Callable[[Path], None],
    failed: FailedFolders,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Do a work in every folder; one that fails does not stop the others.

    Args:
        folders: the folders.
        work: what is done in a folder. It waits for no lock, and raises BusyFolderError.
        failed: gets the folders that fail, or stay busy.
        clock: the time in seconds.
        sleep: waits, in seconds.
    """

    def is_busy(path: Path) -> bool:
        try:
            work(path)
        except PkiError as error:
            if isinstance(error, BusyFolderError) and error.folder == path:
                return True
            failed.append((path, error))
        except OSError as error:
            failed.append((path, StateError(f"{quote_untrusted(path)}: {error.strerror or error}")))
        return False

    busy = [path for path in folders if is_busy(path)]
    deadline = clock() + WAIT_SECONDS
    while busy and clock() < deadline:
        sleep(_PAUSE_SECONDS)
        # Those that were not reached before the deadline are not tried again.
        busy = [path for path in busy if clock() >= deadline or is_busy(path)]
    failed += [(path, BusyFolderError(path, WAIT_SECONDS)) for path in busy]
