"""When the audit log's newest entries are told of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.ledger import Transaction
from pki.authority.ledger.audit import AuditAction, AuditHead
from pki.authority.ledger.commits.telling import Telling
from pki.errors import InputError, PkiError
from tests.unit.authority.ledger.commits.test_shared_commits import run_together


def head(size: int) -> AuditHead:
    return AuditHead(size, b"", None)


def test_the_last_of_those_that_follow_one_another_tells_of_all() -> None:
    telling = Telling()
    assert telling.due(head(1), follows=False) == head(1)
    assert telling.due(head(2), follows=True) is None
    assert telling.due(head(3), follows=True) is None
    assert telling.due(head(4), follows=False) == head(4)
    assert telling.due(None, follows=False) is None


def test_one_that_added_nothing_tells_of_those_before() -> None:
    telling = Telling()
    assert telling.due(head(1), follows=False) == head(1)
    assert telling.due(head(2), follows=True) is None
    assert telling.due(None, follows=False) == head(2)


def test_an_older_head_that_comes_later_is_not_told_of() -> None:
    telling = Telling()
    assert telling.due(head(1), follows=False) == head(1)
    assert telling.due(head(3), follows=True) is None
    assert telling.due(head(2), follows=False) == head(3)


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Authority]:
    with Authority.create(tmp_path / "ca", "shop.internal") as authority:
        yield authority


def published(ca: Authority) -> int:
    note = ca.context.publication.read()
    assert note is not None
    return int(note.splitlines()[1])


def size(ca: Authority) -> int:
    with ca.context.ledger.snapshot() as transaction:
        return transaction.audit.head().size


@pytest.mark.parametrize("is_refused", [False, True])
def test_when_nothing_follows_any_more_the_checkpoint_is_the_newest(
    ca: Authority, is_refused: bool
) -> None:
    entry = ca.context.audit_entry(AuditAction.REFUSE, subject="x", reason="test")

    def last(transaction: Transaction) -> int:
        if is_refused:
            raise InputError("no")
        return transaction.audit.append(entry)

    steps = [lambda transaction: transaction.audit.append(entry)] * 10
    run_together(ca.context.ledger, [*steps, last])
    assert published(ca) == size(ca)


def test_a_commit_that_fails_tells_of_those_before(ca: Authority) -> None:
    ledger = ca.context.ledger
    entry = ca.context.audit_entry(AuditAction.REFUSE, subject="x", reason="test")
    with ledger.transaction() as transaction:
        transaction.audit.append(entry)
        newest = transaction.audit.head()
    ledger._telling.due(head(0), follows=False)
    assert ledger._telling.due(newest, follows=True) is None
    told: list[AuditHead] = []
    ledger.after_entries = told.append
    with pytest.raises(PkiError), ledger.transaction():
        raise InputError("no")
    assert told == [newest]
