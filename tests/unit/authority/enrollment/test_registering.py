"""Who may register what, and who may have a role in the CA."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from pki.authority import Authority
from pki.authority.admission import Admission
from pki.authority.context import AuthorityContext
from pki.authority.enrollment import (
    create_registration,
    create_token,
    delete_registration,
    get_registration,
    issue_own,
    list_registrations,
    register_existing,
    revoke_own,
    revoke_serial,
    revoke_workload,
    update_registration,
)
from pki.authority.ledger.audit import AuditEntry
from pki.authority.registrations import Caller, Proof, Registration
from pki.errors import (
    AlreadyThereError,
    ChangedMeanwhileError,
    InputError,
    NotFoundError,
    NotPermittedError,
    PkiError,
)
from pki.identity import DnsName, SpiffeId
from pki.keys import generate_key
from pki.x509 import read_names
from tests.enrolling import (
    ADMIN,
    REGISTRAR,
    Enrolling,
    enrolled,
    obtain,
    register,
    request_of,
    token_for,
    workload_id,
)
from tests.support import Clock

BATCH = frozenset({Proof.REGISTRAR, Proof.TOKEN, Proof.RENEWAL})


def test_a_registrar_decides_within_its_prefix_alone(ca: AuthorityContext) -> None:
    register(ca, "prod/orders", REGISTRAR, proofs=BATCH)
    token_for(ca, "prod/orders", REGISTRAR)
    obtain(ca, REGISTRAR, workload_id("prod/orders"), request_of(generate_key()))
    for path in ("orders", "production/orders", "dev/prod/orders"):
        with pytest.raises(NotPermittedError, match="may not decide"):
            register(ca, path, REGISTRAR)
        register(ca, path, proofs=BATCH)
        spiffe_id = workload_id(path)
        attempts: list[Callable[[], object]] = [
            lambda path=path: token_for(ca, path, REGISTRAR),  # type: ignore[misc]
            lambda s=spiffe_id: obtain(ca, REGISTRAR, s, request_of(generate_key())),  # type: ignore[misc]
            lambda s=spiffe_id: get_registration(ca, REGISTRAR, s),  # type: ignore[misc]
            lambda s=spiffe_id: delete_registration(ca, REGISTRAR, s),  # type: ignore[misc]
            lambda s=spiffe_id: update_registration(ca, REGISTRAR, Registration(s), revision=1),  # type: ignore[misc]
        ]
        for attempt in attempts:
            with pytest.raises(NotPermittedError, match="may not decide"):
                attempt()
    assert [str(item.spiffe_id) for item, _ in list_registrations(ca, REGISTRAR)] == [
        "spiffe://shop.internal/prod/orders"
    ]


def test_a_caller_without_a_role_decides_on_nothing(ca: AuthorityContext) -> None:
    nobody = Caller("spiffe://shop.internal/nobody")
    with pytest.raises(NotPermittedError):
        register(ca, "orders", nobody)
    register(ca, "orders")
    assert list_registrations(ca, nobody) == ()
    with pytest.raises(NotPermittedError):
        revoke_workload(ca, nobody, workload_id("orders"), "unspecified")
    with pytest.raises(NotPermittedError):
        revoke_serial(ca, REGISTRAR, "1", "unspecified")


@pytest.mark.parametrize("path", ["ca", "CA", "handfast/ca", "handfast/x", "Handfast/x"])
def test_nobody_registers_a_reserved_name(ca: AuthorityContext, path: str) -> None:
    with pytest.raises(NotPermittedError, match="reserved"):
        register(ca, path)


def test_another_trust_domain_is_refused(ca: AuthorityContext) -> None:
    with pytest.raises(NotPermittedError, match="trust domain"):
        create_registration(
            ca, ADMIN, Registration(SpiffeId.parse("spiffe://other.internal/orders"))
        )


def test_a_name_of_another_workload_is_refused_when_it_is_registered(ca: AuthorityContext) -> None:
    with pytest.raises(NotPermittedError, match="derived name"):
        register(ca, "orders", dns_names=(DnsName("payments.shop.internal"),))


def is_ops(names: object) -> bool:
    return str(getattr(names, "spiffe_id", "")) == "spiffe://shop.internal/prod/ops"


def test_a_name_with_a_role_in_the_ca_is_an_admins_to_decide(ca: AuthorityContext) -> None:
    ca.signing.admission.is_privileged = is_ops
    whole = Caller("spiffe://shop.internal/ci", prefixes=frozenset({()}))
    with pytest.raises(NotPermittedError, match="only a ca-admin"):
        register(ca, "prod/ops", whole)
    register(ca, "prod/ops", proofs=BATCH)
    with pytest.raises(NotPermittedError, match="only a ca-admin"):
        token_for(ca, "prod/ops", whole)
    with pytest.raises(NotPermittedError, match="only a ca-admin"):
        obtain(ca, whole, workload_id("prod/ops"), request_of(generate_key()))
    with pytest.raises(NotPermittedError, match="only a ca-admin"):
        delete_registration(ca, whole, workload_id("prod/ops"))
    enrolled(ca, "prod/ops").renew()
    obtain(ca, ADMIN, workload_id("prod/ops"), request_of(generate_key()))


def test_a_policy_that_makes_a_name_an_admin_later_ends_what_a_registrar_prepared(
    ca: AuthorityContext,
) -> None:
    register(ca, "prod/ops", REGISTRAR, proofs=BATCH)
    token, second = (token_for(ca, "prod/ops", REGISTRAR).credential for _ in range(2))
    it = Enrolling(ca)
    it.enroll(token)
    ca.signing.admission.is_privileged = is_ops
    with pytest.raises(NotPermittedError, match="only a ca-admin"):
        it.renew()
    with pytest.raises(NotPermittedError, match="only a ca-admin"):
        Enrolling(ca).enroll(second)
    # An admin's token is not enough: a registrar wrote what it gives.
    with pytest.raises(NotPermittedError, match="only a ca-admin"):
        Enrolling(ca).enroll(token_for(ca, "prod/ops").credential)
    update_registration(ca, ADMIN, Registration(workload_id("prod/ops"), proofs=BATCH), revision=1)
    it.renew()
    with pytest.raises(NotPermittedError, match="only a ca-admin"):
        Enrolling(ca).enroll(second)


def test_a_registration_that_somebody_changed_meanwhile_is_not_overwritten(
    ca: AuthorityContext,
) -> None:
    registration = register(ca, "orders")
    with pytest.raises(AlreadyThereError):
        create_registration(ca, ADMIN, registration)
    changed = update_registration(ca, ADMIN, registration, revision=1)
    assert changed.revision is not None
    assert changed.revision.number == 2
    with pytest.raises(ChangedMeanwhileError):
        update_registration(ca, ADMIN, registration, revision=1)
    with pytest.raises(NotFoundError):
        get_registration(ca, ADMIN, workload_id("payments"))
    with pytest.raises(NotFoundError):
        delete_registration(ca, ADMIN, workload_id("payments"))


def test_a_list_is_read_in_pages_and_by_whole_segments(ca: AuthorityContext) -> None:
    for path in ("a", "prod/a", "prod/b", "prod-x/a", "prod/a/deep"):
        register(ca, path)
    seen: list[str] = []
    while page := list_registrations(ca, ADMIN, after=seen[-1] if seen else "", most=2):
        seen += [str(item.spiffe_id) for item, _ in page]
    assert seen == sorted(seen)
    assert len(seen) == 5
    below = list_registrations(ca, ADMIN, prefix=workload_id("prod"))
    assert [item.spiffe_id.path for item, _ in below] == ["prod/a", "prod/a/deep", "prod/b"]


@pytest.mark.parametrize("path", ["*", "prod/*", "pro_d/%", "a b", "..", ""])
def test_a_pattern_is_no_name(path: str) -> None:
    with pytest.raises(InputError):
        workload_id(path)


def test_like_signs_in_a_prefix_match_themselves(ca: AuthorityContext) -> None:
    register(ca, "a_b/x")
    register(ca, "aXb/x")
    found = list_registrations(ca, ADMIN, prefix=workload_id("a_b"))
    assert [item.spiffe_id.path for item, _ in found] == ["a_b/x"]


def test_the_certificates_of_a_ca_become_registrations_once(
    ca: AuthorityContext, clock: Clock
) -> None:
    with Authority.open(ca.directory.path, clock=clock) as authority:
        authority.issue("orders")
        authority.issue("prod/payments")
        gone = authority.issue("gone")
        authority.revoke(gone.leaf.serial_number)
    added = register_existing(ca)
    assert [item.path for item in added] == ["orders", "prod/payments"]
    assert register_existing(ca) == ()
    delete_registration(ca, ADMIN, workload_id("orders"), keep_certificates=True)
    assert register_existing(ca) == ()
    found, revision = get_registration(ca, ADMIN, workload_id("prod/payments"))
    assert found.allows(Proof.RENEWAL)
    assert revision.by_admin


def test_the_ca_alone_gets_its_own_name(ca: AuthorityContext) -> None:
    own = issue_own(ca)
    assert str(read_names(own.leaf).spiffe_id) == "spiffe://shop.internal/handfast/ca"
    assert issue_own(ca).leaf.public_key() != own.leaf.public_key()
    with Authority.open(ca.directory.path, clock=ca.clock) as authority:
        with pytest.raises(NotPermittedError):
            authority.issue("handfast/ca")
        with pytest.raises(NotPermittedError):
            authority.issue("orders", dns=[DnsName("ca.handfast.shop.internal")])


def test_a_workload_revokes_its_own_line(ca: AuthorityContext) -> None:
    it, other = enrolled(ca, "orders"), enrolled(ca, "orders")
    first = it.leaf
    it.renew()
    assert it.leaf is not None
    revoked = revoke_own(ca, it.leaf, "key-compromise")
    assert {item.certificate for item in revoked} == {first, it.leaf}
    other.renew()


def test_a_token_is_good_for_a_time_that_was_asked_for(ca: AuthorityContext) -> None:
    register(ca, "orders")
    for wrong in (timedelta(0), timedelta(seconds=-1), timedelta(days=2), timedelta(seconds=1.5)):
        with pytest.raises(InputError):
            create_token(ca, ADMIN, workload_id("orders"), wrong)
    with pytest.raises(NotFoundError):
        create_token(ca, ADMIN, workload_id("payments"))


def test_every_way_to_a_signature_passes_the_one_place(
    ca: AuthorityContext, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    register(ca, "orders", proofs=BATCH)
    asleep = enrolled(ca, "orders")
    clock.move(minutes=61)
    it, token = enrolled(ca, "orders"), token_for(ca, "orders").credential

    class RefusedHereError(PkiError):
        pass

    def refuse(*_: object, **__: object) -> None:
        raise RefusedHereError("refused")

    monkeypatch.setattr(Admission, "admit_leaf", refuse)
    attempts: list[Callable[[], object]] = [
        lambda: Enrolling(ca).enroll(token),
        asleep.recover,
        lambda: obtain(ca, ADMIN, workload_id("orders"), request_of(generate_key())),
        lambda: issue_own(ca),
        it.renew,
    ]
    for attempt in attempts:
        with pytest.raises(RefusedHereError):
            attempt()


def test_every_decision_is_in_the_audit_log_with_who_asked(
    ca: AuthorityContext, clock: Clock
) -> None:
    it = enrolled(ca, "orders")
    old = it.leaf
    it.renew()
    clock.move(hours=2)
    it.recover()
    it.leaf = old
    with pytest.raises(NotPermittedError):
        it.renew()
    with pytest.raises(NotPermittedError):
        register(ca, "payments", REGISTRAR)
    delete_registration(ca, ADMIN, workload_id("orders"))
    with Authority.open(ca.directory.path, clock=clock) as authority:
        assert authority.verify_audit_log().findings == ()
    with ca.ledger.transaction() as transaction:
        entries = [AuditEntry.parse(text) for _, text, _ in transaction.audit.entries()]
    told = [(entry.action.value, entry.actor.name.split(":")[0]) for entry in entries]
    ops, own, registrar = ADMIN.name.split(":")[0], "spiffe", REGISTRAR.name.split(":")[0]
    assert [item for item in told if item[1] != "local"] == [
        ("register", ops),
        ("token", ops),
        ("issue", "token"),
        ("renew", own),
        ("renew", own),
        ("recover-line", own),
        ("refuse", own),
        ("refuse", registrar),
        ("register-delete", ops),
        ("revoke", ops),
    ]
