"""The inventory: which certificates a selection holds, and in which state they are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.inventory import CertificateState, InventoryRow, Selection
from pki.errors import InputError
from pki.identity import DnsName, SpiffeId
from tests.support import SHOP, Clock, make_authority

HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path / "ca", clock) as authority:
        for name in ("orders", "prod/orders", "payments"):
            authority.issue(name)
        yield authority


def paths(rows: Iterator[InventoryRow]) -> list[str]:
    return [row.spiffe_id.removeprefix("spiffe://shop.internal/") for row in rows]


def test_all_are_there_the_oldest_first(ca: Authority) -> None:
    assert paths(ca.inventory()) == ["orders", "prod/orders", "payments"]


def test_a_limit_takes_the_newest(ca: Authority) -> None:
    assert paths(ca.inventory(Selection(newest_first=True, most=2))) == ["payments", "prod/orders"]


def test_a_row_says_what_the_certificate_says(ca: Authority) -> None:
    issued = ca.issue("audit", dns=[DnsName("audit.shop.internal")])
    [row] = ca.inventory(Selection(owner=SpiffeId.of_path(SHOP, "audit")), with_names=True)
    assert row.serial == f"{issued.leaf.serial_number:x}"
    assert row.not_after == issued.leaf.not_valid_after_utc
    assert row.names == ("audit.shop.internal",)
    assert row.issuer == ca.issuers()[-1].key_id
    assert (row.state, row.status, row.revoked_at) == (CertificateState.GOOD, "good", None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("orders", ["orders", "prod/orders"]),
        ("prod/", ["prod/orders"]),
        ("payments.shop", ["payments"]),
        ("%", []),
        ("_rders", []),
        ("nobody", []),
        ("'; drop table names; --", []),
    ],
)
def test_a_part_of_a_name_is_found(ca: Authority, text: str, found: list[str]) -> None:
    assert paths(ca.inventory(Selection(text=text))) == found


def test_the_beginning_of_a_number_is_found(ca: Authority) -> None:
    rows = list(ca.inventory())
    for row in rows:
        for number in (row.serial, row.key_fingerprint):
            for text in (number, number[:12], number[:12].upper()):
                assert [item.serial for item in ca.inventory(Selection(text=text))] == [row.serial]
        # Three digits would fit thousands.
        assert not list(ca.inventory(Selection(text=row.serial[:3])))


def test_each_state_is_found_and_no_other(ca: Authority, clock: Clock) -> None:
    revoked = next(ca.inventory(Selection(text="payments")))
    ca.revoke(int(revoked.serial, 16))
    clock.move(hours=2)
    ca.refresh_crls()
    ca.issue("late")
    state_of = {row.spiffe_id.rpartition("/")[2]: row.state for row in ca.inventory()}
    assert state_of == {
        "orders": CertificateState.EXPIRED,
        "payments": CertificateState.REVOKED,
        "late": CertificateState.GOOD,
    }
    for state in CertificateState:
        found = list(ca.inventory(Selection(states=frozenset({state}))))
        assert {row.state for row in found} <= {state}
    both = frozenset({CertificateState.GOOD, CertificateState.REVOKED})
    assert paths(ca.inventory(Selection(states=both))) == ["payments", "late"]


def test_an_issuer_that_is_distrusted_ends_what_it_has_signed(ca: Authority) -> None:
    old = ca.issuers()[-1]
    ca.rotate()
    ca.issue("late")
    ca.distrust(old.key_id)
    rows = {row.spiffe_id.rpartition("/")[2]: row for row in ca.inventory()}
    assert rows["payments"].state is CertificateState.ISSUER_ENDED
    assert rows["payments"].status == "issuer distrusted"
    assert rows["late"].state is CertificateState.GOOD
    ended = Selection(states=frozenset({CertificateState.ISSUER_ENDED}))
    assert len(list(ca.inventory(ended))) == 3
    assert paths(ca.inventory(Selection(issuer=old.key_id[:8]))) == [
        "orders",
        "prod/orders",
        "payments",
    ]


def test_the_end_can_be_chosen(ca: Authority, clock: Clock) -> None:
    ca.issue("long", lifetime=4 * HOUR)
    now = clock()
    assert paths(ca.inventory(Selection(ends_before=now + 2 * HOUR)))[-1] == "payments"
    assert paths(ca.inventory(Selection(ends_after=now + 2 * HOUR))) == ["long"]


def test_a_forecast_counts_renewals_and_ends(ca: Authority, clock: Clock) -> None:
    half = timedelta(minutes=30)
    issued = ca.issue("renewed")
    ca.renew(issued.leaf)
    ca.revoke(ca.issue("revoked").leaf.serial_number)
    found = ca.forecast(2 * HOUR, half)
    # Three, and the renewal of the fourth: what was renewed or revoked does not count.
    assert (found.good, found.overdue) == (4, 0)
    assert [(step.renewals, step.expiries) for step in found.steps] == [
        (0, 0),
        (4, 0),
        (0, 4),
        (0, 0),
    ]
    assert found.steps[1].begins == ca.now() + half
    clock.move(minutes=45)
    assert ca.forecast(2 * HOUR, half).overdue == 4


@pytest.mark.parametrize(
    ("period", "step"),
    [(HOUR, timedelta(0)), (timedelta(0), HOUR), (timedelta(days=1), timedelta(seconds=1))],
)
def test_a_forecast_without_or_with_too_many_steps_is_refused(
    ca: Authority, period: timedelta, step: timedelta
) -> None:
    with pytest.raises(InputError, match="steps"):
        ca.forecast(period, step)
