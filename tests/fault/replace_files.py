"""Replaces the files of credentials at a steady pace, in one of the ways that tools write them.

Runs alone: ``replace_files.py WAY PER_SECOND COUNT (FOLDER PREPARED)...``, where ``PREPAREDn`` is
the folder with the n-th set of files.
"""

from __future__ import annotations

import shutil
import sys
import time
from itertools import count
from pathlib import Path

Files = dict[str, bytes]


def write_in_place(folder: Path, files: Files) -> None:
    """Write as a shell script does: cut off, and filled again."""
    for name, data in files.items():
        with (folder / name).open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            file.write(data[len(data) // 2 :])


def rename(folder: Path, files: Files) -> None:
    """Write each file aside, and rename it: the pair is torn for a moment."""
    for name, data in files.items():
        aside = folder / f".{name}.aside"
        aside.write_bytes(data)
        aside.chmod(0o600)
        aside.replace(folder / name)


def swap_link(folder: Path, files: Files) -> None:
    """Write all files into a new folder, and swap the link to it, as Kubernetes does."""
    made = folder / f"..{time.monotonic_ns()}"
    made.mkdir()
    for name, data in files.items():
        (made / name).write_bytes(data)
        (made / name).chmod(0o600)
    aside = folder / "..data_tmp"
    aside.symlink_to(made.name)
    old = (folder / "..data").resolve()
    aside.replace(folder / "..data")
    shutil.rmtree(old, ignore_errors=True)


WAYS = {"in-place": write_in_place, "rename": rename, "swap-link": swap_link}


def prepared(prefix: str) -> list[Files]:
    """Read the sets of files, in order."""
    found: list[Files] = []
    for turn in count():
        folder = Path(f"{prefix}{turn}")
        if not folder.is_dir():
            return found
        found.append({file.name: file.read_bytes() for file in folder.iterdir()})
    return found


def main() -> None:
    """Write until as many sets were written as the arguments say."""
    way, per_second, writes = WAYS[sys.argv[1]], float(sys.argv[2]), int(sys.argv[3])
    places = [
        (Path(folder), prepared(prefix))
        for folder, prefix in zip(sys.argv[4::2], sys.argv[5::2], strict=True)
    ]
    begun = time.monotonic()
    for turn in range(writes):
        for folder, sets in places:
            way(folder, sets[turn % len(sets)])
        time.sleep(max(0.0, begun + (turn + 1) / per_second - time.monotonic()))


if __name__ == "__main__":
    main()
