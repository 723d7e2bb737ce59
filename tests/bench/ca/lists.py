"""What a revocation list of 100,000 entries costs: to sign, and for who verifies with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import pki
from pki.authority import Authority
from pki.authority.ledger import IssuerKind
from pki.files import save_trust
from pki.x509 import WORKLOAD, ChainVerifier, Crl, Purpose
from pki.x509.revocation import IssuerId
from tests.bench.feed import fill
from tests.bench.rows import Row, spread_of

_CHECKS = 1000


def lists(home: Path, quick: bool) -> Iterator[Row]:
    """Measure with one long list of the issuing CA, and the root's short one."""
    times, revoked = (3, 5_000) if quick else (3, 100_000)
    with Authority.create(home / "ca", "shop.internal") as ca:
        issued = ca.issue("peer")
        fill(ca, revoked)
        bundle, crls = ca.trust()
        issuing = next(item for item in ca.issuers() if item.kind is IssuerKind.ISSUING)
        long = crls.crls[IssuerId.of_ca(issuing.certificate)]
        assert len(long.revoked) >= revoked

        def sign() -> None:
            with ca.context.ledger.transaction() as transaction:
                ca.context.refresh_crl(issuing, transaction)

        def verify(verifier: ChainVerifier) -> None:
            verifier.verify(issued.chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=ca.now())

        def verifier_after_new_list() -> ChainVerifier:
            """Return that of a workload which has just taken up a list that was signed anew."""
            ca.refresh_crls(force=True)
            _, newer = ca.trust()
            save_trust(bundle, newer, home / "me")
            before = me._provider.snapshot.verifier
            me.reload()
            made = me._provider.snapshot.verifier
            assert made is not before
            return made

        ca.issue("me").save(home / "me")
        signing = [_seconds(sign) for _ in range(times)]
        with pki.Workload.from_directory(home / "me") as me:
            made = [verifier_after_new_list() for _ in range(times)]
        first = [_seconds(partial(verify, item)) for item in made]

        def check() -> None:
            for _ in range(_CHECKS):
                verify(made[0])

        each = [_seconds(check) / _CHECKS for _ in range(times)]
        looks = [_lookup(long, issued.leaf.serial_number) for _ in range(times)]
    entries = f"{revoked:,} entries"
    yield _row(f"build and sign a list of {entries}, s", signing, 2.0)
    yield _row(f"verify the first chain after a new list of {entries}, ms", first, 5.0, 1e3)
    yield _row("verify another chain with it, us", each, None, 1e6)
    yield _row("look one peer up in it, us", looks, 5.0, 1e6)


def _lookup(crl: Crl, serial: int) -> float:
    def look() -> None:
        for _ in range(_CHECKS):
            assert serial not in crl.revoked

    return _seconds(look) / _CHECKS


def _row(name: str, seconds: list[float], bar: float | None, factor: float = 1.0) -> Row:
    values = [item * factor for item in seconds]
    value = median(values)
    ok = None if bar is None else value <= bar
    return Row(name, value, None, None, bar, ok, f"{spread_of(values)} in {len(values)} runs")


def _seconds(step: Callable[[], object]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun
