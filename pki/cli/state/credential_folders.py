"""Finds the folders below a state folder, in which credentials may lie.

Each folder in the state folder may belong to another user, who can put anything below it. So:

- one that can't be read, is too deep or too large costs an error line, and never the others;
- the folders take turns: one with thousands of folders below it delays the others by one each;
- a link below them counts only after all folders: one to a credential never takes its place.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pki.errors import PkiError, StateError, quote_untrusted
from pki.files.open_folder import opened_folder

FailedFolders = list[tuple[Path, PkiError]]

# Limits for all that lies below one folder of the state folder.
MOST_FOLDERS = 10_000
MOST_ENTRIES = 100_000
MOST_LEVELS = 16
# Linux takes 4096 bytes with the final zero; this leaves room for a file's name.
_LONGEST_PATH = 4096 - 257

_Inode = tuple[int, int]


def credential_folders(folder: Path, ca_folder: Path, failed: FailedFolders) -> Iterator[Path]:
    """Yield all folders below a folder, but for the CA's.

    Args:
        folder: where to begin.
        ca_folder: the folder of the CA.
        failed: gets those that can't be listed, and those that exceed a limit.
    """
    ca_folder = ca_folder.absolute()
    try:
        _, entries, _ = _list(folder, None)
    except PkiError as error:
        failed.append((folder, error))
        return
    visited: set[_Inode] = set()
    linked: set[_Inode] = set()
    parts = [
        _Below(folder / name, is_link, ca_folder, visited, linked, failed)
        for name, is_link in entries
        if (folder / name).absolute() != ca_folder
    ]
    yield from _in_turn(part.folders() for part in parts)
    yield from _in_turn(part.linked() for part in parts)


def _in_turn(parts: Iterable[Iterator[Path]]) -> Iterator[Path]:
    turns = deque(parts)
    while turns:
        turn = turns.popleft()
        folder = next(turn, None)
        if folder is not None:
            turns.append(turn)
            yield folder


@dataclass(slots=True)
class _Below:
    """What lies below one folder, within the limits.

    Args:
        top: the folder.
        is_link: whether it is a link; then nothing below it counts.
        ca_folder: left out.
        visited: the folders that were yielded, of all.
        linked_above: those of them that links in the state folder itself lead to.
        failed: gets what is left out.
    """

    top: Path
    is_link: bool
    ca_folder: Path
    visited: set[_Inode]
    linked_above: set[_Inode]
    failed: FailedFolders
    _links: list[Path] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    def folders(self) -> Iterator[Path]:
        """Yield the folder and all below it, but for the links there."""
        if self.is_link:
            # It lies in the state folder itself, whose owner put it there.
            yield from self._targets([self.top], self.linked_above)
            return
        # A workload's path may have several segments, and its folder lies as deep.
        pending = deque([(self.top, 1)])
        entries_left, folders_left = MOST_ENTRIES, MOST_FOLDERS
        while pending:
            here, level = pending.popleft()
            if not folders_left:
                self._leave_out(self.top, f"more than {MOST_FOLDERS} folders")
                break
            folders_left -= 1
            try:
                inode, entries, listed = _list(here, entries_left)
            except PkiError as error:
                self.failed.append((here, error))
                continue
            # Whatever else was visited: somebody may have swapped a folder for a link to this one.
            if inode not in self.linked_above:
                self.visited.add(inode)
                yield here
            if listed > entries_left:
                self._leave_out(here, f"with the folders above it more than {MOST_ENTRIES} files")
                entries = []
            entries_left = max(0, entries_left - listed)
            for name, entry_is_link in entries:
                path = here / name
                if path.name == self.ca_folder.name and path.absolute() == self.ca_folder:
                    continue
                if len(os.fsencode(path)) > _LONGEST_PATH:
                    self._leave_out(here, "a path that is too long")
                elif level == MOST_LEVELS and not entry_is_link:
                    self._leave_out(here, f"folders more than {MOST_LEVELS} levels deep")
                elif entry_is_link:
                    self._links.append(path)
                else:
                    pending.append((path, level + 1))

    def linked(self) -> Iterator[Path]:
        """Yield the links to folders that were not yielded, when all folders were."""
        yield from self._targets(self._links[:MOST_FOLDERS], self.visited)

    def _targets(self, links: list[Path], found: set[_Inode]) -> Iterator[Path]:
        for path in links:
            try:
                status = path.stat()
            except OSError as error:
                self.failed.append((path, StateError(f"{quote_untrusted(path)}: {error.strerror}")))
                continue
            # The same directory may be reached by its name too.
            inode = (status.st_dev, status.st_ino)
            if inode not in self.visited:
                self.visited.add(inode)
                found.add(inode)
                yield path

    def _leave_out(self, path: Path, what: str) -> None:
        """Report once what is left out."""
        if what not in self._told:
            self._told.add(what)
            message = f"{quote_untrusted(path)} holds {what}: what lies further below is left out"
            self.failed.append(
                (path, StateError(message, remedy="Move away what holds no credentials"))
            )


def _list(folder: Path, most: int | None) -> tuple[_Inode, list[tuple[str, bool]], int]:
    """List a folder.

    Args:
        folder: the folder.
        most: after how many entries to stop; None means never.

    Returns:
        Which folder it is; the names of the folders in it, sorted, each with whether it is a link;
        and how many entries there are, one more than ``most`` if there are more.

    Raises:
        StateError: if it can't be listed.
    """
    found: list[tuple[str, bool]] = []
    number = 0
    try:
        with (
            opened_folder(folder, failure=_not_listed(folder)) as opened,
            os.scandir(opened.descriptor) as entries,
        ):
            status = opened.status()
            for entry in entries:
                number += 1
                if most is not None and number > most:
                    break
                # What a command was writing when it was killed.
                is_left_over = entry.name.startswith(".") and entry.name.endswith(".tmp")
                if not is_left_over and _is_folder(entry):
                    found.append((entry.name, entry.is_symlink()))
    except OSError as error:
        raise StateError(f"{_not_listed(folder)}: {error.strerror or error}") from error
    return (status.st_dev, status.st_ino), sorted(found), number


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that can't be followed leads to no credential.
        return False


def _not_listed(folder: Path) -> str:
    return f"{quote_untrusted(folder)} can't be listed"
