"""From a revocation to the last of thousands of followers of one CA, and what they cost it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pki
from pki._proto.handfast.ca.v1 import authority_pb2, authority_pb2_grpc
from pki.authority import Authority
from pki.authority.issued import Issued
from pki.authority.orders import NamedOrder
from pki.errors import PkiError
from pki.identity import SpiffeId
from tests.bench.ca.served import (
    SHOP,
    ServedCa,
    cpu_seconds,
    resident_bytes,
    save_pem,
    served_ca,
)
from tests.bench.children import Child
from tests.bench.rows import Row, spread_of

_PROCESSES, _BATCH = 2, 100
_HEARTBEAT = 5.0
_MIB = 1 << 20
_MOST_MIB = 1024.0


def followers(home: Path, quick: bool) -> Iterator[Row]:
    """Measure with a fifth of the followers, and then with all of them."""
    stages = ((100, 1.0), (500, 2.0)) if quick else ((1000, 1.0), (5000, 2.0))
    most, times = stages[-1][0], 2 if quick else 9
    victims: list[str] = []

    def also(authority: Authority) -> None:
        _issue(authority, home / "followers", most)
        names = [f"victim/{number}" for number in range(times * len(stages))]
        victims.extend(f"{item.leaf.serial_number:x}" for item in _issued(authority, names))

    with ExitStack() as stack:
        ca = stack.enter_context(served_ca(_made(home / "served"), also=also))
        empty = resident_bytes(ca.pid)
        loads = [
            stack.enter_context(Child("tests.bench.ca.lean.follower_load", settings, home))
            for settings in _settings(ca, home / "followers")
        ]
        me = stack.enter_context(pki.Workload.from_directory(ca.admin))
        channel = stack.enter_context(me.sync_channel(ca.address, peer=SpiffeId.of_ca(SHOP)))
        admin = authority_pb2_grpc.AuthorityStub(channel)
        following = 0
        for number, bar in stages:
            for load in loads:
                load.tell("open", number=(number - following) // _PROCESSES)
            began = max(load.answer() for load in loads)
            note = f"{number - following} streams began in {began:.0f} s"
            following = number
            runs = [_revoke(ca, admin, loads, victims.pop()) for _ in range(times)]
            yield _row(number, bar, runs, note)
        full = resident_bytes(ca.pid)
    value = full / _MIB
    each = (full - empty) / following / 1024
    yield Row(
        f"resident memory of a CA with {following:,} followers, MiB",
        value,
        None,
        None,
        _MOST_MIB,
        value <= _MOST_MIB,
        f"{empty / _MIB:.0f} MiB without one; {each:.0f} KiB each",
    )


def _revoke(
    ca: ServedCa, admin: authority_pb2_grpc.AuthorityStub, loads: list[Child], serial: str
) -> tuple[float, float, int, float]:
    """Revoke a certificate.

    Returns:
        Seconds until the last follower heard of it, and until the admin had the answer; how many
        heard of it from a list; the processor time of the CA until then.
    """
    # At any time between two heartbeats.
    time.sleep(1.0 + random.random() * _HEARTBEAT)
    cpu, begun = cpu_seconds(ca.pids), time.monotonic()
    request = authority_pb2.RevokeRequest(serial=serial, reason="key-compromise")
    admin.Revoke(request, timeout=60)
    answered = time.monotonic() - begun
    told = [load.ask("told", serial=serial) for load in loads]
    spent = cpu_seconds(ca.pids) - cpu
    last = max(item["last"] for item in told) - begun
    return last, answered, sum(item["by_list"] for item in told), spent


def _row(number: int, bar: float, runs: list[tuple[float, float, int, float]], note: str) -> Row:
    took = [run[0] for run in runs]
    answered, spent = median(run[1] for run in runs), median(run[3] for run in runs)
    lists = sum(run[2] for run in runs)
    return Row(
        f"seconds from a revocation to the last of {number:,} followers",
        median(took),
        None,
        None,
        bar,
        median(took) <= bar,
        f"{spread_of(took, 2)} in {len(runs)} times; answered after {answered:.2f} s, the CA's "
        f"processor {spent:.2f} s, {lists} by a list alone; {note}",
    )


def _issue(authority: Authority, folder: Path, number: int) -> None:
    """Issue a certificate for each follower, and write it into a file."""
    folder.mkdir()
    names = [f"follower/{place}" for place in range(number)]
    for place, item in enumerate(_issued(authority, names)):
        assert item.key is not None
        save_pem(item.key, item.chain, folder / f"{place}.pem")


def _issued(authority: Authority, names: list[str]) -> Iterator[Issued]:
    for begin in range(0, len(names), _BATCH):
        orders = [NamedOrder(name) for name in names[begin : begin + _BATCH]]
        for result in authority.issue_each(orders):
            if isinstance(result, PkiError):
                raise result
            yield result


def _settings(ca: ServedCa, folder: Path) -> Iterator[dict[str, object]]:
    for place in range(_PROCESSES):
        yield {
            "address": ca.address,
            "root": str(ca.root),
            "credentials": str(folder),
            "first": place,
            "step": _PROCESSES,
        }


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
