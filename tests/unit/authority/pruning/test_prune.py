"""Certificates that ended long ago leave the ledger; what hangs on them stays right."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from sqlalchemy import func, select, text

from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.authority.ledger import tables
from pki.authority.ledger.audit import AuditAction
from pki.authority.pruning import prune
from pki.authority.pruning.prune import START, PruneBounds, PruneStep, prune_step
from pki.errors import InputError, NotPermittedError
from pki.identity import DnsName, TrustDomain
from tests.enrolling import Enrolling, enrolled, register, token_for
from tests.older_ledger import make_older
from tests.support import Clock, make_authority, request_for

KEEP = timedelta(days=30)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path, clock) as authority:
        yield authority


def pruned(ca: Authority, keep: timedelta = KEEP) -> int:
    bounds, cursor, count = PruneBounds(ca.now() - keep, ca.now()), START, 0
    while True:
        step = prune_step(ca.context, bounds, cursor)
        count += step.certificates
        if step.cursor is None:
            return count
        cursor = step.cursor


def serials(ca: Authority) -> set[str]:
    with ca.context.ledger.snapshot() as transaction:
        return {item.serial for item in transaction.certificates()}


def rows(ca: Authority, table: str) -> int:
    with ca.context.ledger.snapshot() as transaction:
        query = select(func.count()).select_from(tables.metadata.tables[table])
        return int(transaction.connection.scalar(query) or 0)


def is_sound(ca: Authority) -> bool:
    with ca.context.ledger.snapshot() as transaction:
        connection = transaction.connection
        # PostgreSQL has checked them at each statement.
        is_in_file = connection.dialect.name == "sqlite"
        check = "PRAGMA foreign_key_check" if is_in_file else "SELECT 1 WHERE false"
        broken = connection.execute(text(check)).all()
    return broken == [] and ca.verify_audit_log().findings == ()


def test_what_ended_before_the_horizon_goes_and_nothing_else(ca: Authority, clock: Clock) -> None:
    old = ca.issue("orders")
    clock.move(days=31)
    young, newest = ca.issue("payments"), ca.issue("web")
    assert pruned(ca) == 0  # within an hour and a day of the horizon
    clock.move(days=2)
    assert pruned(ca) == 1
    assert serials(ca) == {f"{item.leaf.serial_number:x}" for item in (young, newest)}
    assert rows(ca, "lines") == 2
    assert is_sound(ca)
    (entry,) = [entry for _, entry in ca.audit_entries() if entry.action is AuditAction.PRUNE]
    assert (entry.details["certificates"], entry.details["lines"]) == (1, 1)
    assert entry.details["before"] == int((clock() - KEEP).timestamp())
    # Its entry is still there, and is proved.
    assert ca.prove_audit_entry(serial=f"{old.leaf.serial_number:x}")


def test_nothing_is_pruned_within_a_leafs_longest_life(ca: Authority) -> None:
    with pytest.raises(InputError, match="can't be pruned"):
        prune_step(ca.context, PruneBounds(ca.now() - timedelta(hours=23), ca.now()))


def test_a_revoked_one_stays_until_no_list_shows_it(ca: Authority, clock: Clock) -> None:
    revoked = ca.issue("orders")
    ca.revoke(revoked.leaf.serial_number)
    ca.issue("payments")
    ca.revoke(ca.issue("later").leaf.serial_number)
    keep = timedelta(days=1)
    clock.move(days=4)
    # A list lives for seven days, and the present one shows it.
    assert pruned(ca, keep) == 1
    assert f"{revoked.leaf.serial_number:x}" in serials(ca)
    ca.refresh_crls(force=True)
    clock.move(days=5)
    assert pruned(ca, keep) == 0
    ca.refresh_crls(force=True)
    assert pruned(ca, keep) == 1
    assert f"{revoked.leaf.serial_number:x}" not in serials(ca)
    assert is_sound(ca)


def test_a_leaked_key_is_refused_for_good(ca: Authority, clock: Clock) -> None:
    leaked = ca.issue("orders")
    assert leaked.key is not None
    ca.revoke(leaked.leaf.serial_number, reason="key-compromise")
    ca.revoke(ca.issue("later").leaf.serial_number)
    clock.move(days=40)
    ca.refresh_crls(force=True)
    ca.issue("payments")
    assert pruned(ca) == 1
    assert f"{leaked.leaf.serial_number:x}" not in serials(ca)
    request = request_for(leaked.key).public_bytes(serialization.Encoding.PEM)
    for name in ("orders", "payments"):
        with pytest.raises(NotPermittedError):
            ca.issue_request(name, request)
    # The row of the blocked line stays too.
    assert rows(ca, "lines") == 3


def test_a_name_stays_with_its_owner(ca: Authority, clock: Clock, tmp_path: Path) -> None:
    plan = AuthorityPlan(TrustDomain("shop.internal"), (DnsName("example.org"),))
    with Authority.create(tmp_path / "named", plan, clock=clock) as named:
        for _ in range(40):
            clock.move(hours=23)
            # The same workload, line after line.
            named.issue("orders", dns=[DnsName("www.example.org")], lifetime=timedelta(hours=24))
        assert pruned(named) > 0
        with pytest.raises(NotPermittedError, match=r"'www\.example\.org' belongs"):
            named.issue("thief", dns=[DnsName("www.example.org")])


def test_a_line_keeps_its_first_and_its_newest_and_a_revocation_finds_all_that_came_of_it(
    ca: Authority, clock: Clock
) -> None:
    register(ca.context, "orders", lifetime=timedelta(hours=24))
    it = Enrolling(ca.context, recovery_key=None)
    first = it.enroll(token_for(ca.context, "orders").credential).issued.leaf
    chain = [first]
    for _ in range(50):
        clock.move(hours=20)
        chain.append(it.renew().issued.leaf)
    count = pruned(ca)
    assert 5 < count < 20
    left = serials(ca)
    assert {f"{item.serial_number:x}" for item in (chain[0], chain[-1])} <= left
    with ca.context.ledger.snapshot() as transaction:
        origin = transaction.lines.origins()
        (record, *_) = transaction.certificates()
        assert list(origin.values()) == [("token", record.id)]
        assert record.serial == f"{first.serial_number:x}"
    assert is_sound(ca)
    assert pruned(ca) == 0
    revoked = ca.revoke(first.serial_number, reason="superseded")
    assert {item.serial for item in revoked} == left
    # All of it goes once the whole line has ended.
    clock.move(days=60)
    ca.refresh_crls(force=True)
    ca.revoke(ca.issue("web").leaf.serial_number)
    assert pruned(ca) == len(left)
    assert rows(ca, "lines") == 1
    assert is_sound(ca)


def test_a_line_that_may_recover_keeps_its_newest_for_a_year(ca: Authority, clock: Clock) -> None:
    it = enrolled(ca.context, "orders")
    serial = f"{it.leaf.serial_number:x}" if it.leaf else ""
    clock.move(days=60)
    ca.issue("web")
    assert pruned(ca) == 0
    assert serial in serials(ca)
    clock.move(days=340)
    ca.rotate()
    ca.issue("web")
    assert pruned(ca) == 2
    assert serial not in serials(ca)
    # Its recovery key stays known, so that it is never certified.
    with ca.context.ledger.snapshot() as transaction:
        lines = transaction.connection.execute(select(tables.lines.c.recovery_key)).all()
    assert sum(row.recovery_key is not None for row in lines) == 1
    assert is_sound(ca)


def test_what_counts_recoveries_stays_for_a_year(ca: Authority, clock: Clock) -> None:
    it = enrolled(ca.context, "orders")
    clock.move(hours=2)
    it.recover()
    clock.move(hours=2)
    it.recover()
    clock.move(days=10)
    it.recover()
    assert rows(ca, "recoveries") == 3
    clock.move(days=32)
    ca.issue("web")
    assert pruned(ca) == 0
    assert rows(ca, "recoveries") == 3
    assert is_sound(ca)


def test_ids_and_revocation_numbers_are_never_used_again(ca: Authority, clock: Clock) -> None:
    for name in ("a", "b", "c"):
        ca.revoke(ca.issue(name).leaf.serial_number)
    with ca.context.ledger.snapshot() as transaction:
        before = max(item.id for item in transaction.certificates())
        number = transaction.revocations.newest()
    clock.move(days=60)
    ca.refresh_crls(force=True)
    assert pruned(ca) == 2
    with ca.context.ledger.snapshot() as transaction:
        assert transaction.revocations.newest() == number
    ca.revoke(ca.issue("d").leaf.serial_number)
    with ca.context.ledger.snapshot() as transaction:
        assert max(item.id for item in transaction.certificates()) == before + 1
        assert transaction.revocations.newest() == number + 1


def test_an_old_list_that_comes_back_shows_nothing_new(
    ca: Authority, clock: Clock, tmp_path: Path
) -> None:
    ca.revoke(ca.issue("orders").leaf.serial_number)
    held = ca.trust()[1]
    ca.revoke(ca.issue("web").leaf.serial_number)
    clock.move(days=60)
    ca.refresh_crls(force=True)
    events = len(ca.events())
    assert pruned(ca) == 1
    assert not ca.import_crls(held)
    with ca.context.ledger.snapshot() as transaction:
        unrecorded = [
            item
            for issuer in transaction.issuers()
            for item in transaction.recovery.unrecorded_of(issuer.id)
        ]
    assert (unrecorded, len(ca.events())) == ([], events)


@pytest.mark.sqlite
def test_what_was_there_before_the_log_began_stays(tmp_path: Path, clock: Clock) -> None:
    with make_authority(tmp_path, clock) as ca:
        ca.issue("orders")
        ca.issue("payments")
    make_older(tmp_path / "ca", "0002")
    (tmp_path / "ca" / "audit.checkpoint").unlink()
    Authority.recover(tmp_path / "ca", clock=clock)
    clock.move(days=40)
    with Authority.open(tmp_path / "ca", clock=clock) as ca:
        later = ca.issue("later")
        clock.move(days=40)
        ca.issue("newest")
        assert pruned(ca) == 1
        assert f"{later.leaf.serial_number:x}" not in serials(ca)
        assert len(serials(ca)) == 3
        assert is_sound(ca)


def test_it_goes_in_steps_and_each_is_whole(
    ca: Authority, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "AT_ONCE", 3)
    for number in range(8):
        ca.issue(f"w{number}")
    clock.move(days=40)
    ca.issue("newest")
    steps: list[PruneStep] = []
    cursor: tuple[int, int] | None = START
    while cursor is not None:
        bounds = PruneBounds(ca.now() - KEEP, ca.now())
        steps.append(prune_step(ca.context, bounds, cursor))
        assert is_sound(ca)
        cursor = steps[-1].cursor
    assert [item.certificates for item in steps] == [3, 3, 2]
    assert len(serials(ca)) == 1


def test_a_row_that_is_missing_and_had_not_ended_is_told(
    ca: Authority, clock: Clock, tmp_path: Path
) -> None:
    ca.issue("orders")
    clock.move(days=40)
    hidden = ca.issue("hidden")
    ca.issue("web")
    assert pruned(ca) == 1
    with ca.context.ledger.transaction() as transaction:
        serial = f"{hidden.leaf.serial_number:x}"
        transaction.connection.execute(
            tables.certificates.delete().where(tables.certificates.c.serial == serial)
        )
    findings = ca.verify_audit_log().findings
    assert [finding.kind for finding in findings] == ["certificate"]


def test_a_revoked_one_that_no_list_shows_yet_stays_for_the_lifetime_of_a_list(
    ca: Authority, clock: Clock
) -> None:
    ca.context.signs_lists_later = True
    revoked = ca.issue("orders")
    ca.revoke(revoked.leaf.serial_number)
    ca.revoke(ca.issue("later").leaf.serial_number)
    clock.move(days=4)
    assert pruned(ca, timedelta(days=1)) == 0
    ca.refresh_crls(force=True)
    (crl,) = [crl for crl in ca.trust()[1].crls.values() if crl.revoked]
    assert revoked.leaf.serial_number in crl.revoked


def test_the_newest_certificate_stays_so_that_its_id_is_not_used_again(
    ca: Authority, clock: Clock
) -> None:
    for name in ("a", "b"):
        ca.issue(name)
    with ca.context.ledger.snapshot() as transaction:
        newest = max(item.id for item in transaction.certificates())
    clock.move(days=60)
    assert pruned(ca) == 1
    ca.issue("c")
    with ca.context.ledger.snapshot() as transaction:
        assert [item.id for item in transaction.certificates()] == [newest, newest + 1]
