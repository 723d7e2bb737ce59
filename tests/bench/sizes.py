"""Resident memory, threads and descriptors after ten thousand rotations, against after a hundred.

Each rotation brings both sides a leaf that was never seen before: what is remembered of old ones
counts. The credentials come as PEM in memory, which is taken up at once; all behind that is the
same as with files.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

from pki.keys import private_key_to_pem
from pki.x509 import Credential
from pki.x509.readers import to_pem
from tests.bench.ground import Ground
from tests.bench.rows import Row
from tests.bench.sides import OURS
from tests.bench.throughput import Pair

_EARLY = 100
_MOST_GROWN = 5.0  # MB
_UPTAKE_SECONDS = 20.0
# Old connections, and the handshakes that a port holds open while it changes, are over by then, and
# gRPC's pool has let go of the threads that a burst called for: it keeps an idle one for 20 s.
_SETTLE_SECONDS = 25.0
_PAUSE_SECONDS = 0.002
_MESSAGES = 2
# gRPC's own pool breathes by a thread or two. One that stays behind in a thousand rotations makes
# ten.
_MOST_MORE = 2
_MEGABYTE = 1e6


def growth(ground: Ground, rotations: int) -> Iterator[Row]:
    """Measure how much servers and callers grow: one process each, asyncio and threads in both."""
    with ExitStack() as stack:
        pair = Pair(
            stack, ground, {"kinds": ["aio", "sync"], "side": OURS, "record": True, "pem": True}
        )
        early = _sizes_after(ground, pair, _EARLY)
        late = _sizes_after(ground, pair, rotations - _EARLY)
    for name in ("server", "caller"):
        before, after = early[name], late[name]
        grown = (after["resident"] - before["resident"]) / _MEGABYTE
        more = {what: after[what] - before[what] for what in ("threads", "descriptors")}
        words = ", ".join(f"{what} {before[what]} to {after[what]}" for what in more)
        yield Row(
            f"resident MB after {rotations:,} rotations against {_EARLY}, {name}",
            after["resident"] / _MEGABYTE,
            before["resident"] / _MEGABYTE,
            after["resident"] / before["resident"],
            _MOST_GROWN,
            grown <= _MOST_GROWN and max(more.values()) <= _MOST_MORE,
            f"{grown:+.1f} MB; {words}",
        )


def _sizes_after(ground: Ground, pair: Pair, rotations: int) -> dict[str, dict[str, int]]:
    for _ in range(rotations):
        server, caller = ground.issue("server"), ground.issue("caller")
        pair.server.tell("replace", **_pem(server))
        pair.caller.tell("replace", **_pem(caller))
        pair.server.answer()
        pair.caller.answer()
        _wait_for_uptake(pair, caller.leaf.serial_number)
    time.sleep(_SETTLE_SECONDS)
    return {"server": pair.server.ask("size"), "caller": pair.caller.ask("size")}


def _wait_for_uptake(pair: Pair, serial: int) -> None:
    """Make calls until the server has seen the caller's new leaf."""
    end = time.monotonic() + _UPTAKE_SECONDS
    while time.monotonic() < end:
        pair.caller.ask("once", messages=_MESSAGES)
        if pair.server.ask("saw", serial=serial, seconds=0):
            return
        time.sleep(_PAUSE_SECONDS)
    raise TimeoutError("a rotation was not taken up")


def _pem(credential: Credential) -> dict[str, str]:
    assert credential.crls is not None
    return {
        "key": private_key_to_pem(credential.key).decode(),
        "chain": to_pem(credential.chain).decode(),
        "bundle": credential.bundle.to_pem().decode(),
        "lists": to_pem([item.crl for item in credential.crls.crls.values()]).decode(),
    }
