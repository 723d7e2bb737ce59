"""Rotations under load: how many calls fail, and how long calls take.

A rotation replaces the credential directories of both the server and the caller. It counts when it
was taken up: a handshake of ours with the server's port shows the new leaf, and a handler of the
server has seen the caller's. Only then comes the next.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median, quantiles

from cryptography.hazmat.primitives.serialization import Encoding

from pki.files import save_credential
from pki.x509 import Credential
from tests.bench.ground import Ground
from tests.bench.rows import Pairs, Row
from tests.bench.sides import OURS
from tests.bench.throughput import Pair

_UPTAKE_SECONDS = 20.0
_PAUSE_SECONDS = 0.002
_REST_SECONDS = 0.45
_CALLERS = 3
_MESSAGES = 5
_PACE = 200.0  # calls a second
_WARM_UP_SECONDS = 1.0
_MOST_TIMES = 1.5
_PERCENTILE = 99
_MILLION = 1e6


class Rotator:
    """Replaces the directories of a server and its caller.

    Args:
        ground: issues.
        pair: the two.
        kind: of the server.
    """

    def __init__(self, ground: Ground, pair: Pair, kind: str) -> None:
        self._ground = ground
        self._pair = pair
        host, _, port = pair.targets[kind].rpartition(":")
        self._address = (host, int(port))

    def rotate(self) -> float:
        """Replace both, and wait until both are taken up; give the seconds that took."""
        begin = time.monotonic()
        self.replace(*self.issue())
        self.wait()
        return time.monotonic() - begin

    def issue(self) -> tuple[Credential, Credential]:
        """Issue for server and caller."""
        return self._ground.issue("server"), self._ground.issue("caller")

    def replace(self, server: Credential, caller: Credential) -> None:
        """Replace both directories."""
        save_credential(server, self._pair.folders["server"])
        save_credential(caller, self._pair.folders["caller"])
        self._last = server, caller

    def wait(self) -> None:
        """Wait until both are taken up.

        Raises:
            TimeoutError: if one was not.
        """
        server, caller = self._last
        serial = caller.leaf.serial_number
        self._pair.server.tell("saw", serial=serial, seconds=_UPTAKE_SECONDS)
        shown = self._shown(server)
        if not self._pair.server.answer() or not shown:
            raise TimeoutError("a rotation was not taken up")

    def _shown(self, server: Credential) -> bool:
        """Wait until the server's port shows a leaf."""
        expected = server.leaf.public_bytes(Encoding.DER)
        end = time.monotonic() + _UPTAKE_SECONDS
        while time.monotonic() < end:
            if _shown_leaf(self._address) == expected:
                return True
            time.sleep(_PAUSE_SECONDS)
        return False


def _shown_leaf(address: tuple[str, int]) -> bytes | None:
    """Shake hands without a certificate of ours: with TLS 1.3 theirs comes before the refusal."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(address, timeout=_UPTAKE_SECONDS) as plain,
        context.wrap_socket(plain) as secured,
    ):
        return secured.getpeercert(binary_form=True)


def failures(ground: Ground, kind: str, rotations: int) -> Iterator[Row]:
    """Count the calls that fail while both sides rotate."""
    with ExitStack() as stack:
        pair = Pair(stack, ground, {"kinds": [kind], "side": OURS, "record": True})
        rotator = Rotator(ground, pair, kind)
        pair.caller.ask("begin", callers=_CALLERS, messages=_MESSAGES)
        took = []
        begin = time.monotonic()
        for _ in range(rotations):
            took.append(rotator.rotate())
        seconds = time.monotonic() - begin
        [found] = pair.caller.ask("end")
    words = (
        f"{len(took)} taken up by both, {len(took) / seconds:.1f} a second, median "
        f"{median(took) * 1000:.0f} ms, most {max(took) * 1000:.0f} ms; {found['good']:,} calls"
    )
    if found["how"]:
        words += f"; {'; '.join(found['how'])}"
    name = f"failed calls in {rotations:,} rotations, {kind}"
    yield Row(name, found["failed"], None, None, 0, found["failed"] == 0, words)


def tail(ground: Ground, kind: str, pairs: int, seconds: float) -> Iterator[Row]:
    """Measure the 99th percentile of latency with a rotation a second, and without."""
    with ExitStack() as stack:
        pair = Pair(stack, ground, {"kinds": [kind], "side": OURS, "record": True})
        rotator = Rotator(ground, pair, kind)
        pair.caller.ask("paced", seconds=_WARM_UP_SECONDS, rate=_PACE)
        found: dict[bool, list[float]] = {True: [], False: []}
        count = 0
        for number in range(pairs):
            for rotating in (number % 2 == 0, number % 2 == 1):
                # Issued before: what a CA does is no part of what is measured.
                issued = [rotator.issue() for _ in range(int(seconds) if rotating else 0)]
                pair.caller.tell("paced", seconds=seconds, rate=_PACE)
                _rotate_each_second(rotator, issued)
                count += len(issued)
                [latencies] = pair.caller.answer()
                found[rotating].append(quantiles(latencies, n=100)[_PERCENTILE - 1] * _MILLION)
    measured = Pairs(found[True], found[False])
    yield measured.row(
        f"p99 latency of a unary call, us, rotating once a second, {kind}, {_PACE:.0f} calls/s",
        _MOST_TIMES,
        median(measured.ratios) <= _MOST_TIMES,
        f"{count} rotations",
    )


def _rotate_each_second(rotator: Rotator, issued: list[tuple[Credential, Credential]]) -> None:
    begin = time.monotonic()
    for number, credentials in enumerate(issued):
        time.sleep(max(0.0, begin + number + 0.5 - time.monotonic()))
        rotator.replace(*credentials)
        # Whether it was taken up is asked when it has been: asking costs time as well.
        time.sleep(_REST_SECONDS)
        rotator.wait()
