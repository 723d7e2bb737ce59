"""Ten thousand agents whose renewals fell due while their CA was away, and which come back at once.

What is simulated is the past: the CA issues the certificates with its clock set back, to fall due
as in a fleet that runs since long, and each agent lives through the last minutes of the outage with
a clock of its own. From its end on, all is real: the command that serves the CA, its ledger on
disk, a connection with mutual TLS for each agent, each call, and time.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pki.authority import Authority
from pki.authority.enrollment import create_registration, issue_for_registrar
from pki.authority.registrations import Proof, Registration
from pki.ca_client.calls import signing_request
from pki.daemon.limits.renewal_slots import RenewalSlots
from pki.errors import PkiError
from pki.identity import SpiffeId
from pki.keys import PrivateKey, generate_key
from tests.bench.ca.served import (
    OPERATOR,
    SHOP,
    cpu_seconds,
    make_ca,
    resident_bytes,
    save_pem,
    served_ca,
)
from tests.bench.children import Child
from tests.bench.rows import Row

_PROCESSES, _BATCH, _INSTANCES = 2, 50, 100
_FIRST, _LAST = 0.4, 0.6
_PREPARATION_SECONDS, _EACH = 20.0, 0.008
_MOST_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class _Outage:
    """For how long the CA was away, and for how long certificates are good."""

    minutes: int
    lifetime: timedelta


def agents(home: Path, quick: bool) -> Iterator[Row]:
    """Measure both outages."""
    number = 500 if quick else 10_000
    for outage in (_Outage(20, timedelta(hours=1)), _Outage(60, timedelta(hours=4))):
        folder = home / f"away-{outage.minutes}"
        folder.mkdir()
        yield from _measure(folder, outage, number)


def _measure(home: Path, outage: _Outage, number: int) -> Iterator[Row]:
    preparation = timedelta(seconds=_PREPARATION_SECONDS + number * _EACH)
    back_at = (datetime.now(UTC) + preparation).replace(microsecond=0)
    issued = _due_in(outage, number, back_at)
    _make(home, outage, issued)
    settings = {
        "root": str(home / "root.pem"),
        "folder": str(home / "agents"),
        "back_at": back_at.timestamp(),
        "step": _PROCESSES,
    }
    with ExitStack() as stack:
        loads = [
            stack.enter_context(
                Child("tests.bench.ca.lean.agents_load", {**settings, "first": first}, home)
            )
            for first in range(_PROCESSES)
        ]
        time.sleep(max(0.0, (back_at - datetime.now(UTC)).total_seconds()))
        late = (datetime.now(UTC) - back_at).total_seconds()
        ca = stack.enter_context(served_ca(home, made=home))
        for load in loads:
            load.ask("back", address=ca.address)
        begun, used = time.monotonic(), cpu_seconds(ca.pids)
        while True:
            time.sleep(1.0)
            states = [load.ask("state") for load in loads]
            settled = sum(item["renewed"] + item["ended"] for item in states)
            seconds = time.monotonic() - begun
            if settled == number or seconds > _MOST_SECONDS:
                break
        cpu, resident = cpu_seconds(ca.pids) - used, resident_bytes(ca.pid)
    yield from _rows(
        outage,
        number,
        states,
        f"{cpu:.0f} s of the CA's processor in {seconds:.0f} s, "
        f"{resident / 2**20:.0f} MiB; the CA was back {late:.0f} s later than simulated",
    )


def _rows(outage: _Outage, number: int, states: list[dict[str, Any]], note: str) -> Iterator[Row]:
    def total(name: str) -> int:
        return sum(item[name] for item in states)

    ends: Counter[str] = Counter()
    for state in states:
        ends.update(state["ends"])
    away = f"{outage.minutes} minutes without the CA, certificates of {_hours(outage)}"
    left = min(item["least_left"] for item in states)
    last = max(item["last"] for item in states)
    lost = number - total("renewed")
    yield Row(
        f"agents of {number:,} not renewed in time after {away}",
        lost,
        None,
        None,
        0,
        lost == 0,
        f"{total('renewed'):,} renewed, the last after {last:.0f} s; the closest {left:.0f} s "
        f"before its end; {total('attempts'):,} attempts; {total('following'):,} follow; {note}; "
        f"the load was {max(item['lateness'] for item in states):.1f} s late at most",
    )
    refused = sum(count for name, count in ends.items() if "_EXHAUSTED" in name or "DENIED" in name)
    told = ", ".join(f"{count} {name}" for name, count in ends.most_common() if " OK" not in name)
    yield Row(
        "calls of these agents that the CA refused",
        refused,
        None,
        None,
        0,
        refused == 0,
        f"all that failed: {told or 'none'}",
    )


def _hours(outage: _Outage) -> str:
    return f"{outage.lifetime.total_seconds() / 3600:g} h"


def _due_in(
    outage: _Outage, number: int, back_at: datetime
) -> list[tuple[datetime, tuple[datetime, datetime]]]:
    """Return when certificates were issued that all fell due in the outage, and their windows.

    They are what falls due in it of a fleet that is renewed evenly, by the CA's own slots.
    """
    away, slots = timedelta(minutes=outage.minutes), RenewalSlots()
    begin = back_at - away - outage.lifetime * _LAST
    length = away + outage.lifetime * (_LAST - _FIRST)
    share = away / length
    found: list[tuple[datetime, tuple[datetime, datetime]]] = []
    for place in range(int(number / share * 1.5)):
        moment = begin + length * (place // _BATCH * _BATCH) * share / number
        issued_at = moment.replace(microsecond=0)
        window = slots.window(issued_at, outage.lifetime)
        if back_at - away <= window[0] and window[1] <= back_at:
            found.append((issued_at, window))
    # Fewer are found, for slots that the outage's end or begin divides: those of all times alike.
    return [found[place * len(found) // number] for place in range(number)]


def _make(
    home: Path, outage: _Outage, issued: list[tuple[datetime, tuple[datetime, datetime]]]
) -> None:
    """Make a CA that issued certificates at such times, and what its agents know."""
    moment = [issued[0][0] - timedelta(minutes=5)]
    folder = home / "agents"
    folder.mkdir()
    windows: list[tuple[str, float, float]] = []

    def also(authority: Authority) -> None:
        names = [
            SpiffeId.of_path(SHOP, f"agents/{place}")
            for place in range(-(-len(issued) // _INSTANCES))
        ]
        for name in names:
            registration = Registration(
                name,
                proofs=frozenset({Proof.REGISTRAR, Proof.RENEWAL}),
                lifetime=outage.lifetime,
            )
            create_registration(authority.context, OPERATOR, registration)
        for begin in range(0, len(issued), _BATCH):
            part = issued[begin : begin + _BATCH]
            moment[0] = part[0][0]
            keys = [generate_key() for _ in part]
            # Instances of one workload are not renewed one after the other.
            ids = [str(names[(begin + place) % len(names)]) for place in range(len(part))]
            _issue(authority, ids, keys, folder, begin)
            windows.extend(
                (name, window[0].timestamp(), window[1].timestamp())
                for name, (_, window) in zip(ids, part, strict=True)
            )

    make_ca(home, clock=lambda: moment[0], also=also)
    (folder / "windows.json").write_text(json.dumps(windows))


def _issue(
    authority: Authority, ids: list[str], keys: list[PrivateKey], folder: Path, first: int
) -> None:
    items = [(name, signing_request(key)) for name, key in zip(ids, keys, strict=True)]
    results = issue_for_registrar(authority.context, OPERATOR, items)
    for place, (key, result) in enumerate(zip(keys, results, strict=True), first):
        if isinstance(result, PkiError):
            raise result
        save_pem(key, result.issued.chain, folder / f"{place}.pem")
