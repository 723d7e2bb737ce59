"""Rows that wait for the end of a commit, and what undoes them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.exc import IntegrityError

from pki.authority import Authority
from pki.authority.ledger import NameKind, Transaction, tables
from pki.authority.ledger.batching.names import ConflictError
from pki.authority.ledger.batching.needs import Needs
from pki.authority.ledger.records import NameClaim
from pki.errors import InputError, LedgerError, NotPermittedError, NotRenewableError
from pki.keys import IdentifiedKey, generate_key
from pki.proofs import encode_recovery_key
from tests.enrolling import Enrolling, enrolled
from tests.pkimaker import der
from tests.support import request_for
from tests.unit.authority.ledger.commits.test_shared_commits import SECONDS, run_together

NUMBER = 20
ORDERS, OTHER = "spiffe://shop.internal/orders", "spiffe://shop.internal/other"


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Authority]:
    with Authority.create(tmp_path / "ca", "shop.internal") as authority:
        yield authority


def new_key() -> IdentifiedKey:
    return IdentifiedKey.of(generate_key().public_key())


def owner_of(transaction: Transaction, key: IdentifiedKey) -> str | None:
    """Read past everything that the transaction remembers."""
    query = select(tables.keys.c.spiffe_id).where(tables.keys.c.fingerprint == key.fingerprint)
    owner: str | None = transaction.connection.scalar(query)
    return owner


def refuse() -> None:
    raise InputError("no")


def test_a_row_that_waits_is_read_in_its_transaction(ca: Authority) -> None:
    key = new_key()
    with ca.context.ledger.transaction() as transaction:
        transaction.keys.claim(key, owner=ORDERS)
        assert owner_of(transaction, key) == ORDERS
    with ca.context.ledger.snapshot() as transaction:
        assert owner_of(transaction, key) == ORDERS


@pytest.mark.parametrize("is_written", [False, True])
def test_a_step_is_undone_alone_whether_it_was_written_or_not(
    ca: Authority, is_written: bool
) -> None:
    before, undone, after = new_key(), new_key(), new_key()

    def step(transaction: Transaction) -> None:
        transaction.keys.claim(undone, owner=ORDERS)
        if is_written:
            assert owner_of(transaction, undone) == ORDERS
        refuse()

    with ca.context.ledger.transaction() as transaction:
        transaction.keys.claim(before, owner=ORDERS)
        with pytest.raises(InputError):
            transaction.alone(lambda: step(transaction))
        transaction.keys.claim(undone, owner=OTHER)
        transaction.alone(lambda: transaction.keys.claim(after, owner=ORDERS))
    with ca.context.ledger.snapshot() as transaction:
        owners = [owner_of(transaction, key) for key in (before, undone, after)]
    assert owners == [ORDERS, OTHER, ORDERS]


@pytest.mark.parametrize("is_written", [False, True])
def test_a_step_within_a_step_is_undone_alone(ca: Authority, is_written: bool) -> None:
    keys = [new_key() for _ in range(4)]

    def claim(transaction: Transaction, number: int) -> None:
        transaction.keys.claim(keys[number], owner=ORDERS)
        if is_written:
            owner_of(transaction, keys[number])

    def inner(transaction: Transaction) -> None:
        claim(transaction, 2)
        refuse()

    def outer(transaction: Transaction) -> None:
        claim(transaction, 1)
        with pytest.raises(InputError):
            transaction.alone(lambda: inner(transaction))
        claim(transaction, 3)

    with ca.context.ledger.transaction() as transaction:
        claim(transaction, 0)
        transaction.alone(lambda: outer(transaction))
    with ca.context.ledger.snapshot() as transaction:
        owners = [owner_of(transaction, key) for key in keys]
    assert owners == [ORDERS, ORDERS, None, ORDERS]


def test_what_was_read_ahead_is_forgotten_when_it_changes(ca: Authority) -> None:
    key, spiffe_id = new_key(), "orders"
    with ca.context.ledger.transaction() as transaction:
        line = transaction.lines.start(ORDERS, proof="token", at=ca.context.now())
        transaction.read_ahead(Needs((key,), (spiffe_id,), (ORDERS,)))
        assert not transaction.lines.is_recovery_key_known(key.fingerprint, key.der)
        der_of_key = encode_recovery_key(key.public_key)
        now = ca.context.now()
        transaction.lines.set_recovery_key(line, der_of_key, retired=None, at=now)
        assert transaction.lines.is_recovery_key_known(key.fingerprint, key.der)
        assert transaction.lines.get(line) is not None
        transaction.read_ahead(Needs((key,)))
        transaction.keys.claim(key, owner=ORDERS)
        transaction.keys.mark_compromised([key.fingerprint], at=now)
        with pytest.raises(NotPermittedError, match="key-compromise"):
            transaction.keys.claim(key, owner=ORDERS)


def test_what_was_read_ahead_is_what_is_read_alone(ca: Authority) -> None:
    request = der(request_for(generate_key(), []))
    issued = ca.issue_request("orders", request)
    key = IdentifiedKey.of(issued.leaf.public_key())  # type: ignore[arg-type]
    with ca.context.ledger.snapshot() as transaction:
        alone = transaction.certificates_of_key(key.fingerprint), transaction.keys.contains(key)
    with ca.context.ledger.snapshot() as transaction:
        transaction.read_ahead(Needs((key, new_key()), (ORDERS,), (ORDERS,)))
        ahead = transaction.certificates_of_key(key.fingerprint), transaction.keys.contains(key)
    assert alone == ahead
    assert len(alone[0]) == 1


def test_a_name_belongs_to_one_of_those_who_share_a_commit(ca: Authority) -> None:
    now = ca.context.now()

    def claiming(owner: str) -> Callable[[Transaction], None]:
        claim = NameClaim(NameKind.DNS, "a.example.org", owner, now + timedelta(hours=1))
        return lambda transaction: transaction.names.claim([claim], now=now)

    steps = [claiming(ORDERS), claiming(OTHER), claiming(ORDERS)]
    results = run_together(ca.context.ledger, steps)
    assert isinstance(results[1], NotPermittedError)
    assert ORDERS in str(results[1])
    assert results[0] is results[2] is None


def test_a_row_that_does_not_fit_fails_its_own_step_alone(ca: Authority) -> None:
    key, other = new_key(), new_key()

    def twice(transaction: Transaction) -> None:
        for _ in range(2):
            transaction.keys.claim(key, owner=ORDERS)
            # As where another replica has added the row since it was looked for.
            transaction.keys._of_secret._ahead[key.secret] = ()

    steps = [
        lambda transaction: transaction.keys.claim(other, owner=ORDERS),
        twice,
        lambda transaction: transaction.lines.start(ORDERS, proof="token", at=ca.context.now()),
    ]
    results = run_together(ca.context.ledger, steps)
    assert results[0] is None
    assert isinstance(results[1], LedgerError)
    assert isinstance(results[2], str)
    with ca.context.ledger.snapshot() as transaction:
        assert owner_of(transaction, other) == ORDERS
        assert owner_of(transaction, key) is None
        assert transaction.lines.get(results[2]) is not None


def test_a_name_that_another_has_claimed_meanwhile_fails_its_own_step_alone(ca: Authority) -> None:
    now = ca.context.now()
    until = now + timedelta(hours=1)
    with ca.context.ledger.transaction() as transaction:
        transaction.names.claim([NameClaim(NameKind.DNS, "a.org", OTHER, until)], now=now)

    def blind(transaction: Transaction) -> None:
        transaction.names._holders["dns", "a.org"] = None
        transaction.names.claim([NameClaim(NameKind.DNS, "a.org", ORDERS, until)], now=now)

    key = new_key()
    claim: Callable[[Transaction], None] = lambda transaction: transaction.keys.claim(  # noqa: E731
        key, owner=ORDERS
    )
    results = run_together(ca.context.ledger, [claim, blind])
    assert results[0] is None
    assert isinstance(results[1], ConflictError)
    with ca.context.ledger.snapshot() as transaction:
        assert owner_of(transaction, key) == ORDERS


def test_after_a_row_that_did_not_fit_nothing_is_committed(ca: Authority) -> None:
    first, second = new_key(), new_key()

    def bury(transaction: Transaction) -> None:
        for _ in range(2):
            transaction.keys.claim(first, owner=ORDERS)
            transaction.keys._of_secret._ahead[first.secret] = ()
        # A step of others makes them be written, and must not bury that they did not fit.
        for _ in range(2):
            with pytest.raises(IntegrityError):
                transaction.alone(transaction.events)
        transaction.keys.claim(second, owner=ORDERS)

    with pytest.raises(LedgerError, match=r"(?i)unique"):
        ca.context.ledger.run(bury)
    with ca.context.ledger.snapshot() as transaction:
        assert owner_of(transaction, second) is None


def test_a_row_that_does_not_fit_fails_no_step_but_the_one_around_it(ca: Authority) -> None:
    key, other = new_key(), new_key()

    def twice(transaction: Transaction) -> None:
        for _ in range(2):
            transaction.keys.claim(key, owner=ORDERS)
            transaction.keys._of_secret._ahead[key.secret] = ()

    def batch(transaction: Transaction) -> None:
        transaction.alone(lambda: twice(transaction))
        # The next one of the batch makes them be written.
        transaction.alone(transaction.events)

    def claim(transaction: Transaction) -> None:
        transaction.keys.claim(other, owner=ORDERS)

    results = run_together(ca.context.ledger, [claim, batch, claim])
    assert isinstance(results[1], LedgerError)
    assert results[0] is results[2] is None
    with ca.context.ledger.snapshot() as transaction:
        assert owner_of(transaction, other) == ORDERS
        assert owner_of(transaction, key) is None


def statements_of(ca: Authority, works: Sequence[Callable[[], object]]) -> list[str]:
    """Return the statements of operations that all wait before the first of them is taken up."""
    ledger = ca.context.ledger
    seen: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(statement)

    with ThreadPoolExecutor(len(works)) as threads:
        with ledger.transaction():
            futures = [threads.submit(work) for work in works]
            end = time.monotonic() + SECONDS
            while sum(map(len, ledger._turns._waiting.values())) < len(works):
                assert time.monotonic() < end
                time.sleep(0.001)
            event.listen(ledger._engine, "before_cursor_execute", note)
        for future in futures:
            future.result(SECONDS)
    event.remove(ledger._engine, "before_cursor_execute", note)
    return seen


def check_shared(seen: list[str], *table_names: str) -> None:
    """Check that each table was written once in each commit."""
    times = [
        len([text for text in seen if f"INTO {table} " in text])
        for table in ("commits", *table_names)
    ]
    # One commit, or a few if that one took long.
    assert len(set(times)) == 1, times
    assert 1 <= times[0] < NUMBER


def test_those_who_share_a_commit_share_its_statements(ca: Authority) -> None:
    requests = [der(request_for(generate_key(), [])) for _ in range(NUMBER)]
    works = [
        partial(ca.issue_request, f"orders-{place}", request)
        for place, request in enumerate(requests)
    ]
    seen = statements_of(ca, works)
    assert len(ca.certificates()) == NUMBER
    check_shared(seen, "keys", "names", "lines", "certificates", "audit_entries")


def test_renewals_that_share_a_commit_share_its_statements(ca: Authority) -> None:
    workloads = [enrolled(ca.context, f"orders-{place}") for place in range(NUMBER)]
    seen = statements_of(ca, [workload.renew for workload in workloads])
    check_shared(seen, "keys", "certificates", "audit_entries")
    assert not any("SAVEPOINT" in text for text in seen)
    renewed = [item for item in ca.certificates() if item.renewed_from is not None]
    assert len(renewed) == NUMBER


def test_a_certificate_is_renewed_once_by_those_who_share_a_commit(ca: Authority) -> None:
    workload = enrolled(ca.context, "orders")
    copies = [copy.copy(workload) for _ in range(3)]
    results: list[object] = []

    def renew(it: Enrolling) -> None:
        try:
            results.append(it.renew())
        except NotRenewableError as error:
            results.append(error)

    statements_of(ca, [partial(renew, item) for item in copies])
    assert sum(isinstance(item, NotRenewableError) for item in results) == 2


def test_an_update_within_a_step_is_undone_with_it(ca: Authority) -> None:
    key = new_key()

    def step(transaction: Transaction) -> None:
        transaction._connection.execute(update(tables.keys).values(spiffe_id=OTHER))
        refuse()

    with ca.context.ledger.transaction() as transaction:
        transaction.keys.claim(key, owner=ORDERS)
        with pytest.raises(InputError):
            transaction.alone(lambda: step(transaction))
        assert owner_of(transaction, key) == ORDERS
