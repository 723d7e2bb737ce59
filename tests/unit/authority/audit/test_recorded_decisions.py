"""Each decision of the CA is an entry of its log, in the commit that carries it out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki.authority import Authority
from pki.authority.ledger.audit import Actor
from pki.errors import InputError, LedgerError, NotPermittedError
from pki.keys import generate_key
from pki.x509 import CrlSet
from tests.support import Clock, make_authority, request_for
from tests.unit.authority.audit.logged import actions, add_entries, entries, kinds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path, clock) as made:
        yield made


def test_a_new_ca_begins_its_log_with_itself(ca: Authority) -> None:
    init, prepare, activate = entries(ca)
    root, issuing = ca.issuers()
    assert (init.action, prepare.action, activate.action) == ("init", "prepare", "activate")
    assert init.serial == f"{root.certificate.serial_number:x}"
    assert str(init.details["verifier_key"]).startswith("shop.internal/handfast/audit+")
    (bundle,) = ca.bundles()
    assert activate.details == {"issuing_ca": issuing.key_id}
    assert prepare.details == {
        **activate.details,
        "bundle": 1,
        "bundle_sha256": bundle.content.digest.hex(),
    }
    assert kinds(ca) == set()


def test_what_is_issued_renewed_and_revoked_is_told_with_its_certificate(
    ca: Authority, clock: Clock
) -> None:
    first = ca.issue("orders").leaf
    clock.move(minutes=1)
    second = ca.renew(first).leaf
    ca.revoke(first.serial_number, reason="superseded")
    issue, renew, *revocations = entries(ca)[3:]
    assert issue.subject == "spiffe://shop.internal/orders"
    assert issue.serial == f"{first.serial_number:x}"
    der = first.public_bytes(serialization.Encoding.DER)
    assert issue.certificate_sha256 == sha256(der).hexdigest()
    assert issue.details == {"profile": "workload", "proof": "operator"}
    assert renew.action == "renew"
    assert renew.details == {**issue.details, "renewed_from": issue.serial}
    assert renew.at == ca.now()
    assert [(item.action, item.serial, item.reason) for item in revocations] == [
        ("revoke", f"{leaf.serial_number:x}", "superseded") for leaf in (first, second)
    ]
    assert kinds(ca) == set()


def test_what_is_revoked_already_is_not_told_again(ca: Authority) -> None:
    leaf = ca.issue("orders").leaf
    for _ in range(2):
        ca.revoke(leaf.serial_number)
    assert actions(ca).count("revoke") == 1


def test_the_same_certificate_handed_out_again_is_no_new_decision(ca: Authority) -> None:
    request = request_for(generate_key()).public_bytes(serialization.Encoding.PEM)
    first = ca.issue_request("orders", request)
    again = ca.issue_request("orders", request)
    assert first.leaf == again.leaf
    assert actions(ca).count("issue") == 1


def test_a_refusal_is_recorded_though_its_transaction_is_rolled_back(ca: Authority) -> None:
    with pytest.raises(NotPermittedError) as refused:
        ca.issue("ca")
    (entry,) = entries(ca)[3:]
    assert entry.action == "refuse"
    assert entry.subject == "spiffe://shop.internal/ca"
    assert entry.reason == refused.value.message
    assert entry.details["asked"] == "issue"
    assert ca.certificates() == ()
    assert kinds(ca) == set()


def test_a_request_for_other_names_is_a_recorded_refusal(ca: Authority) -> None:
    name = x509.UniformResourceIdentifier("spiffe://shop.internal/payments")
    request = request_for(generate_key(), [name]).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(NotPermittedError, match="asks for"):
        ca.issue_request("orders", request)
    (entry,) = entries(ca)[3:]
    assert entry.subject == "spiffe://shop.internal/orders"
    assert "spiffe://shop.internal/payments" in (entry.reason or "")


def test_a_refused_renewal_and_revocation_are_recorded_too(ca: Authority, clock: Clock) -> None:
    leaf = ca.issue("orders").leaf
    clock.move(hours=2)
    with pytest.raises(NotPermittedError, match="expired"):
        ca.renew(leaf)
    with pytest.raises(InputError, match="no certificate with the serial number"):
        ca.revoke("abcdef")
    with pytest.raises(InputError, match="still valid"):
        ca.revoke_workload("orders")
    with pytest.raises(InputError, match="names no issuing CAs"):
        ca.distrust("abcdef")
    asked = [entry.details["asked"] for entry in entries(ca) if entry.action == "refuse"]
    assert asked == ["renew", "revoke", "revoke", "distrust"]


def test_a_second_renewal_is_refused_once_and_told_once(ca: Authority) -> None:
    leaf = ca.issue("orders").leaf
    renewed = ca.renew(leaf).leaf
    with pytest.raises(NotPermittedError, match="renewed already"):
        ca.renew(leaf)
    (entry,) = [entry for entry in entries(ca) if entry.action == "refuse"]
    assert entry.reason == "second-renewal"
    assert entry.subject == "spiffe://shop.internal/orders"
    assert entry.details["renewed_to"] == f"{renewed.serial_number:x}"
    assert [kind for _, kind, _ in ca.events()] == ["second-renewal"]


def test_a_hostile_text_in_a_refusal_is_bounded(ca: Authority) -> None:
    with pytest.raises(InputError):
        ca.distrust("\ud800\x1b[31m" + "x" * 100_000)
    (entry,) = entries(ca)[3:]
    assert len(entry.to_text()) < 5000
    assert kinds(ca) == set()


def test_rotation_and_distrust_are_told(ca: Authority) -> None:
    old = ca.issuers()[1]
    ca.rotate()
    ca.distrust(old.key_id)
    ca.distrust(old.key_id)
    assert actions(ca)[3:] == ["prepare", "activate", "distrust"]
    assert entries(ca)[-1].details == {"issuing_ca": old.key_id}
    assert kinds(ca) == set()


def test_the_log_names_who_asked(ca: Authority) -> None:
    registrar = Actor("spiffe://shop.internal/ci")
    ca.acting_as(registrar).issue("orders")
    ca.issue("payments")
    ci, local = entries(ca)[3:]
    assert ci.actor == registrar
    assert local.actor == Actor.local()


def test_what_can_not_be_recorded_is_not_done(
    ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = actions(ca)

    def fail(*_: object) -> None:
        raise LedgerError("no space for an entry")

    monkeypatch.setattr("pki.authority.ledger.audit.log.AuditLog.append", fail)
    with pytest.raises(LedgerError, match="no space"):
        ca.issue("orders")
    monkeypatch.undo()
    assert ca.certificates() == ()
    assert actions(ca) == before


@pytest.mark.sqlite
def test_a_refusal_that_can_not_be_recorded_is_a_refusal_all_the_same(
    ca: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise LedgerError("no space for an entry")

    monkeypatch.setattr("pki.authority.ledger.audit.log.AuditLog.append", fail)
    with pytest.raises(NotPermittedError, match="reserved"):
        ca.issue("ca")
    logged = [item for item in caplog.records if item.name == "pki.authority.audit.refusals"]
    assert len(logged) == 1
    assert "no space for an entry" in logged[0].getMessage()


@pytest.mark.sqlite
def test_what_published_lists_revoke_is_told_with_its_source(tmp_path: Path) -> None:
    clock = Clock()
    home = tmp_path / "ca"
    with make_authority(tmp_path, clock) as ca:
        orders, payments = ca.issue("orders").leaf, ca.issue("payments").leaf
        backup = {path: path.read_bytes() for path in home.iterdir() if path.is_file()}
        later = ca.issue("billing").leaf
        for leaf in (orders, later):
            ca.revoke(leaf.serial_number)
        held = CrlSet.read((home / "crl.pem").read_bytes())
    for path in home.glob("ledger.db-*"):
        path.unlink()
    for path, data in backup.items():
        path.write_bytes(data)
    with Authority.open(home, clock=clock) as ca:
        assert ca.import_crls(held)
        told = entries(ca)[5:]
        assert [item.action for item in told] == ["revoke", "revoke", "import-crls"]
        assert {item.serial for item in told[:2]} == {
            f"{leaf.serial_number:x}" for leaf in (orders, later)
        }
        assert {item.details["source"] for item in told[:2]} == {"published-crl"}
        ca.revoke(payments.serial_number)
        assert kinds(ca) == set()


@pytest.mark.sqlite
def test_the_log_grows_by_its_edge_alone(ca: Authority, tmp_path: Path) -> None:
    add_entries(ca, 600)
    result = ca.verify_audit_log()
    assert (result.size, result.findings) == (603, ())
    with ca._context.ledger.snapshot() as transaction:
        assert len(list(transaction.audit.tile_hashes())) == 2
        edge = transaction.audit._edge()
        assert len(edge.hashes) == (603).bit_count()
    statements: list[str] = []
    with ca._context.ledger.transaction() as transaction:
        driver = transaction.audit.connection.connection.driver_connection
        assert driver is not None
        driver.set_trace_callback(statements.append)
        try:
            for _ in range(3):
                transaction.audit.append(entries(ca)[-1])
            transaction.audit.flush()
        finally:
            driver.set_trace_callback(None)
    # The edge is read once, the entries inserted, the edge written once; nothing else of the log is
    # touched. (SQLite traces a statement again that has a trigger.)
    kinds_of = [text.split()[0] for text in dict.fromkeys(statements)]
    assert kinds_of == ["SELECT", "INSERT", "INSERT", "INSERT", "UPDATE"]


def test_an_entry_has_the_time_of_its_row_though_the_clock_goes_on(tmp_path: Path) -> None:
    clock = Clock()

    def ticking() -> datetime:
        clock.move(seconds=1)
        return clock()

    with Authority.create(tmp_path / "ca", "shop.internal", clock=ticking) as ca:
        first = ca.issue("orders").leaf
        second = ca.renew(first).leaf
        ca.revoke(second.serial_number, reason="key-compromise", whole_line=True)
        ca.rotate()
        assert kinds(ca) == set()


def test_a_roots_rotation_is_told_step_by_step(ca: Authority) -> None:
    ca.issue("orders")
    ca.prepare_root()
    ca.activate_root(force=True)
    ca.withdraw_root(force=True)
    ca.renew_root_crls(audit_key=bytes(32))
    assert sorted(actions(ca)[4:]) == sorted(
        ["prepare", "prepare", "activate", "activate", "strand", "withdraw", "strand", "bundle"]
    )
    assert kinds(ca) == set()
