"""Renewal by the certificate that a workload presented: once, by its registration, by its line."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.authority.context import AuthorityContext
from pki.authority.enrollment import (
    delete_registration,
    get_registration,
    renew_own,
    revoke_serial,
    update_registration,
)
from pki.authority.registrations import Proof, Registration
from pki.errors import InputError, NotPermittedError, NotRegisteredError, NotRenewableError
from pki.identity import DnsName
from pki.keys import generate_key
from pki.x509 import read_names
from tests.enrolling import ADMIN, enrolled, register, request_of, workload_id
from tests.support import SHOP, Clock, make_authority


def test_a_renewal_is_of_the_same_line_with_a_new_key(ca: AuthorityContext, clock: Clock) -> None:
    it = enrolled(ca, "orders")
    first = it.leaf
    assert first is not None
    clock.move(minutes=30)
    second = it.renew().issued.leaf
    assert second.public_key() != first.public_key()
    assert second.not_valid_after_utc == clock() + timedelta(hours=1)
    with ca.ledger.transaction() as transaction:
        one, two = transaction.certificates()
        assert one.line_id == two.line_id
        assert two.renewed_from == one.id


def test_the_same_renewal_again_gets_the_same_certificate_as_long_as_the_old_one_is_valid(
    ca: AuthorityContext, clock: Clock
) -> None:
    it = enrolled(ca, "orders")
    old, key = it.leaf, generate_key()
    first = it.renew(key).issued.leaf
    clock.move(minutes=55)
    it.leaf = old
    again = it.renew(key)
    assert again.is_repeated
    assert again.issued.leaf == first
    clock.move(minutes=6)
    it.leaf = old
    with pytest.raises(NotRenewableError, match="expired"):
        it.renew(key)


def test_the_thief_who_renews_first_and_the_owner_who_comes_second(ca: AuthorityContext) -> None:
    """Both hold the key of one certificate: the line is blocked, whoever of them came first."""
    owner, other = enrolled(ca, "orders"), enrolled(ca, "orders")
    stolen = owner.leaf
    thief = owner.renew().issued.leaf
    owner.leaf = stolen
    with pytest.raises(NotRenewableError, match="its line is blocked"):
        owner.renew()
    owner.leaf = thief
    with pytest.raises(NotRenewableError, match="blocked"):
        owner.renew()
    with ca.ledger.transaction() as transaction:
        assert [kind for _, kind, _ in transaction.events()] == ["second-renewal"]
    # The other instance of the workload, and the name, are not blocked.
    other.renew()
    enrolled(ca, "orders").renew()


def test_revoking_for_compromise_revokes_what_the_thief_renewed_and_blocks_the_line(
    ca: AuthorityContext,
) -> None:
    it = enrolled(ca, "orders")
    stolen = it.leaf
    assert stolen is not None
    renewed = it.renew().issued.leaf
    revoked = revoke_serial(ca, ADMIN, f"{stolen.serial_number:x}", "key-compromise")
    assert {item.certificate for item in revoked} == {stolen, renewed}
    with pytest.raises(NotRenewableError, match="revoked"):
        it.renew()
    with ca.ledger.transaction() as transaction:
        line = transaction.lines.get(revoked[0].line_id)
        assert line is not None
        assert line.blocked_at is not None
        assert line.recovery_key is None


def test_who_has_a_certificate_without_its_key_locks_nobody_out(ca: AuthorityContext) -> None:
    """The binding needs the request's key, and the handshake the certificate's: a copy of the
    certificate alone gets neither further."""
    it = enrolled(ca, "orders")
    assert it.leaf is not None
    it.renew()
    with pytest.raises(NotPermittedError, match="binds"):
        renew_own(ca, it.leaf, _request(), b"\0")
    it.renew()


def _request() -> bytes:
    return request_of(generate_key())


def test_a_renewal_with_the_old_key_is_refused_and_blocks_nothing(ca: AuthorityContext) -> None:
    it = enrolled(ca, "orders")
    with pytest.raises(InputError, match="new key"):
        it.renew(it.key)
    it.renew()


def test_a_request_may_ask_for_the_registered_names_alone(ca: AuthorityContext) -> None:
    it = enrolled(ca, "orders")
    it.names = (x509.DNSName("payments.shop.internal"),)
    with pytest.raises(NotPermittedError, match=r"payments\.shop\.internal"):
        it.renew()
    it.names = ()
    it.renew()


def test_a_deleted_registration_revokes_and_stops_renewal(ca: AuthorityContext) -> None:
    it = enrolled(ca, "orders")
    changed = delete_registration(ca, ADMIN, workload_id("orders"))
    assert [item.certificate for item in changed.revoked] == [it.leaf]
    with pytest.raises(NotRenewableError, match="revoked"):
        it.renew()


def test_a_deleted_registration_may_keep_certificates_and_stops_renewal(
    ca: AuthorityContext,
) -> None:
    it = enrolled(ca, "orders")
    changed = delete_registration(ca, ADMIN, workload_id("orders"), keep_certificates=True)
    assert changed.revoked == ()
    with pytest.raises(NotRegisteredError):
        it.renew()


def test_a_registration_that_loses_a_name_revokes_what_has_it(tmp_path: Path, clock: Clock) -> None:
    plan = AuthorityPlan(SHOP, permit_dns=(DnsName("example.com"),))
    with Authority.create(tmp_path / "ca", plan, clock=clock) as authority:
        ca = authority.context
        register(ca, "orders", dns_names=(DnsName("orders.example.com"),))
        it = enrolled(ca, "orders")
        assert it.leaf is not None
        assert len(read_names(it.leaf).dns_names) == 2
        _, revision = get_registration(ca, ADMIN, workload_id("orders"))
        narrow = Registration(workload_id("orders"))
        changed = update_registration(ca, ADMIN, narrow, revision=revision.number)
        assert [item.certificate for item in changed.revoked] == [it.leaf]
        new = enrolled(ca, "orders")
        assert new.leaf is not None
        assert len(read_names(new.leaf).dns_names) == 1
        # A wider registration shows at the next renewal.
        _, revision = get_registration(ca, ADMIN, workload_id("orders"))
        wide = Registration(workload_id("orders"), (DnsName("orders.example.com"),))
        assert update_registration(ca, ADMIN, wide, revision=revision.number).revoked == ()
        assert len(read_names(new.renew().issued.leaf).dns_names) == 2


def test_a_registration_without_renewal_allows_none(ca: AuthorityContext) -> None:
    register(ca, "orders", proofs=frozenset({Proof.TOKEN}))
    with pytest.raises(NotRegisteredError, match="renewal"):
        enrolled(ca, "orders").renew()


def test_another_cas_certificate_is_not_renewed(
    ca: AuthorityContext, tmp_path: Path, clock: Clock
) -> None:
    it = enrolled(ca, "orders")
    with make_authority(tmp_path / "other", clock) as other:
        it.leaf = enrolled(other.context, "orders").leaf
    with pytest.raises(NotRenewableError, match="not one that this CA issued"):
        it.renew()


class NoPlaceError(Exception):
    """There is no place."""


def test_a_renewal_that_is_not_admitted_issues_nothing_and_a_repeated_one_needs_no_admission(
    ca: AuthorityContext, clock: Clock
) -> None:
    it, asked = enrolled(ca, "orders"), list[object]()
    key, first = generate_key(), it.leaf

    def refuse(line_id: str, lifetime: timedelta) -> None:
        asked.append((line_id, lifetime))
        raise NoPlaceError

    with pytest.raises(NoPlaceError):
        it.renew(key, admit=refuse)
    assert len(asked) == 1
    renewed = it.renew(key).issued.leaf
    it.leaf = first
    assert it.renew(key, admit=refuse).issued.leaf == renewed
    assert len(asked) == 1
