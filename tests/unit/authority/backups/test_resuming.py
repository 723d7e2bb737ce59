"""A restored CA signs nothing before it knows what was revoked, and what could be used twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from pki.authority import Authority
from pki.authority.backups.resuming import Resumption, Retirement
from pki.authority.enrollment import VerifiedJwt, create_token, issue_own
from pki.authority.enrollment.confirming import confirm_registrations, unconfirmed_registrations
from pki.authority.ledger.audit import AuditAction
from pki.authority.recovery import RecoveryResult
from pki.authority.registrations import OidcRule, Proof
from pki.authority.rotation.root import RootKeys, describe_request, sign_request
from pki.errors import (
    NotFoundError,
    NotPermittedError,
    NotRegisteredError,
    OlderLedgerError,
    ProofRefusedError,
    RestoredLedgerError,
    StateError,
    VerificationError,
    WrongStepError,
)
from pki.keys import generate_key, read_private_key
from pki.transparency import NoteSignatureError, VerifierKey, open_checkpoint
from pki.x509 import WORKLOAD, ChainVerifier, Credential, Crl, CrlSet, Purpose
from pki.x509.revocation import IssuerId
from tests.enrolling import ADMIN, REGISTRAR, Enrolling, register, workload_id
from tests.support import request_for
from tests.unit.authority.backups.conftest import Lost

pytestmark = pytest.mark.sqlite


def told(result: RecoveryResult) -> Resumption:
    assert result.resumption is not None
    return result.resumption


def refused(ca: Authority, credential: Credential) -> bool:
    bundle, crls = ca.trust()
    try:
        ChainVerifier(bundle, crls).verify(
            credential.chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=ca.now()
        )
    except VerificationError:
        return True
    return False


def test_nothing_is_signed_and_no_list_either_before_the_lists_from_outside_are_there(
    lost: Lost,
) -> None:
    orders = lost.ca.issue("orders")
    lost.back_up()
    lost.restore()
    with lost.open() as ca:
        published = {crl.der for crl in ca.trust()[1].crls.values()}
        ways: list[Callable[[], object]] = [
            lambda: ca.issue("payments"),
            lambda: ca.issue_request(
                "payments", request_for(generate_key()).public_bytes(serialization.Encoding.PEM)
            ),
            lambda: ca.renew(orders.leaf),
            lambda: issue_own(ca.context),
            lambda: ca.refresh_crls(force=True),
            ca.rotate,
            ca.prepare_issuer,
            ca.prepare_root,
            ca.renew_root_crls,
            lambda: ca.distrust(ca.issuers()[1].key_id),
        ]
        for way in ways:
            with pytest.raises(RestoredLedgerError, match="signs nothing"):
                way()
        # What is revoked now is recorded, and is on the first list that is signed.
        ca.revoke(orders.leaf.serial_number)
        assert {crl.der for crl in ca.trust()[1].crls.values()} == published
    result = told(lost.recover(CrlSet.read((lost.file.parent / "ca" / "crl.pem").read_bytes())))
    assert result.is_done
    with lost.open() as ca:
        assert refused(ca, orders.credential)
        ca.issue("payments")


def test_what_was_revoked_after_the_backup_stays_so_and_numbers_go_on(lost: Lost) -> None:
    orders, payments = lost.ca.issue("orders"), lost.ca.issue("payments")
    lost.back_up()
    lost.ca.revoke(orders.leaf.serial_number, reason="key-compromise")
    for _ in range(5):
        lost.ca.refresh_crls(force=True)
    held = lost.held()
    lost.restore()
    result = lost.recover(held)
    assert told(result) == Resumption(True)
    with lost.open() as ca:
        assert refused(ca, orders.credential)
        assert not refused(ca, payments.credential)
        assert held.merge_newer(ca.trust()[1])[1] == ()
        with pytest.raises(NotPermittedError, match="revoked"):
            ca.renew(orders.leaf)
        ca.renew(payments.leaf)
        assert ca.verify_audit_log().findings == ()
    assert lost.recover().resumption is None


def test_a_list_is_needed_of_every_issuer_and_none_older_than_the_backups(lost: Lost) -> None:
    old = lost.held()
    lost.ca.refresh_crls(force=True)
    lost.back_up()
    now = lost.held()
    lost.restore()
    with lost.open() as ca:
        root, issuing = (item.key_id for item in ca.issuers())
        names = {item.key_id: item.certificate.subject for item in ca.issuers()}
    none = told(lost.recover())
    assert none == Resumption(False, (root, issuing))
    # The backup's own list came back with it, and proves nothing.
    assert told(lost.recover(old)) == Resumption(False, (issuing,))
    alone = CrlSet.of(crl for crl in now.crls.values() if crl.crl.issuer == names[issuing])
    assert told(lost.recover(alone)) == Resumption(False, (root,))
    with lost.open() as ca, pytest.raises(RestoredLedgerError):
        ca.issue("orders")
    assert told(lost.recover(old, now)) == Resumption(True)


def test_another_cas_list_of_the_same_names_counts_for_nothing(lost: Lost, tmp_path: Path) -> None:
    lost.back_up()
    lost.restore()
    with Authority.create(tmp_path / "forged", "shop.internal", clock=lost.clock) as forger:
        forged = forger.trust()[1]
    result = told(lost.recover(forged))
    assert not result.is_done
    assert len(result.missing) == 2
    assert result.unknown_issuers


def test_a_revoked_serial_that_the_ledger_never_issued_needs_a_retirement(lost: Lost) -> None:
    orders = lost.ca.issue("orders")
    lost.back_up()
    later, stranger = lost.ca.issue("later"), lost.ca.issue("stranger")
    lost.ca.revoke(later.leaf.serial_number)
    held = lost.held()
    lost.restore()
    for _ in range(2):
        result = told(lost.recover(held))
        assert not result.is_done
        assert result.unknown_serials == (f"{later.leaf.serial_number:x}",)
    with lost.open() as ca, pytest.raises(RestoredLedgerError):
        ca.issue("web")
    retired = told(lost.recover(held, retirement=Retirement()))
    assert retired.is_done
    with lost.open() as ca:
        before = [item for item in ca.issuers() if item.key_id in retired.retired]
        assert [item.status.value for item in before] == ["distrusted"]
        for credential in (orders.credential, later.credential, stranger.credential):
            assert refused(ca, credential)
        assert not refused(ca, ca.issue("web").credential)
        assert held.merge_newer(ca.trust()[1])[1] == ()
        assert ca.verify_audit_log().findings == ()
    with pytest.raises(WrongStepError, match="was not restored"):
        lost.recover(retirement=Retirement())


def test_an_issuing_ca_from_after_the_backup_is_distrusted_by_its_certificate(lost: Lost) -> None:
    lost.back_up()
    lost.ca.rotate()
    leaf = lost.ca.issue("orders")
    held = lost.held()
    lost.restore()
    result = told(lost.recover(held))
    assert not result.is_done
    assert len(result.unknown_issuers) == 1
    assert not told(lost.recover(held, retirement=Retirement())).is_done
    assert told(lost.recover(held, retirement=Retirement((leaf.chain[1],)))).is_done
    with lost.open() as ca:
        assert refused(ca, leaf.credential)
        assert leaf.chain[1].serial_number in {
            serial for crl in ca.trust()[1].crls.values() for serial in crl.revoked
        }


def test_a_retirement_needs_the_roots_key_and_changes_nothing_without_it(lost: Lost) -> None:
    lost.back_up()
    held = lost.held()
    lost.restore()
    key = lost.home / "root.key.pem"
    key.rename(lost.file.with_name("root.key.pem"))
    with pytest.raises(StateError, match="root's key"):
        lost.recover(held, retirement=Retirement())
    with lost.open() as ca:
        assert [item.status.value for item in ca.issuers()] == ["active", "active"]
        with pytest.raises(RestoredLedgerError):
            ca.issue("orders")
    assert told(lost.recover(held)).is_done


def test_the_lost_ledger_is_refused_beside_the_restored_one(lost: Lost) -> None:
    lost.back_up()
    lost.restore()
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (lost.home / name).unlink(missing_ok=True)
    (lost.home / "ledger.db").write_bytes((lost.file.parent / "ca" / "ledger.db").read_bytes())
    (lost.home / "ledger.db").chmod(0o600)
    with pytest.raises(OlderLedgerError, match="another ledger"):
        lost.open()


def test_tokens_and_recoveries_from_before_are_void(lost: Lost) -> None:
    register(lost.ca.context, "orders")
    it = Enrolling(lost.ca.context)
    first = it.enroll(create_token(lost.ca.context, ADMIN, workload_id("orders")).credential)
    assert first.recovery_id is not None
    unused = create_token(lost.ca.context, ADMIN, workload_id("orders"), timedelta(hours=5))
    lost.back_up()
    held = lost.held()
    restored = lost.restore()
    assert restored.void_tokens == 1
    assert told(lost.recover(held)).is_done
    with lost.open() as ca:
        confirm_registrations(ca.context, ADMIN, None)
        with pytest.raises(ProofRefusedError) as caught:
            Enrolling(ca.context).enroll(unused.credential)
        assert "no such token" in caught.value.cause
        with ca.context.ledger.snapshot() as transaction:
            (record,) = transaction.certificates()
            line = transaction.lines.get(record.line_id)
        assert line is not None
        assert line.recovery_key is None
        fresh = create_token(ca.context, ADMIN, workload_id("orders"))
        Enrolling(ca.context).enroll(fresh.credential)


def test_jwts_from_before_the_restore_are_refused(lost: Lost) -> None:
    rule = OidcRule("https://ci.example", (("sub", "repo:shop/orders"),))
    register(lost.ca.context, "orders", proofs=frozenset({Proof.OIDC}), oidc=rule)
    lost.back_up()
    held = lost.held()

    def jwt(number: int) -> VerifiedJwt:
        now = lost.clock()
        claims = (("sub", "repo:shop/orders"),)
        data = b"header.payload.%d" % number
        name = f"https://ci.example {number}"
        return VerifiedJwt(name, data, rule.issuer, claims, now + timedelta(minutes=10), now)

    before = jwt(1)
    Enrolling(lost.ca.context).enroll(before, workload_id("orders"))
    lost.restore()
    lost.recover(held)
    with lost.open() as ca:
        confirm_registrations(ca.context, ADMIN, None)
        with pytest.raises(ProofRefusedError) as caught:
            Enrolling(ca.context).enroll(before, workload_id("orders"))
        assert "before the CA was restored" in caught.value.cause
        lost.clock.move(minutes=1)
        Enrolling(ca.context).enroll(jwt(2), workload_id("orders"))


def test_registrations_wait_for_an_admin(lost: Lost) -> None:
    for name in ("orders", "payments"):
        register(lost.ca.context, name)
    lost.back_up()
    held = lost.held()
    assert lost.restore().unconfirmed == (
        "spiffe://shop.internal/orders",
        "spiffe://shop.internal/payments",
    )
    lost.recover(held)
    with lost.open() as ca:
        register(ca.context, "new")
        for name in ("orders", "new"):
            token = create_token(ca.context, ADMIN, workload_id(name))
            it = Enrolling(ca.context)
            if name == "new":
                it.enroll(token.credential)
                continue
            with pytest.raises(NotRegisteredError, match="no admin has confirmed"):
                it.enroll(token.credential)
        with pytest.raises(NotPermittedError, match="only an admin"):
            confirm_registrations(ca.context, REGISTRAR, None)
        with pytest.raises(NotPermittedError, match="only an admin"):
            unconfirmed_registrations(ca.context, REGISTRAR)
        with pytest.raises(NotFoundError):
            confirm_registrations(ca.context, ADMIN, [workload_id("orders"), workload_id("none")])
        assert len(unconfirmed_registrations(ca.context, ADMIN)) == 2
        assert confirm_registrations(ca.context, ADMIN, [workload_id("orders")]) == (
            "spiffe://shop.internal/orders",
        )
        assert unconfirmed_registrations(ca.context, ADMIN) == ("spiffe://shop.internal/payments",)
        token = create_token(ca.context, ADMIN, workload_id("orders"))
        Enrolling(ca.context).enroll(token.credential)
        confirmed = [
            entry.subject
            for _, entry in ca.audit_entries()
            if entry.action is AuditAction.REGISTER_CONFIRM
        ]
        assert confirmed == ["spiffe://shop.internal/orders"]


def test_a_backup_of_a_restored_ca_that_waits_waits_too(lost: Lost) -> None:
    lost.back_up()
    held = lost.held()
    lost.restore()
    with lost.open() as ca:
        lost.file.unlink()
        ca.backup(lost.file)
    lost.home = lost.home.with_name("second")
    lost.restore()
    with lost.open() as ca, pytest.raises(RestoredLedgerError):
        ca.issue("orders")
    assert told(lost.recover(held)).is_done


def test_the_restored_log_goes_on_under_another_name_and_names_the_last_checkpoint(
    lost: Lost,
) -> None:
    key = VerifierKey.parse((lost.ca.path / "audit.vkey").read_text().strip())
    lost.ca.issue("orders")
    lost.back_up()
    kept = (lost.ca.path / "audit.checkpoint").read_bytes()
    held = lost.held()
    lost.ca.issue("payments")
    newer = (lost.ca.path / "audit.checkpoint").read_bytes()
    last = open_checkpoint(kept, [key]).checkpoint
    restored = lost.restore()
    lost.recover(held)
    with lost.open() as ca:
        entries = [entry for _, entry in ca.audit_entries()]
        (restore,) = [entry for entry in entries if entry.action is AuditAction.RESTORE]
        assert restore.details["replaces"] == key.name == "shop.internal/handfast/audit"
        assert restore.details["origin"] == restored.origin
        assert (restore.details["last_size"], restore.details["last_root"]) == (
            last.size,
            last.root.hex(),
        )
        result = ca.verify_audit_log([("kept", kept)])
        assert result.findings == ()
        assert any("restored from a backup" in note for note in result.notes)
        (finding,) = ca.verify_audit_log([("newer", newer)]).findings
        assert finding.kind == "lost"
        assert "1 decisions are missing" in finding.text
    published = (lost.home / "audit.checkpoint").read_bytes()
    assert published.startswith(restored.origin.encode() + b"\n")
    with pytest.raises(NoteSignatureError):
        open_checkpoint(published, [key])
    new = VerifierKey.parse((lost.home / "audit.vkey").read_text().strip())
    assert (new.name, new.public_key) == (restored.origin, key.public_key)
    open_checkpoint(published, [new])
    assert (lost.home / "audit.replaced.checkpoint").read_bytes() == kept


def test_a_new_list_follows_those_that_nobody_brought(lost: Lost) -> None:
    lost.back_up()
    held = lost.held()
    for _ in range(50):
        lost.ca.refresh_crls(force=True)
    newest = lost.held()
    lost.restore()
    assert told(lost.recover(held)).is_done
    with lost.open() as ca:
        now, complaints = newest.merge_newer(ca.trust()[1])
        assert complaints == ()
        name = IssuerId.of_ca(ca.issuers()[1].certificate)
        assert now.crls[name].number > newest.crls[name].number


def test_a_list_that_somebody_else_signed_counts_for_nothing(lost: Lost) -> None:
    lost.back_up()
    held = lost.held()
    lost.restore()
    with lost.open() as ca:
        root, issuing = ca.issuers()
    forged = Crl.build(
        [],
        issuer=issuing.certificate,
        issuer_key=generate_key(),
        number=1 << 60,
        this_update=lost.clock(),
        next_update=lost.clock() + timedelta(days=7),
    )
    of_root = held.crls[IssuerId.of_ca(root.certificate)]
    assert told(lost.recover(CrlSet.of([forged, of_root]))) == Resumption(False, (issuing.key_id,))


def test_a_root_that_is_elsewhere_acknowledges_the_restored_log_by_request(lost: Lost) -> None:
    with pytest.raises(WrongStepError, match="nothing to acknowledge"):
        lost.ca.acknowledge_restored_log()
    lost.back_up()
    held = lost.held()
    restored = lost.restore()
    with lost.open() as ca, pytest.raises(RestoredLedgerError):
        ca.acknowledge_restored_log()
    lost.recover(held)
    key = lost.home / "root.key.pem"
    root = read_private_key(key.read_bytes())
    key.unlink()
    with lost.open() as ca:
        request = ca.acknowledge_restored_log()
        assert request is not None
        (line,) = [line for line in describe_request(request) if "ACKNOWLEDGES" in line]
        assert restored.origin in line
        # Another step that the roots sign acknowledges nothing by the way.
        assert ca.bundles()[-1].content.audit_origin is None
        answer = sign_request(request, RootKeys.of(root), now=ca.now())
        ca.import_answers([answer.encode()])
        assert ca.bundles()[-1].content.log_origin == restored.origin
        with pytest.raises(WrongStepError, match="nothing to acknowledge"):
            ca.acknowledge_restored_log()


def test_a_rotation_after_a_restore_acknowledges_nothing(lost: Lost) -> None:
    lost.back_up()
    held = lost.held()
    lost.restore()
    lost.recover(held, retirement=Retirement())
    with lost.open() as ca:
        ca.renew_root_crls(audit_key=bytes(range(32)))
        assert [bundle.content.audit_origin for bundle in ca.bundles()] == [None, None]
