"""Lost answers: a repeated order, and a commit whose result is unknown."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from sqlalchemy import PoolProxiedConnection

from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.errors import CommitInDoubtError, LedgerError, NotPermittedError
from pki.identity import DnsName, TrustDomain
from pki.keys import PrivateKey, generate_key
from pki.x509 import CLIENT, SERVER
from tests.support import Clock, request_for


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    plan = AuthorityPlan(TrustDomain("shop.internal"), (DnsName("localhost"),))
    with Authority.create(tmp_path / "ca", plan, clock=clock) as made:
        yield made


def csr(key: PrivateKey) -> bytes:
    return request_for(key).public_bytes(serialization.Encoding.PEM)


# The same request again


def test_the_same_request_within_ten_minutes_gives_the_same_certificate(
    ca: Authority, clock: Clock
) -> None:
    key = generate_key()
    first = ca.issue_request("orders", csr(key))
    clock.move(minutes=10)
    again = ca.issue_request("orders", csr(key))
    assert again.leaf == first.leaf
    assert any("returned again" in note for note in again.notes)
    assert len(ca.certificates()) == 1
    clock.move(seconds=1)
    assert ca.issue_request("orders", csr(key)).leaf != first.leaf


def test_the_same_request_is_refused_if_its_certificate_was_revoked_meanwhile(
    ca: Authority, clock: Clock
) -> None:
    key = generate_key()
    ca.revoke(ca.issue_request("orders", csr(key)).leaf.serial_number)
    clock.move(minutes=10)
    for lifetime in (timedelta(hours=1), timedelta(hours=2)):
        with pytest.raises(NotPermittedError, match="was revoked"):
            ca.issue_request("orders", csr(key), lifetime=lifetime)
    assert len(ca.certificates()) == 1


def test_another_key_name_kind_or_lifetime_is_another_order(ca: Authority) -> None:
    key = generate_key()
    first = ca.issue_request("orders", csr(key)).leaf
    others = [
        ca.issue_request("orders", csr(generate_key())),
        ca.issue_request("orders", csr(key), dns=[DnsName("localhost")]),
        ca.issue_request("orders", csr(key), profile=SERVER),
        ca.issue_request("orders", csr(key), profile=CLIENT),
        ca.issue_request("orders", csr(key), lifetime=timedelta(hours=2)),
    ]
    assert len({first.serial_number, *(item.leaf.serial_number for item in others)}) == 6
    with pytest.raises(NotPermittedError, match="belongs to"):
        ca.issue_request("payments", csr(key))


def test_a_withdrawn_issuing_cas_certificate_is_not_given_again(ca: Authority) -> None:
    key = generate_key()
    first = ca.issue_request("orders", csr(key))
    ca.prepare_root()
    ca.activate_root(force=True)
    ca.withdraw_root(force=True)
    again = ca.issue_request("orders", csr(key))
    assert again.leaf != first.leaf
    assert again.leaf.issuer == ca.issuers()[-1].certificate.subject


def test_a_distrusted_issuing_cas_certificate_is_not_given_again(ca: Authority) -> None:
    key = generate_key()
    first = ca.issue_request("orders", csr(key))
    old = ca.issuers()[1].key_id
    ca.rotate()
    assert ca.issue_request("orders", csr(key)).leaf == first.leaf
    ca.distrust(old)
    assert ca.issue_request("orders", csr(key)).leaf != first.leaf


def test_a_certificate_that_counts_only_later_is_not_given_again(
    ca: Authority, clock: Clock
) -> None:
    key = generate_key()
    clock.move(minutes=5)
    ahead = ca.issue_request("orders", csr(key))
    clock.move(minutes=-5)
    assert ca.issue_request("orders", csr(key)).leaf != ahead.leaf


# A commit whose answer was lost


class LostAnswer(sqlite3.OperationalError):
    """What the driver raises if the result is unknown."""


def lose_answers(
    ca: Authority, monkeypatch: pytest.MonkeyPatch, *, before: Callable[[], None] = lambda: None
) -> None:
    """Let the next commit take place, and lose its answer."""
    engine = ca._context.ledger._engine
    real = engine.dialect.do_commit
    left = [1]

    def commit(connection: PoolProxiedConnection) -> None:
        real(connection)
        if left:
            left.clear()
            before()
            raise LostAnswer("disk I/O error")

    monkeypatch.setattr(engine.dialect, "do_commit", commit)


@pytest.mark.sqlite
def test_a_revocation_whose_answer_was_lost_is_read_back_and_published(
    ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = ca.issue("orders").leaf
    lose_answers(ca, monkeypatch)
    (hit,) = ca.revoke(leaf.serial_number)
    assert hit.revoked_at is not None
    _, crls = ca.trust()
    assert any(leaf.serial_number in item.revoked for item in crls.crls.values())
    with Authority.open(tmp_path / "ca", clock=Clock(), read_only=True) as again:
        record = again.certificate(leaf.serial_number)
        assert record is not None
        assert record.revoked_at is not None


@pytest.mark.sqlite
def test_a_certificate_whose_commit_was_lost_from_sight_is_handed_out_once(
    ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answers(ca, monkeypatch)
    issued = ca.issue("orders")
    assert [record.certificate for record in ca.certificates()] == [issued.leaf]


@pytest.mark.sqlite
def test_a_commit_that_did_not_take_place_is_not_taken_for_one(
    ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ca._context.ledger._engine
    leaf = ca.issue("orders").leaf

    def fail(_: object) -> None:
        raise LostAnswer("disk I/O error")

    monkeypatch.setattr(engine.dialect, "do_commit", fail)
    ca.revoke(leaf.serial_number)
    with pytest.raises(LedgerError, match="could not record"):
        ca.issue("payments")
    monkeypatch.undo()
    record = ca.certificate(leaf.serial_number)
    assert record is not None
    assert record.revoked_at is None
    assert len(ca.pending_revocations()) == 1


@pytest.mark.sqlite
def test_a_commit_that_can_not_be_read_back_is_said_to_be_in_doubt(
    ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = ca.issue("orders").leaf
    ledger = tmp_path / "ca" / "ledger.db"

    def take_away() -> None:
        for path in (tmp_path / "ca").glob("ledger.db*"):
            path.rename(path.with_name(f"away-{path.name}"))
        ledger.mkdir()

    lose_answers(ca, monkeypatch, before=take_away)
    with pytest.raises(CommitInDoubtError, match="not known"):
        ca.revoke(leaf.serial_number)
    ledger.rmdir()
    for path in (tmp_path / "ca").glob("away-*"):
        path.rename(path.with_name(path.name.removeprefix("away-")))
    record = ca.certificate(leaf.serial_number)
    assert record is not None
    assert record.revoked_at is not None


@pytest.mark.sqlite
def test_the_key_of_an_issuing_ca_is_kept_when_its_commit_is_in_doubt(
    ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answers(ca, monkeypatch)
    record = ca.rotate()
    assert (tmp_path / "ca" / f"issuing-{record.key_id}.key.pem").exists()
    ca.issue("orders")
