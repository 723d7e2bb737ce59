"""How fast the CA issues and lists with a million certificates in its ledger, beside a thousand."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives import serialization

from pki.authority import Authority
from pki.authority.ledger.audit import AuditAction
from tests.bench.ca.inventory import inventory
from tests.bench.ca.signing_requests import make_ders
from tests.bench.rows import Pairs, Row

_AT_ONCE, _CHUNK = 16, 10_000


def many(home: Path, quick: bool) -> Iterator[Row]:
    """Measure both ledgers in turns."""
    pairs, number, most = (3, 160, 20_000) if quick else (11, 1920, 1_000_000)
    folders = home / "few", home / "many"
    for folder in folders:
        folder.mkdir()
    with (
        Authority.create(folders[0] / "ca", "shop.internal") as few,
        Authority.create(folders[1] / "ca", "shop.internal") as filled,
        ThreadPoolExecutor(_AT_ONCE) as threads,
    ):
        fill(few, 1000)
        fill(filled, most)
        # Else the disk is still busy with what was filled in, and each commit waits for that.
        os.sync()

        def rate(authority: Authority) -> float:
            ders = make_ders(number)
            begun = time.perf_counter()
            list(threads.map(lambda item: authority.issue_request(*item), _named(ders)))
            return number / (time.perf_counter() - begun)

        for authority in (few, filled):
            rate(authority)
        runs = [(rate(filled), rate(few)) for _ in range(pairs)]
    rates = Pairs([mine for mine, _ in runs], [theirs for _, theirs in runs])
    name = f"certificates a second with {most:,} in the ledger, against 1,000"
    yield rates.row(name, 0.9, median(rates.ratios) >= 0.9)
    yield from inventory(*folders, most, quick)


def _named(ders: list[bytes]) -> list[tuple[str, bytes]]:
    return [(f"load-{place % _AT_ONCE}", der) for place, der in enumerate(ders)]


def fill(authority: Authority, number: int) -> None:
    """Put so many certificates into a ledger, each with its key, line, name and audit entry.

    They end one after the other, as in a fleet that is renewed evenly.
    """
    context = authority.context
    issued = authority.issue("filler")
    der = issued.leaf.public_bytes(serialization.Encoding.DER)
    begin = int(issued.leaf.not_valid_before_utc.timestamp())
    last_end = int(issued.leaf.not_valid_after_utc.timestamp())
    issuer = authority.issuers()[-1].id

    def ends(place: int) -> int:
        return last_end - place * (last_end - begin) // number

    with sqlite3.connect(str(context.directory.ledger)) as ledger:
        ledger.execute("PRAGMA journal_mode=WAL")
        for first in range(0, number, _CHUNK):
            rows = [
                (secrets.token_hex(20), secrets.token_hex(32), secrets.token_hex(16), place)
                for place in range(first, min(first + _CHUNK, number))
            ]
            ledger.executemany(
                "INSERT INTO keys (fingerprint, secret, spiffe_id) VALUES (?, ?, ?)",
                [(key, key[::-1], _workload(place)) for _, key, _, place in rows],
            )
            ledger.executemany(
                "INSERT INTO names (kind, value, spiffe_id, held_until) VALUES ('spiffe', ?, ?, ?)",
                [(_workload(place), _workload(place), last_end) for _, _, _, place in rows],
            )
            ledger.executemany(
                "INSERT INTO lines (id, spiffe_id, proof, started_at) VALUES (?, ?, 'token', ?)",
                [(line, _workload(place), begin) for _, _, line, place in rows],
            )
            ledger.executemany(
                "INSERT INTO certificates (issuer_id, serial, spiffe_id, profile, certificate, "
                "key_fingerprint, not_before, not_after, issued_at, line_id) "
                "VALUES (?, ?, ?, 'workload', ?, ?, ?, ?, ?, ?)",
                [
                    (issuer, serial, _workload(place), der, key, begin, ends(place), begin, line)
                    for serial, key, line, place in rows
                ],
            )
            ledger.commit()
            with context.ledger.transaction() as transaction:
                for serial, _, _, place in rows:
                    subject = _workload(place)
                    entry = context.audit_entry(AuditAction.ISSUE, subject=subject, serial=serial)
                    transaction.audit.append(entry)


def _workload(place: int) -> str:
    return f"spiffe://shop.internal/filler/{place}"
