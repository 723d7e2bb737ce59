"""What a change of the ledger costs a CA's service whose lists are long.

    python -m tests.bench.feed [--revoked 100000]

Prints how long it takes from a commit until followers are told: of a certificate that was issued,
and of one that was revoked; and how long the first reading takes. The CA is made in a temporary
folder, with rows that are inserted without signing a certificate for each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from sqlalchemy import insert

from pki.authority import Authority
from pki.authority.context import AuthorityContext
from pki.authority.ledger import tables
from pki.authority.ledger.rows import der_of, to_seconds
from pki.daemon.trust_feed import TrustFeed

_AT_ONCE = 5000
_TIMES = 5


def fill(ca: Authority, count: int) -> None:
    """Insert revoked certificates; all have the bytes of one that was issued."""
    leaf = ca.issue("orders").leaf
    now = ca.now()
    with ca.context.ledger.transaction() as transaction:
        record = transaction.certificate_by_serial(f"{leaf.serial_number:x}")
        assert record is not None
        connection = transaction.audit.connection
        for begin in range(0, count, _AT_ONCE):
            rows = [
                {
                    "issuer_id": record.issuer_id,
                    "serial": f"{(1 << 150) + number:x}",
                    "spiffe_id": record.spiffe_id,
                    "profile": record.profile,
                    "certificate": der_of(leaf),
                    "key_fingerprint": record.key_fingerprint,
                    "not_before": to_seconds(record.not_before),
                    "not_after": to_seconds(now + timedelta(days=1)),
                    "issued_at": to_seconds(now),
                    "revoked_at": to_seconds(now),
                    "reason": "unspecified",
                    "line_id": record.line_id,
                }
                for number in range(begin, min(begin + _AT_ONCE, count))
            ]
            connection.execute(insert(tables.certificates), rows)
        ids = range(record.id + 1, record.id + 1 + count)
        log = [{"certificate_id": item} for item in ids]
        for begin in range(0, count, _AT_ONCE):
            connection.execute(insert(tables.revocation_log), log[begin : begin + _AT_ONCE])
    ca.refresh_crls(force=True)


def spent(step: Callable[[], object]) -> float:
    begun = time.perf_counter()
    step()
    return (time.perf_counter() - begun) * 1000


def measure(context: AuthorityContext, ca: Authority) -> None:
    context.signs_lists_later = True
    feeds: list[TrustFeed] = []
    first = spent(lambda: feeds.append(TrustFeed(context, lambda: None, lambda _: None)))
    feed = feeds[0]
    say("first reading", [first])
    issued, revoked = [], []
    for number in range(_TIMES):
        leaf = ca.issue(f"worker-{number}").leaf
        issued.append(spent(feed.refresh))
        with ca.context.ledger.transaction() as transaction:
            record = transaction.certificate_by_serial(f"{leaf.serial_number:x}")
            assert record is not None
            transaction.mark_revoked([record.id], at=ca.now(), reason="unspecified")
        revoked.append(spent(feed.refresh))
        assert leaf.serial_number in {serial for _, (_, serial) in feed.state.unlisted}
    say("after a certificate was issued", issued)
    say("after one was revoked", revoked)
    say("when nothing has changed", [spent(feed.refresh) for _ in range(_TIMES)])


def say(what: str, milliseconds: list[float]) -> None:
    middle, most = statistics.median(milliseconds), max(milliseconds)
    sys.stdout.write(f"{what:32} {middle:10.1f} ms, at most {most:.1f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--revoked", type=int, default=100_000)
    count = parser.parse_args().revoked
    with (
        tempfile.TemporaryDirectory() as folder,
        Authority.create(Path(folder) / "ca", "shop.internal") as ca,
    ):
        fill(ca, count)
        sys.stdout.write(f"{count} revoked certificates on a list\n")
        measure(ca.context, ca)


if __name__ == "__main__":
    main()
