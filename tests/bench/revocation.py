"""The time from writing a revocation to the end of the last stream of a hundred callers."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from pki.files import save_credential
from tests.bench.children import Child
from tests.bench.environment import Environment
from tests.bench.rows import Row, spread_of
from tests.bench.sides import OURS

CALLERS = 100
_MOST_SECONDS = 0.25
_THREADS = CALLERS + 20
_YOUNG_SECONDS = 0.25


def revocation(env: Environment, kind: str, times: int) -> Iterator[Row]:
    """Measure it. Each caller has a leaf of its own, and one new list revokes them all."""
    server_folder = env.directory("server", f"{kind}-server")
    settings = {
        "kinds": [kind],
        "side": OURS,
        "directory": str(server_folder),
        "policy": str(env.policy),
        "log": str(env.home / f"{kind}-decisions.log"),
        "threads": _THREADS,
    }
    took: list[float] = []
    codes: Counter[str] = Counter()
    with Child("tests.bench.serve", settings, env.home) as server:
        target = server.greeting["targets"][kind]
        for number in range(times):
            seconds, these = _once(env, target, server_folder, f"{kind}-{number}")
            took.append(seconds)
            codes.update(these)
    note = ", ".join(f"{count} {code}" for code, count in codes.items())
    yield Row(
        f"seconds from a revocation to the last of {CALLERS} streams, {kind}",
        median(took),
        None,
        None,
        _MOST_SECONDS,
        median(took) <= _MOST_SECONDS and "OK" not in codes,
        f"{spread_of(took)} in {times} times; {note}",
    )


def _once(
    env: Environment, target: str, server_folder: Path, place: str
) -> tuple[float, Counter[str]]:
    issued = {
        env.home / f"{place}-{number}": env.issue(f"crowd/{place}-{number}")
        for number in range(CALLERS)
    }
    for folder, credential in issued.items():
        save_credential(credential, folder)
    settings = {"target": target, "directories": [str(folder) for folder in issued]}
    with Child("tests.bench.crowd", settings, env.home) as crowd:
        crls = env.revoke(credential.leaf for credential in issued.values())
        aside = server_folder / ".crl.aside"
        aside.write_bytes(crls)
        # No stream is ended in its first 0.2 s; and the comparisons of the files begin at any time.
        time.sleep(_YOUNG_SECONDS + random.random() * _YOUNG_SECONDS)
        begin = time.monotonic()
        os.replace(aside, server_folder / "crl.pem")
        ends: list[tuple[float, str]] = crowd.ask("ends")
        again: list[str] = crowd.ask("call_again")
    # All processes of a machine share the monotonic clock.
    return max(at for at, _ in ends) - begin, Counter([code for _, code in ends] + again)
