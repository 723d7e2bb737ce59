"""A ledger of the schemas before this one, with all its rows, is brought up to date at its opening.

On PostgreSQL the first schema of all was 0008.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from pki.authority import Authority
from pki.authority.enrollment import create_registration, create_token, get_registration
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.authority.registrations import Caller, Registration
from pki.identity import SpiffeId
from tests.older_ledger import make_older, make_older_in
from tests.postgresql import PostgresqlServer
from tests.support import SHOP

OPERATOR = Caller("the operator", is_admin=True)
REVISIONS = ["0008", "0009"]
HOURS = timedelta(hours=5)
ORDERS = SpiffeId.of_path(SHOP, "orders")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with PostgresqlServer(fsync="off") as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> list[PostgresqlDatabase]:
    """A database for the ledger, and one for the older ledger; none if they are files."""
    if request.param == "sqlite":
        return []
    server: PostgresqlServer = request.getfixturevalue("server")
    names = [f"{tmp_path.name}_{number}".replace("-", "_").lower() for number in (1, 2)]
    return [PostgresqlDatabase.parse(server.make_database(name)) for name in names]


def age(home: Path, places: list[PostgresqlDatabase], revision: str) -> None:
    if places:
        make_older_in(home, places[0], places[1], revision)
    else:
        make_older(home, revision)


def columns(home: Path, places: list[PostgresqlDatabase]) -> set[str]:
    url = f"sqlite:///{home / 'ledger.db'}" if not places else places[1].address.url
    engine = create_engine(url)
    try:
        return {item["name"] for item in inspect(engine).get_columns("ledger_state")}
    finally:
        engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_older_ledger_keeps_all_that_it_holds(
    tmp_path: Path, places: list[PostgresqlDatabase], revision: str
) -> None:
    home = tmp_path / "ca"
    with Authority.create(home, "shop.internal", ledger=places[0] if places else None) as ca:
        create_registration(ca.context, OPERATOR, Registration(ORDERS, lifetime=HOURS))
        create_token(ca.context, OPERATOR, ORDERS)
        first, second = (ca.issue(name).leaf.serial_number for name in ("orders", "payments"))
        ca.revoke(f"{second:x}")
        crls, log = ca.trust()[1].crls, ca.verify_audit_log()
    age(home, places, revision)
    assert ("pruned_before" in columns(home, places)) == (revision > "0008")
    with Authority.open(home) as ca:
        assert "pruned_before" in columns(home, places)
        registration, _ = get_registration(ca.context, OPERATOR, ORDERS)
        assert registration.lifetime == HOURS
        assert ca.verify_audit_log() == log
        third = ca.issue("billing").leaf.serial_number
        ca.revoke(f"{first:x}")
        records = {int(item.serial, 16): item for item in ca.certificates()}
        assert {serial: bool(item.revoked_at) for serial, item in records.items()} == {
            first: True,
            second: True,
            third: False,
        }
        # Ids go on after those of the rows that were there.
        assert records[third].id > max(records[first].id, records[second].id)
        newer = ca.trust()[1].crls
        assert all(newer[issuer].number >= crl.number for issuer, crl in crls.items())
        assert {first, second} <= {serial for crl in newer.values() for serial in crl.revoked}
        assert ca.verify_audit_log().findings == ()


def test_two_that_open_an_older_ledger_at_once_bring_it_up_to_date_once(
    tmp_path: Path, places: list[PostgresqlDatabase]
) -> None:
    home = tmp_path / "ca"
    with Authority.create(home, "shop.internal", ledger=places[0] if places else None) as ca:
        ca.issue("orders")
    age(home, places, "0008")
    meeting = threading.Barrier(2)

    def open_and_issue(name: str) -> None:
        meeting.wait()
        with Authority.open(home) as ca:
            ca.issue(name)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(open_and_issue, ("payments", "billing")))
    with Authority.open(home) as ca:
        assert len(ca.certificates()) == 3
        assert ca.verify_audit_log().findings == ()
