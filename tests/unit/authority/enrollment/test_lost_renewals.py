"""A renewal whose answer was lost: it is asked for by recovery once the old one has ended."""

from __future__ import annotations

from collections.abc import Callable
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
from pki.authority.ledger import IssuerStatus
from pki.authority.pending.record import PendingEntry, PendingRevocation
from pki.authority.registrations import RecoveryRule, Registration
from pki.errors import (
    NotPermittedError,
    NotRecoverableError,
    NotRegisteredError,
    NotRenewableError,
    ProofRefusedError,
)
from pki.keys import generate_key
from tests.enrolling import ADMIN, Enrolling, enrolled, mac_key, workload_id
from tests.support import Clock


def events(ca: AuthorityContext) -> list[str]:
    with ca.ledger.transaction() as transaction:
        return [kind for _, kind, _ in transaction.events()]


def with_lost_renewal(ca: AuthorityContext, clock: Clock, name: str = "orders") -> Enrolling:
    """Return a workload whose first certificate has ended, and whose second one never arrived."""
    it = enrolled(ca, name)
    first = it.leaf
    clock.move(minutes=45)
    it.renew()
    it.leaf = first
    clock.move(minutes=20)
    return it


def test_a_workload_that_did_not_get_its_renewal_gets_it_by_recovery(
    ca: AuthorityContext, clock: Clock
) -> None:
    it = with_lost_renewal(ca, clock)
    first, old_recovery = it.leaf, it.recovery_key
    result = it.recover(it.key)
    assert result.is_repeated
    assert result.issued.leaf != first
    assert result.recoveries_left == 3, "it counts as no recovery"
    assert events(ca) == []
    with ca.ledger.transaction() as transaction:
        *_, (_, entry, _) = transaction.audit.entries()
    assert '"recover-line"' in entry
    assert '"answer-lost"' in entry
    it.renew()
    # The recovery key was replaced, and the next one is in use.
    clock.move(days=2)
    assert it.recover().recoveries_left == 2
    assert events(ca) == ["recovery"]
    thief = Enrolling(ca, recovery_key=old_recovery, recovery_id=it.recovery_id)
    with pytest.raises(NotRecoverableError, match="replaced"):
        thief.recover()


def test_the_answer_to_that_may_be_lost_too(ca: AuthorityContext, clock: Clock) -> None:
    it = with_lost_renewal(ca, clock)
    old_recovery, next_recovery = it.recovery_key, generate_key()
    given = [it.recover(it.key, next_recovery).issued.leaf]
    for _ in range(3):
        it.recovery_key = old_recovery
        clock.move(minutes=1)
        given.append(it.recover(it.key, next_recovery).issued.leaf)
    assert len(set(given)) == 1
    assert events(ca) == []
    it.renew()


def test_it_is_handed_out_once_however_often_its_key_asks(
    ca: AuthorityContext, clock: Clock
) -> None:
    """Each time another recovery key is replaced, and all that were are compared later."""
    it = with_lost_renewal(ca, clock)
    assert it.recover(it.key).is_repeated
    for _ in range(3):
        with pytest.raises(NotRecoverableError, match="Renew it instead"):
            it.recover(it.key)
    assert events(ca) == []


def test_the_key_of_the_certificate_alone_brings_nothing(
    ca: AuthorityContext, clock: Clock
) -> None:
    it = with_lost_renewal(ca, clock)
    thief = Enrolling(ca, key=it.key, recovery_id=it.recovery_id)
    with pytest.raises(ProofRefusedError):
        thief.recover(it.key)
    with pytest.raises(NotRecoverableError, match="valid until"):
        it.recover(generate_key())
    assert events(ca) == []


def test_a_lost_renewal_is_handed_out_only_while_it_is_in_force(
    ca: AuthorityContext, clock: Clock
) -> None:
    it = with_lost_renewal(ca, clock)
    clock.move(days=2)
    result = it.recover(it.key)
    assert not result.is_repeated
    assert result.recoveries_left == 2


def revoke_newest(ca: AuthorityContext, it: Enrolling) -> None:
    with ca.ledger.transaction() as transaction:
        serial = transaction.certificates()[-1].serial
    revoke_serial(ca, ADMIN, serial, "superseded")


def block_line(ca: AuthorityContext, it: Enrolling) -> None:
    with ca.ledger.transaction() as transaction:
        line = transaction.certificates()[-1].line_id
        transaction.lines.block([line], reason="a test", at=ca.now())


def distrust(ca: AuthorityContext, it: Enrolling) -> None:
    with ca.ledger.transaction() as transaction:
        issuer = transaction.issuers()[-1]
        transaction.set_status(issuer.id, IssuerStatus.DISTRUSTED)


def deregister(ca: AuthorityContext, it: Enrolling) -> None:
    delete_registration(ca, ADMIN, workload_id("orders"), keep_certificates=True)


def forbid_recovery(ca: AuthorityContext, it: Enrolling) -> None:
    _, revision = get_registration(ca, ADMIN, workload_id("orders"))
    never = Registration(workload_id("orders"), recovery=RecoveryRule(times=0))
    update_registration(ca, ADMIN, never, revision=revision.number, keep_certificates=True)


@pytest.mark.parametrize("bar", [revoke_newest, block_line, distrust, deregister, forbid_recovery])
def test_what_bars_a_recovery_bars_the_lost_renewal_too(
    ca: AuthorityContext, clock: Clock, bar: Callable[[AuthorityContext, Enrolling], None]
) -> None:
    it = with_lost_renewal(ca, clock)
    bar(ca, it)
    with pytest.raises((NotRecoverableError, NotRegisteredError, NotRenewableError)):
        it.recover(it.key)


def test_a_lost_renewal_whose_revocation_is_pending_is_not_handed_out(
    ca: AuthorityContext, clock: Clock
) -> None:
    it = with_lost_renewal(ca, clock)
    with ca.ledger.transaction() as transaction:
        record, issuer = transaction.certificates()[-1], transaction.issuers()[-1]
    at, end = int(clock().timestamp()), int(record.not_after.timestamp())
    entry = PendingEntry(issuer.key_id, record.serial, end, at)
    serials = (record.serial,)
    ca.pending.add(PendingRevocation("1", clock(), "ops", serials, "superseded", False, (entry,)))
    with pytest.raises((NotPermittedError, NotRecoverableError)):
        it.recover(it.key)


def test_a_nonce_of_a_lost_renewal_is_good_once(ca: AuthorityContext, clock: Clock) -> None:
    it = with_lost_renewal(ca, clock)
    assert it.recovery_id is not None
    nonce = Nonces(mac_key(ca)).make(it.recovery_id, now=clock())
    with pytest.raises(ProofRefusedError):
        it.recover(it.key, at=clock() - timedelta(seconds=61))
    it.recover(it.key, nonce=nonce)
    with pytest.raises(ProofRefusedError):
        it.recover(it.key, nonce=nonce)


def test_a_renewal_of_the_future_that_was_lost_is_recovered_with_its_key(
    ca: AuthorityContext, clock: Clock
) -> None:
    clock.move(days=1)
    it = enrolled(ca, "orders")
    first = it.leaf
    it.renew()
    it.leaf = first
    clock.move(days=-1)
    result = it.recover(it.key)
    assert result.issued.leaf.not_valid_before_utc <= clock()
    it.renew()
