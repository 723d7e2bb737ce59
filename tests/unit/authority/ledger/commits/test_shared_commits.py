"""Steps of many threads that share one commit of the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import insert

from pki.authority import Authority
from pki.authority.ledger import Ledger, Transaction, tables
from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.errors import InputError, LedgerError, NotPermittedError
from pki.keys import generate_key
from tests.pkimaker import der
from tests.stuck_ledger import stuck_ledger
from tests.support import request_for

SECONDS = 30.0
_Result = TypeVar("_Result")


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Authority]:
    with Authority.create(tmp_path / "ca", "shop.internal") as authority:
        yield authority


def sequence(ledger: Ledger) -> int:
    with ledger.snapshot() as transaction:
        return transaction.state().sequence


def run_together(
    ledger: Ledger, steps: list[Callable[[Transaction], _Result]]
) -> list[_Result | BaseException]:
    """Run steps in threads, all of which wait before the first of them is taken up."""

    def run(step: Callable[[Transaction], _Result]) -> _Result | BaseException:
        try:
            return ledger.run(step)
        except Exception as error:
            return error

    turns = ledger._turns
    with ThreadPoolExecutor(len(steps)) as threads:
        with ledger.transaction():
            futures = [threads.submit(run, step) for step in steps]
            end = time.monotonic() + SECONDS
            while sum(map(len, turns._waiting.values())) < len(steps):
                assert time.monotonic() < end
                time.sleep(0.001)
        return [future.result(SECONDS) for future in futures]


def adding(ca: Authority, name: str) -> Callable[[Transaction], int]:
    entry = ca.context.audit_entry(AuditAction.REFUSE, subject=name, reason="test")
    return lambda transaction: transaction.audit.append(entry)


def test_many_steps_are_one_commit(ca: Authority) -> None:
    before = sequence(ca.context.ledger)
    results = run_together(ca.context.ledger, [adding(ca, str(number)) for number in range(20)])
    assert len(set(results)) == 20
    assert sequence(ca.context.ledger) == before + 1


@pytest.mark.parametrize("error", [NotPermittedError("no"), InputError("no"), ValueError("no")])
def test_a_step_that_is_refused_is_undone_alone(ca: Authority, error: Exception) -> None:
    def refused(transaction: Transaction) -> int:
        adding(ca, "undone")(transaction)
        raise error

    steps = [adding(ca, "first"), refused, adding(ca, "last")]
    results = run_together(ca.context.ledger, steps)
    assert results[1] is error
    with ca.context.ledger.snapshot() as transaction:
        texts = [text for _, text, _ in transaction.audit.entries()]
    assert sum('"first"' in text or '"last"' in text for text in texts) == 2
    assert not any("undone" in text for text in texts)


def test_a_step_that_conflicts_fails_alone(ca: Authority) -> None:
    def twice(transaction: Transaction) -> int:
        row = {"fingerprint": "aa", "secret": "bb", "spiffe_id": "spiffe://shop.internal/x"}
        for _ in range(2):
            transaction._connection.execute(insert(tables.keys), row)
        return 0

    results = run_together(ca.context.ledger, [adding(ca, "a"), twice, adding(ca, "b")])
    assert isinstance(results[1], LedgerError)
    assert "unique" in str(results[1]).lower()
    assert isinstance(results[0], int)
    assert isinstance(results[2], int)


@pytest.mark.sqlite
def test_when_the_commit_fails_nobody_has_a_result(ca: Authority, tmp_path: Path) -> None:
    ledger = ca.context.ledger.waiting(0.2)
    before = sequence(ledger)
    with stuck_ledger(tmp_path / "ca"), ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(ledger.run, adding(ca, str(number))) for number in range(8)]
        for future in futures:
            with pytest.raises(LedgerError, match="could not record"):
                future.result(SECONDS)
    assert sequence(ledger) == before
    assert ledger.run(adding(ca, "after")) > 0


def test_an_answer_is_given_after_its_commit(ca: Authority) -> None:
    ledger, seen = ca.context.ledger, []

    def issue(number: int) -> None:
        issued = ca.issue_request(f"orders-{number}", der(request_for(generate_key(), [])))
        with ledger.snapshot() as transaction:
            seen.append(transaction.certificate_by_serial(f"{issued.leaf.serial_number:x}"))

    threads = [threading.Thread(target=issue, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(seen) == 16
    assert None not in seen


def test_an_entry_has_its_own_place_in_the_log(ca: Authority) -> None:
    sizes = run_together(ca.context.ledger, [adding(ca, str(number)) for number in range(10)])
    with ca.context.ledger.snapshot() as transaction:
        for number, place in enumerate(sizes):
            assert isinstance(place, int)
            text = transaction.audit.entry(place)
            assert text is not None
            assert AuditEntry.parse(text).subject == str(number)
