"""From writing a revocation to the end of the last stream of a hundred callers."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from pki.files import save_credential
from tests.bench.children import Child
from tests.bench.ground import Ground
from tests.bench.rows import Row, spread_of
from tests.bench.sides import OURS

CALLERS = 100
_MOST_SECONDS = 1.0
_THREADS = CALLERS + 20


def revocation(ground: Ground, kind: str, times: int) -> Iterator[Row]:
    """Measure it: all callers hold leaves of their own, all of which one new list revokes."""
    server_folder = ground.directory("server", f"{kind}-server")
    settings = {
        "kinds": [kind],
        "side": OURS,
        "directory": str(server_folder),
        "policy": str(ground.policy),
        "log": str(ground.home / f"{kind}-decisions.log"),
        "threads": _THREADS,
    }
    took: list[float] = []
    codes: Counter[str] = Counter()
    with Child("tests.bench.serve", settings, ground.home) as server:
        target = server.hello["targets"][kind]
        for number in range(times):
            seconds, found = _once(ground, target, server_folder, f"{kind}-{number}")
            took.append(seconds)
            codes.update(found)
    words = ", ".join(f"{count} {code}" for code, count in codes.items())
    yield Row(
        f"seconds from a revocation to the last of {CALLERS} streams, {kind}",
        median(took),
        None,
        None,
        _MOST_SECONDS,
        median(took) <= _MOST_SECONDS and "OK" not in codes,
        f"{spread_of(took)} in {times} times; {words}",
    )


def _once(
    ground: Ground, target: str, server_folder: Path, place: str
) -> tuple[float, Counter[str]]:
    issued = {
        ground.home / f"{place}-{number}": ground.issue(f"crowd/{place}-{number}")
        for number in range(CALLERS)
    }
    for folder, credential in issued.items():
        save_credential(credential, folder)
    how = {"target": target, "directories": [str(folder) for folder in issued]}
    with Child("tests.bench.crowd", how, ground.home) as crowd:
        crls = ground.revoke(credential.leaf for credential in issued.values())
        aside = server_folder / ".crl.aside"
        aside.write_bytes(crls)
        begin = time.monotonic()
        os.replace(aside, server_folder / "crl.pem")
        ends: list[tuple[float, str]] = crowd.ask("ends")
        again: list[str] = crowd.ask("call_again")
    # The monotonic clock is the same in all processes of a machine.
    return max(at for at, _ in ends) - begin, Counter([code for _, code in ends] + again)
