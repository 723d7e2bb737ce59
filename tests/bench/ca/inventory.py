"""The inventory's commands on a ledger of a million certificates, beside one of a thousand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.rows import Pairs, Row
from tests.served_process import MAIN

_LISTED = ("--limit", "100")


def inventory(few: Path, filled: Path, most: int, quick: bool) -> Iterator[Row]:
    """Measure commands, each a process of its own from its start to its end.

    Args:
        few: the state folder of the small CA.
        filled: that of the large one.
        most: how many certificates that one has.
        quick: spend less time.
    """
    pairs = 2 if quick else 5
    workload = f"filler/{most // 2}"
    for command in (
        ("list", *_LISTED),
        ("list", "--expiring", "1h", *_LISTED),
        ("list", "--state", "revoked", *_LISTED),
        ("list", "--owner", workload),
        ("list", "--forecast", "24h"),
        ("search", workload),
        ("search", "0123abcd"),
    ):
        runs = [(_seconds(filled, *command), _seconds(few, *command)) for _ in range(pairs)]
        large, small = zip(*runs, strict=True)
        name = f"handfast {' '.join(command)}, s, of {most:,} against 1,000"
        yield Pairs(large, small).row(name, None, None)
    exported = _seconds(filled, "export", "--all")
    yield Row(f"handfast export --all, s, of {most:,}", exported, None, None, None, None)


def _seconds(folder: Path, *arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        env={**os.environ, "HANDFAST_DIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - begun
