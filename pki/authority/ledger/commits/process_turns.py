"""Turns of processes of one machine that write to one ledger, where several serve the CA.

SQLite lets who waits for its lock try again now and then, and so does the lock of the mark. Between
processes that write all the time, one would wait until the other has nothing to do. So they wait
here, each for a moment at a time, and change off:

1. Who wants the turn first waits in the queue, and leaves it with the turn. So who has just had the
   turn can't take it again before the one that waits.
2. The turn is a courtesy. Who waits too long, because its holder was stopped, goes on without it:
   what is right is decided by the database alone.
3. The locks are the kernel's, and end with the process that holds them.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pki.files import BusyFolderError, locked

_QUEUE, _TURN = ".ledger.queue.lock", ".ledger.turn.lock"
_MOST_SECONDS = 1.0
_PAUSE_SECONDS = 0.0005


def offer_turns(folder: Path) -> None:
    """Let all processes take turns from now on.

    Args:
        folder: that of the ledger's mark.

    Raises:
        StateError: if the files for it can't be made, or are another user's.
    """
    for name in (_QUEUE, _TURN):
        with suppress(BusyFolderError), locked(folder, name=name, wait_seconds=0):
            pass


@contextmanager
def process_turn(folder: Path, seconds: float) -> Iterator[None]:
    """Have the turn for a block, if turns are taken and it comes in time.

    Args:
        folder: that of the ledger's mark.
        seconds: for how long the caller waits for the ledger; half of it at most is spent here.
    """
    with ExitStack() as stack:
        try:
            queue = _open(stack, folder / _QUEUE)
            turn = _open(stack, folder / _TURN)
        except OSError:
            # Only one process serves this CA, or no descriptor is left.
            yield
            return
        end = time.monotonic() + min(_MOST_SECONDS, seconds / 2)
        if _lock(queue, end):
            _lock(turn, end)
            fcntl.flock(queue, fcntl.LOCK_UN)
        yield


def _open(stack: ExitStack, path: Path) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    stack.callback(os.close, descriptor)
    return descriptor


def _lock(descriptor: int, end: float) -> bool:
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(_PAUSE_SECONDS)
