"""The folder that a restore fills before it takes the CA's place, and what a dead one has left.

A restore holds the kernel's lock on its folder. The lock ends with the process, so that the next
restore of the same CA knows which folders nobody fills any more.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pki.files.open_folder import OpenFolder, opened_folder

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def working_folder(home: Path) -> Iterator[Path]:
    """Make an empty folder beside a CA's, for a block that fills it; gone if the block fails.

    What restores that were killed have left there is removed first, and never what one that runs
    is filling.

    Args:
        home: the CA's folder, which the block puts in place; the one above is there.
    """
    with opened_folder(home.parent) as parent:
        _remove_leftovers(parent, home.name)
        name, descriptor = _make(parent, home.name)
        try:
            yield home.with_name(name)
        except BaseException:
            shutil.rmtree(name, ignore_errors=True, dir_fd=parent.descriptor)
            raise
        finally:
            os.close(descriptor)


def is_working_folder(name: str, home: str) -> bool:
    """Return whether a name is that of a folder which a restore makes beside a CA's."""
    return re.fullmatch(rf"\.{re.escape(home)}\.[0-9a-f]{{16}}\.tmp", name) is not None


def _make(parent: OpenFolder, home: str) -> tuple[str, int]:
    while True:
        name = f".{home}.{secrets.token_hex(8)}.tmp"
        parent.make_folder(name, mode=0o700, give=False)
        # Before it is locked, another restore takes it for a dead one's, and may remove it.
        with suppress(FileNotFoundError):
            descriptor = os.open(name, _FLAGS, dir_fd=parent.descriptor)
            if _lock(descriptor) is not False and _is_there(parent, name, descriptor):
                return name, descriptor
            os.close(descriptor)


def _remove_leftovers(parent: OpenFolder, home: str) -> None:
    for name in parent.names():
        if not is_working_folder(name, home) or not _is_own(parent, name):
            continue
        # Whatever goes wrong here hinders no restore.
        with suppress(OSError):
            descriptor = os.open(name, _FLAGS, dir_fd=parent.descriptor)
            try:
                if _lock(descriptor) and _is_there(parent, name, descriptor):
                    shutil.rmtree(name, ignore_errors=True, dir_fd=parent.descriptor)
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock a folder; return whether it is ours now, None if this file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_own(parent: OpenFolder, name: str) -> bool:
    status = parent.status_of(name)
    return status is not None and stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _is_there(parent: OpenFolder, name: str, descriptor: int) -> bool:
    status = parent.status_of(name)
    return status is not None and os.path.samestat(status, os.fstat(descriptor))
