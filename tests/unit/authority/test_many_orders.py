"""Many orders in one commit: each has its own end, and none can spoil another."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from pki.authority import Authority, Issued, NamedOrder
from pki.authority.bootstrap import AuthorityPlan
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.transaction import Transaction
from pki.errors import InputError, LedgerError, NameRefusedError, NotPermittedError, PkiError
from pki.identity import DnsName, TrustDomain
from pki.keys import KeyType
from pki.x509 import WORKLOAD, ChainVerifier, Purpose

DOMAIN = TrustDomain("shop.internal")


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Authority]:
    with Authority.create(
        tmp_path / "ca", AuthorityPlan(DOMAIN, (DnsName("example.org"),))
    ) as made:
        yield made


def issued(results: list[Issued | PkiError]) -> list[str]:
    return [str(item.spiffe_id.path) for item in results if isinstance(item, Issued)]


def errors(results: list[Issued | PkiError]) -> list[PkiError]:
    return [item for item in results if isinstance(item, PkiError)]


def commits(ca: Authority) -> int:
    with ca._context.ledger.snapshot() as transaction:
        return transaction.state().sequence


def test_many_certificates_are_one_commit_and_each_is_recorded(ca: Authority) -> None:
    before = commits(ca)
    results = ca.issue_each([NamedOrder(f"orders-{number}") for number in range(30)])
    assert commits(ca) == before + 1
    assert issued(results) == [f"orders-{number}" for number in range(30)]
    recorded = {item.serial for item in ca.certificates()}
    for item in results:
        assert isinstance(item, Issued)
        assert f"{item.leaf.serial_number:x}" in recorded
        assert item.key is not None
        verifier = ChainVerifier(item.bundle, item.crls)
        verifier.verify(item.chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=ca.now())
        assert item.credential.leaf.public_key() == item.key.public_key()
    result = ca.verify_audit_log()
    assert result.findings == ()


def test_one_that_is_refused_leaves_no_trace_but_its_entry(ca: Authority) -> None:
    ca.issue("owner", dns=(DnsName("a.example.org"),))
    results = ca.issue_each(
        [
            NamedOrder("first"),
            # The SPIFFE name is claimed before the DNS name is refused.
            NamedOrder("thief", dns=(DnsName("a.example.org"),)),
            NamedOrder("spiffe://other.internal/x"),
            NamedOrder("no name !"),
            NamedOrder("long", lifetime=timedelta(days=3)),
            NamedOrder("last", key_type=KeyType.ECDSA_P384),
        ]
    )
    assert [type(item) for item in results] == [
        Issued,
        NotPermittedError,
        NotPermittedError,
        NameRefusedError,
        InputError,
        Issued,
    ]
    assert "belongs to spiffe://shop.internal/owner" in str(results[1])
    assert issued(results) == ["first", "last"]
    paths = [item.spiffe_id.rsplit("/", 1)[-1] for item in ca.certificates()]
    assert paths == ["owner", "first", "last"]
    # What was undone is free: the name, and the place in the log.
    assert ca.issue_each([NamedOrder("thief")])[0].__class__ is Issued
    assert ca.verify_audit_log().findings == ()
    refused = [
        entry.subject for _, entry in ca.audit_entries() if entry.action is AuditAction.REFUSE
    ]
    assert refused == [
        "spiffe://shop.internal/thief",
        "spiffe://other.internal/x",
        "spiffe://shop.internal/long",
    ]


def test_two_orders_for_one_dns_name_are_one_too_many(ca: Authority) -> None:
    name = (DnsName("a.example.org"),)
    results = ca.issue_each([NamedOrder("one", dns=name), NamedOrder("two", dns=name)])
    assert issued(results) == ["one"]
    assert len(errors(results)) == 1


def test_two_orders_for_one_workload_are_two_certificates(ca: Authority) -> None:
    results = ca.issue_each([NamedOrder("one"), NamedOrder("one")])
    assert issued(results) == ["one", "one"]
    assert len({item.leaf.serial_number for item in results if isinstance(item, Issued)}) == 2


def test_none_at_all_is_nothing(ca: Authority) -> None:
    before = commits(ca)
    assert ca.issue_each([]) == []
    assert ca.issue_each([NamedOrder("no name !")])[0].__class__ is NameRefusedError
    assert commits(ca) == before


def test_a_commit_that_fails_hands_out_nothing(
    ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Transaction) -> None:
        raise OperationalError("", {}, Exception("disk I/O error"))

    before = commits(ca)
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "advance", fail)
        with pytest.raises(LedgerError, match="could not record"):
            ca.issue_each([NamedOrder("one"), NamedOrder("two")])
    assert commits(ca) == before
    assert ca.certificates() == ()
