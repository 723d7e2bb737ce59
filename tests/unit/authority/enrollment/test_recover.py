"""Recovery: a line comes back after its last certificate has ended, and a copy of its key shows."""

from datetime import timedelta

import pytest

from pki.authority.context import AuthorityContext
from pki.authority.enrollment import (
    Nonces,
    delete_registration,
    get_registration,
    revoke_serial,
    update_registration,
)
from pki.authority.registrations import RecoveryRule, Registration
from pki.errors import NotRecoverableError, NotRegisteredError, PkiError, ProofRefusedError
from pki.keys import generate_key
from pki.proofs import RecoveryId
from tests.enrolling import ADMIN, Enrolling, enrolled, mac_key, register, token_for, workload_id
from tests.support import Clock


def events(ca: AuthorityContext) -> list[str]:
    with ca.ledger.transaction() as transaction:
        return [kind for _, kind, _ in transaction.events()]


def test_ten_workloads_that_slept_for_two_days_come_back(
    ca: AuthorityContext, clock: Clock
) -> None:
    fleet = [enrolled(ca, f"worker-{number}") for number in range(10)]
    before = [it.leaf for it in fleet]
    clock.move(days=2)
    for it in fleet:
        result = it.recover()
        assert result.recoveries_left == 2
        it.renew()
    assert not {it.leaf for it in fleet} & {*before}
    assert events(ca) == ["recovery"] * 10


def test_a_line_whose_certificate_is_still_valid_renews_instead(
    ca: AuthorityContext, clock: Clock
) -> None:
    it = enrolled(ca, "orders")
    clock.move(hours=1)
    with pytest.raises(NotRecoverableError, match="valid until"):
        it.recover()
    clock.move(seconds=1)
    it.recover()


def test_a_line_that_slept_for_too_long_needs_a_token(ca: AuthorityContext, clock: Clock) -> None:
    it = enrolled(ca, "orders")
    clock.move(days=14, hours=1)
    it.recover()
    clock.move(days=14, hours=1, seconds=1)
    with pytest.raises(NotRecoverableError, match="longer ago"):
        it.recover()


def test_recoveries_are_counted_within_their_period(ca: AuthorityContext, clock: Clock) -> None:
    register(
        ca,
        "orders",
        recovery=RecoveryRule(times=2, within=timedelta(days=10), max_sleep=timedelta(days=9)),
    )
    it = enrolled(ca, "orders")
    left = []
    for _ in range(2):
        clock.move(days=2)
        left.append(it.recover().recoveries_left)
    assert left == [1, 0]
    assert events(ca) == ["recovery", "recovery-last"], "the last one is an alarm"
    clock.move(days=2)
    with pytest.raises(NotRecoverableError, match="recovered 2 times"):
        it.recover()
    clock.move(days=6)
    assert it.recover().recoveries_left == 0, "the first of them is ten days ago"


def test_a_lost_answer_is_asked_for_again_with_the_same_keys(
    ca: AuthorityContext, clock: Clock
) -> None:
    it = enrolled(ca, "orders")
    clock.move(days=2)
    old_recovery, key, next_recovery = it.recovery_key, generate_key(), generate_key()
    first = it.recover(key, next_recovery)
    it.recovery_key = old_recovery
    clock.move(minutes=30)
    again = it.recover(key, next_recovery)
    assert again.is_repeated
    assert again.issued.leaf == first.issued.leaf
    assert again.recoveries_left == 2, "it counts once"
    it.renew()


def test_a_certificate_that_has_not_begun_may_be_recovered(
    ca: AuthorityContext, clock: Clock
) -> None:
    clock.move(days=1)
    it = enrolled(ca, "orders")
    first = it.leaf
    clock.move(days=-1)
    result = it.recover()
    assert result.issued.leaf != first
    assert result.issued.leaf.not_valid_before_utc <= clock()
    assert result.recoveries_left == 2, "it counts"
    with pytest.raises(NotRecoverableError, match="valid until"):
        it.recover()
    it.renew()


