"""Rotations under load: how many calls fail, and how long calls take.

A rotation replaces the credential directories of both the server and the caller. It is complete
when both use the new credential: a handshake with the server's port shows the new leaf, and a
handler of the server has received a call with the caller's. Only then does the next one begin.
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
from tests.bench.environment import Environment
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
_MOST_TIMES = 1.3
_PERCENTILE = 99
_MILLION = 1e6


class Rotator:
    """Replaces the directories of a server and its caller.

    Args:
        env: issues the credentials.
        pair: the server and the caller.
        kind: the kind of the server.
    """

    def __init__(self, env: Environment, pair: Pair, kind: str) -> None:
        self._ground = env
        self._pair = pair
        host, _, port = pair.targets[kind].rpartition(":")
        self._address = (host, int(port))

    def rotate(self) -> float:
        """Replace both, and wait until both are in use; return the seconds that it took."""
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
        """Wait until both are in use.

        Raises:
            TimeoutError: if one is not.
        """
        server, caller = self._last
        serial = caller.leaf.serial_number
        self._pair.server.tell("wait_for", serial=serial, seconds=_UPTAKE_SECONDS)
        is_presented = self._wait_until_presented(server)
        if not self._pair.server.answer() or not is_presented:
            raise TimeoutError("a rotation did not take effect")

    def _wait_until_presented(self, server: Credential) -> bool:
        """Wait until the server's port presents a leaf; return whether it does."""
        expected = server.leaf.public_bytes(Encoding.DER)
        end = time.monotonic() + _UPTAKE_SECONDS
        while time.monotonic() < end:
            if _fetch_leaf(self._address) == expected:
                return True
            time.sleep(_PAUSE_SECONDS)
        return False


def _fetch_leaf(address: tuple[str, int]) -> bytes | None:
    """Return a server's leaf: with TLS 1.3 it comes before the server refuses us."""
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


def failures(env: Environment, kind: str, rotations: int) -> Iterator[Row]:
    """Count the calls that fail while both sides rotate."""
    with ExitStack() as stack:
        pair = Pair(stack, env, {"kinds": [kind], "side": OURS, "record": True})
        rotator = Rotator(env, pair, kind)
        pair.caller.ask("begin", callers=_CALLERS, messages=_MESSAGES)
        took = []
        begin = time.monotonic()
        for _ in range(rotations):
            took.append(rotator.rotate())
        seconds = time.monotonic() - begin
        [counts] = pair.caller.ask("end")
    note = (
        f"{len(took)} used by both, {len(took) / seconds:.1f} a second, median "
        f"{median(took) * 1000:.0f} ms, most {max(took) * 1000:.0f} ms; {counts['good']:,} calls"
    )
    if counts["failures"]:
        note += f"; {'; '.join(counts['failures'])}"
    name = f"failed calls in {rotations:,} rotations, {kind}"
    yield Row(name, counts["failed"], None, None, 0, counts["failed"] == 0, note)


def tail(env: Environment, kind: str, pairs: int, seconds: float) -> Iterator[Row]:
    """Measure the 99th percentile of latency with a rotation a second, and without."""
    with ExitStack() as stack:
        pair = Pair(stack, env, {"kinds": [kind], "side": OURS, "record": True})
        rotator = Rotator(env, pair, kind)
        pair.caller.ask("paced", seconds=_WARM_UP_SECONDS, rate=_PACE)
        percentiles: dict[bool, list[float]] = {True: [], False: []}
        count = 0
        for number in range(pairs):
            for rotating in (number % 2 == 0, number % 2 == 1):
                # Issued beforehand, so that the CA's work is not measured.
                issued = [rotator.issue() for _ in range(int(seconds) if rotating else 0)]
                pair.caller.tell("paced", seconds=seconds, rate=_PACE)
                _rotate_each_second(rotator, issued)
                count += len(issued)
                [latencies] = pair.caller.answer()
                percentiles[rotating].append(
                    quantiles(latencies, n=100)[_PERCENTILE - 1] * _MILLION
                )
    measured = Pairs(percentiles[True], percentiles[False])
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
        # Asked only when it should be in use, because asking costs time too.
        time.sleep(_REST_SECONDS)
        rotator.wait()
