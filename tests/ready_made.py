"""Folders that are made a few times in this process, and written again for each test."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# A test that makes more CAs than these makes the others itself.
DIFFERENT = 4
# So what is made with the machine's clock is nearly as fresh as if it were made now.
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Item:
    """A file, or a folder if there is no content."""

    path: str
    mode: int
    content: bytes | None


@dataclass
class ReadyMade:
    """Writes what a function makes, with other keys from one time to the next.

    The function makes a folder that is not there yet. What it makes is written several times, but
    never twice running: two of them in one test are two different CAs. All is kept in memory.
    """

    make: Callable[[Path], None]
    _made: list[tuple[float, list[_Item]]] = field(default_factory=list)
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    def write(self, folder: Path) -> None:
        """Write it into a folder, which is made like the other if it is not there."""
        is_there = folder.exists()
        folder.parent.mkdir(parents=True, exist_ok=True)
        for item in self._next():
            path = folder / item.path
            if path == folder and is_there:
                continue
            if item.content is None:
                path.mkdir()
            else:
                path.write_bytes(item.content)
            path.chmod(item.mode)

    def _next(self) -> list[_Item]:
        place = next(self._turn) % DIFFERENT
        if place < len(self._made) and time.monotonic() - self._made[place][0] < SECONDS:
            return self._made[place][1]
        with tempfile.TemporaryDirectory() as folder:
            at = time.monotonic()
            made = Path(folder, "made")
            self.make(made)
            items = [_read(path, made) for path in (made, *sorted(made.rglob("*")))]
        self._made[place : place + 1] = [(at, items)]
        return items


def _read(path: Path, below: Path) -> _Item:
    assert not path.is_symlink(), path
    return _Item(
        str(path.relative_to(below)),
        path.stat().st_mode & 0o7777,
        None if path.is_dir() else path.read_bytes(),
    )
