"""Resident memory, threads and descriptors after ten thousand rotations, against after a hundred.

Each rotation brings both sides a new leaf, so whatever is kept of old leaves shows. The credentials
come as PEM in memory, which takes effect at once; everything else is the same as with files.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

from pki.keys import private_key_to_pem
from pki.x509 import Credential
from pki.x509.readers import to_pem
from tests.bench.environment import Environment
from tests.bench.rows import Row
from tests.bench.sides import OURS
from tests.bench.throughput import Pair

_EARLY = 100
_MOST_GROWN = 2.0  # MB
_UPTAKE_SECONDS = 20.0
# By then old connections are closed, and so are the handshakes that a port holds open while it
# changes. gRPC's pool has also ended the threads of a burst: it keeps an idle thread for 20 s.
_SETTLE_SECONDS = 25.0
_PAUSE_SECONDS = 0.002
_MESSAGES = 2
# The size of gRPC's own pool varies by a thread or two. A leak of one thread in a thousand
# rotations would make ten.
_MOST_MORE = 2
_MEGABYTE = 1e6


def growth(env: Environment, rotations: int) -> Iterator[Row]:
    """Measure how much servers and callers grow: one process each, asyncio and threads in both."""
    with ExitStack() as stack:
        pair = Pair(
            stack,
            env,
            {"kinds": ["aio", "sync"], "side": OURS, "record": True, "pem": True},
        )
        early = _sizes_after(env, pair, _EARLY)
        late = _sizes_after(env, pair, rotations - _EARLY)
    for name in ("server", "caller"):
        before, after = early[name], late[name]
        grown = (after["resident"] - before["resident"]) / _MEGABYTE
        more = {item: after[item] - before[item] for item in ("threads", "descriptors")}
        note = ", ".join(f"{item} {before[item]} to {after[item]}" for item in more)
        yield Row(
            f"resident MB after {rotations:,} rotations against {_EARLY}, {name}",
            after["resident"] / _MEGABYTE,
            before["resident"] / _MEGABYTE,
            after["resident"] / before["resident"],
            _MOST_GROWN,
            grown <= _MOST_GROWN and max(more.values()) <= _MOST_MORE,
            f"{grown:+.1f} MB; {note}",
        )


def _sizes_after(env: Environment, pair: Pair, rotations: int) -> dict[str, dict[str, int]]:
    for _ in range(rotations):
        server, caller = env.issue("server"), env.issue("caller")
        pair.server.tell("replace", **_pem(server))
        pair.caller.tell("replace", **_pem(caller))
        pair.server.answer()
        pair.caller.answer()
        _wait_for_uptake(pair, caller.leaf.serial_number)
    time.sleep(_SETTLE_SECONDS)
    return {"server": pair.server.ask("size"), "caller": pair.caller.ask("size")}


def _wait_for_uptake(pair: Pair, serial: int) -> None:
    """Make calls until the server has received one with the caller's new leaf."""
    end = time.monotonic() + _UPTAKE_SECONDS
    while time.monotonic() < end:
        pair.caller.ask("once", messages=_MESSAGES)
        if pair.server.ask("wait_for", serial=serial, seconds=0):
            return
        time.sleep(_PAUSE_SECONDS)
    raise TimeoutError("a rotation did not take effect")


def _pem(credential: Credential) -> dict[str, str]:
    assert credential.crls is not None
    return {
        "key": private_key_to_pem(credential.key).decode(),
        "chain": to_pem(credential.chain).decode(),
        "bundle": credential.bundle.to_pem().decode(),
        "crls": to_pem([item.crl for item in credential.crls.crls.values()]).decode(),
    }