@pytest.mark.parametrize("same", ["key", "recovery key", "nothing"])
def test_a_recovery_key_that_was_replaced_shows_that_somebody_has_a_copy(
    ca: AuthorityContext, clock: Clock, same: str
) -> None:
    it, other = enrolled(ca, "orders"), enrolled(ca, "orders")
    clock.move(days=2)
    old, key, next_recovery = it.recovery_key, generate_key(), generate_key()
    it.recover(key, next_recovery)
    thief = Enrolling(ca, recovery_key=old, recovery_id=it.recovery_id)
    with pytest.raises(NotRecoverableError, match="somebody has a copy"):
        thief.recover(
            key if same == "key" else None,
            next_recovery if same == "recovery key" else None,
        )
    assert events(ca)[-1] == "recovery-key-copied"
    with pytest.raises(PkiError, match="blocked"):
        it.renew()
    clock.move(days=2)
    with pytest.raises(NotRecoverableError):
        it.recover()
    other.recover()
    enrolled(ca, "orders")


def test_a_signature_of_a_stranger_blocks_nothing(ca: AuthorityContext, clock: Clock) -> None:
    it = enrolled(ca, "orders")
    clock.move(days=2)
    stranger = Enrolling(ca, recovery_id=it.recovery_id)
    with pytest.raises(ProofRefusedError):
        stranger.recover()
    it.recover()
    assert events(ca) == ["recovery"]


def test_a_nonce_is_good_once_for_a_minute_and_for_one_line(
    ca: AuthorityContext, clock: Clock
) -> None:
    it, other = enrolled(ca, "orders"), enrolled(ca, "orders")
    assert it.recovery_id is not None
    clock.move(days=2)
    nonces = Nonces(mac_key(ca))
    nonce = nonces.make(it.recovery_id, now=clock())
    with pytest.raises(ProofRefusedError):
        other.recover(nonce=nonce)
    with pytest.raises(ProofRefusedError):
        it.recover(nonce=nonce[:-1] + bytes([nonce[-1] ^ 1]))
    with pytest.raises(ProofRefusedError):
        it.recover(at=clock() - timedelta(seconds=61))
    it.recover(nonce=nonce)
    clock.move(hours=1, seconds=1)
    with pytest.raises(ProofRefusedError):
        it.recover(nonce=nonce)


def test_an_id_of_another_ca_is_refused_before_the_ledger_is_asked(
    ca: AuthorityContext, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = enrolled(ca, "orders")
    it.recovery_id = RecoveryId.make(b"k" * 32)
    secret = mac_key(ca)
    nonce = Nonces(secret).make(it.recovery_id, now=clock())
    monkeypatch.setattr("tests.enrolling.mac_key", lambda _: secret)
    monkeypatch.setattr(type(ca.ledger), "transaction", lambda *_: pytest.fail("was asked"))
    with pytest.raises(ProofRefusedError):
        it.recover(nonce=nonce)


@pytest.mark.parametrize("reason", ["unspecified", "superseded", "key-compromise"])
def test_a_revoked_line_recovers_no_more(ca: AuthorityContext, clock: Clock, reason: str) -> None:
    it = enrolled(ca, "orders")
    assert it.leaf is not None
    revoke_serial(ca, ADMIN, f"{it.leaf.serial_number:x}", reason)
    clock.move(days=2)
    with pytest.raises(NotRecoverableError):
        it.recover()


def test_a_registration_that_is_gone_or_forbids_it_allows_no_recovery(
    ca: AuthorityContext, clock: Clock
) -> None:
    it = enrolled(ca, "orders")
    clock.move(days=2)
    _, revision = get_registration(ca, ADMIN, workload_id("orders"))
    never = Registration(workload_id("orders"), recovery=RecoveryRule(times=0))
    update_registration(ca, ADMIN, never, revision=revision.number)
    with pytest.raises(NotRecoverableError):
        it.recover()
    delete_registration(ca, ADMIN, workload_id("orders"))
    with pytest.raises(NotRegisteredError):
        it.recover()


def test_a_line_without_a_recovery_key_does_not_recover(ca: AuthorityContext, clock: Clock) -> None:
    register(ca, "orders")
    it = Enrolling(ca, recovery_key=None)
    it.enroll(token_for(ca, "orders").credential)
    with ca.ledger.transaction() as transaction:
        (record,) = transaction.certificates()
    it.recovery_key = generate_key()
    it.recovery_id = RecoveryId.of(mac_key(ca), bytes.fromhex(record.line_id))
    clock.move(days=2)
    with pytest.raises(NotRecoverableError):
        it.recover()


def test_the_next_recovery_key_is_new(ca: AuthorityContext, clock: Clock) -> None:
    it = enrolled(ca, "orders")
    clock.move(days=2)
    for key in (it.recovery_key, it.key):
        with pytest.raises(PkiError, match="something else"):
            it.recover(next_recovery_key=key)
    it.recover()
