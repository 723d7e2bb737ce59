"""Strangers who are refused: counted, and told once a minute and reason."""

from __future__ import annotations

import threading
from pathlib import Path

from pki.authority.audit import RefusalSums
from tests.support import Clock, make_authority
from tests.unit.authority.audit.logged import actions, kinds


def test_a_flood_of_refusals_is_one_entry_a_minute_and_reason() -> None:
    clock = Clock()
    sums = RefusalSums(clock)
    for _ in range(10_000):
        sums.count("token-unknown")
    sums.count("mac-invalid")
    assert sums.take_due() == ()
    clock.move(seconds=59)
    assert sums.take_due() == ()
    clock.move(seconds=1)
    entries = sums.take_due()
    assert [(item.reason, item.details["count"]) for item in entries] == [
        ("mac-invalid", 1),
        ("token-unknown", 10_000),
    ]
    assert {item.actor.name for item in entries} == {"stranger"}
    assert entries[0].details["since"] == int(clock().timestamp()) - 60
    clock.move(minutes=5)
    assert sums.take_due() == ()


def test_a_minute_begins_with_its_first_refusal_and_a_clock_that_jumps_back_ends_it() -> None:
    clock = Clock()
    sums = RefusalSums(clock)
    clock.move(minutes=5)
    sums.count("token-unknown")
    assert sums.take_due() == ()
    clock.move(hours=-1)
    assert len(sums.take_due()) == 1


def test_reasons_without_end_are_counted_together() -> None:
    clock = Clock()
    sums = RefusalSums(clock)
    for number in range(100):
        sums.count(f"reason-{number}")
    clock.move(minutes=1)
    counts = {item.reason: item.details["count"] for item in sums.take_due()}
    assert len(counts) == 33
    assert counts["other"] == 68


def test_what_could_not_be_recorded_is_counted_with_what_follows() -> None:
    clock = Clock()
    sums = RefusalSums(clock)
    sums.count("token-unknown")
    began = int(clock().timestamp())
    clock.move(minutes=1)
    entries = sums.take_due()
    sums.count("token-unknown")
    sums.put_back(entries)
    (entry,) = sums.take_due(at_end=True)
    assert (entry.details["count"], entry.details["since"]) == (2, began)


def test_what_was_counted_is_recorded_when_the_service_ends(tmp_path: Path) -> None:
    sums = RefusalSums(Clock())
    sums.count("token-unknown")
    with make_authority(tmp_path) as ca:
        with ca._context.ledger.transaction() as transaction:
            for entry in sums.take_due(at_end=True):
                transaction.audit.append(entry)
        assert actions(ca)[-1] == "refuse-many"
        assert kinds(ca) == set()


def test_threads_lose_no_refusal() -> None:
    sums = RefusalSums(Clock())

    def count() -> None:
        for _ in range(2000):
            sums.count("token-unknown")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (entry,) = sums.take_due(at_end=True)
    assert entry.details["count"] == 8000
