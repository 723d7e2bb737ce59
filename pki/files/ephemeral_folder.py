"""A folder for what must not last: the files of a throw-away CA."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder made in it is the user's alone


@dataclass(frozen=True, slots=True, weakref_slot=True)
class EphemeralFolder:
    """A private folder that is removed at the end of the process, if not before."""

    path: Path
    process: int = field(default_factory=os.getpid)

    @classmethod
    def make(cls) -> Self:
        """Make a folder, in memory where that is possible.

        Raises:
            OSError: if none can be made.
        """
        try:
            made = tempfile.mkdtemp(prefix="handfast-", dir=_IN_MEMORY)
        except OSError:
            made = tempfile.mkdtemp(prefix="handfast-")
        folder = cls(Path(made))
        weakref.finalize(folder, _remove_in, folder.process, folder.path)
        return folder

    def remove(self) -> None:
        """Remove it with all that it holds, as far as possible; a forked child removes nothing."""
        _remove_in(self.process, self.path)


def _remove_in(process: int, path: Path) -> None:
    # A forked child must not remove the folder of its parent.
    if os.getpid() == process:
        shutil.rmtree(path, ignore_errors=True)
