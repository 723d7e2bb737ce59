"""The CA: what it issues, renews, revokes and refuses, and that it loses no record."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki.authority import Authority
from pki.authority.admission import Admission
from pki.authority.bootstrap import AuthorityPlan
from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger import IssuerStatus
from pki.authority.lifetimes import renewal_due
from pki.errors import (
    InputError,
    LedgerError,
    NotPermittedError,
    PkiError,
    StateError,
    VerificationError,
)
from pki.files import load_credential
from pki.identity import DnsName, SpiffeId, TrustDomain
from pki.keys import KeyType, generate_key
from pki.x509 import (
    CLIENT,
    SERVER,
    WORKLOAD,
    ChainVerifier,
    Credential,
    CrlSet,
    Fault,
    Purpose,
    TrustBundle,
)
from tests.support import NOW, SHOP, Clock, Hierarchy, make_authority, name, request_for


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path, clock) as made:
        yield made


def accepted(ca: Authority, credential: Credential) -> str:
    """Return the empty string if a receiver with the CA's present trust accepts, else the fault."""
    bundle, crls = ca.trust()
    try:
        ChainVerifier(bundle, crls).verify(
            credential.chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=ca.now()
        )
    except VerificationError as error:
        return str(error.fault)
    return ""


def csr(key: object, *names: x509.GeneralName, subject: x509.Name | None = None) -> bytes:
    made = request_for(key, names, subject=subject)  # type: ignore[arg-type]
    return made.public_bytes(serialization.Encoding.PEM)


# Issuing


def test_what_it_issues_is_accepted_with_its_lists(ca: Authority) -> None:
    issued = ca.issue("prod/orders")
    assert accepted(ca, issued.credential) == ""
    assert issued.notes == ()
    names = WORKLOAD.check(issued.leaf)
    assert [str(item) for item in names.dns_names] == ["orders.prod.shop.internal"]
    assert issued.leaf.not_valid_after_utc == NOW + timedelta(hours=1)
    assert issued.leaf.not_valid_before_utc == NOW - timedelta(minutes=1)
    (record,) = ca.certificates()
    assert record.certificate == issued.leaf
    assert record.spiffe_id == "spiffe://shop.internal/prod/orders"


@pytest.mark.parametrize("kind", [kind for kind in KeyType if kind is not KeyType.ED25519])
def test_every_leaf_key_type_is_issued(ca: Authority, kind: KeyType) -> None:
    assert accepted(ca, ca.issue("orders", key_type=kind).credential) == ""


def test_an_ed25519_leaf_is_refused_and_an_ed25519_ca_is_not(tmp_path: Path, ca: Authority) -> None:
    with pytest.raises(InputError):
        ca.issue("orders", key_type=KeyType.ED25519)
    plan = AuthorityPlan(SHOP, key_type=KeyType.ED25519)
    with Authority.create(tmp_path / "other", plan, clock=Clock()) as other:
        assert accepted(other, other.issue("orders").credential) == ""


def test_a_request_gets_its_names_and_the_asker_keeps_the_key(ca: Authority) -> None:
    key = generate_key()
    uri = x509.UniformResourceIdentifier("spiffe://shop.internal/orders")
    request = csr(key, uri, x509.DNSName("orders.shop.internal"), subject=name("orders"))
    issued = ca.issue_request("orders", request)
    assert issued.key is None
    assert accepted(ca, Credential(key, issued.chain, issued.bundle, issued.crls)) == ""
    with pytest.raises(StateError, match="sender of the request"):
        _ = issued.credential


@pytest.mark.parametrize(
    ("asked", "subject"),
    [
        (x509.UniformResourceIdentifier("spiffe://shop.internal/payments"), None),
        (x509.UniformResourceIdentifier("spiffe://other.test/orders"), None),
        (x509.DNSName("payments.shop.internal"), None),
        (x509.DNSName("localhost"), None),
        (x509.IPAddress(ip_address("10.0.0.1")), None),
        (x509.DNSName("orders.shop.internal"), name("admin")),
    ],
)
def test_a_request_for_another_name_is_refused(
    ca: Authority, asked: x509.GeneralName, subject: x509.Name | None
) -> None:
    with pytest.raises(NotPermittedError):
        ca.issue_request("orders", csr(generate_key(), asked, subject=subject))
    assert ca.certificates() == ()


@pytest.mark.parametrize(
    "workload",
    ["handfast", "handfast/agent", "ca", "CA", "spiffe://other.test/orders"],
)
def test_reserved_and_foreign_names_are_refused(ca: Authority, workload: str) -> None:
    with pytest.raises(NotPermittedError):
        ca.issue(workload)


@pytest.mark.parametrize("workload", ["", "../x", "a//b", "a/", "a?b", "a b", "ä", "a\0b"])
def test_ill_formed_names_are_refused(ca: Authority, workload: str) -> None:
    with pytest.raises(InputError):
        ca.issue(workload)


def test_names_outside_what_the_ca_permits_are_refused(tmp_path: Path) -> None:
    plan = AuthorityPlan(
        SHOP, (DnsName("localhost"),), (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    )
    with Authority.create(tmp_path / "ca", plan, clock=Clock()) as ca:
        issued = ca.issue("orders", dns=[DnsName("localhost")], ip=[ip_address("10.1.1.1")])
        assert accepted(ca, issued.credential) == ""
        assert accepted(ca, ca.issue("six", ip=[ip_address("fd00::1")]).credential) == ""
        for wrong in ("example.com", "shop.internal", "payments.shop.internal"):
            with pytest.raises(NotPermittedError):
                ca.issue("audit", dns=[DnsName(wrong)])
        with pytest.raises(NotPermittedError):
            ca.issue("audit", ip=[ip_address("192.168.0.1")])


def test_a_name_belongs_to_one_workload_until_its_last_certificate_has_ended(
    tmp_path: Path, clock: Clock
) -> None:
    plan = AuthorityPlan(SHOP, (DnsName("localhost"),))
    with Authority.create(tmp_path / "ca", plan, clock=clock) as ca:
        ca.issue("orders", dns=[DnsName("localhost")])
        clock.move(minutes=30)
        ca.issue("orders", dns=[DnsName("localhost")])
        clock.move(minutes=45)
        with pytest.raises(NotPermittedError, match=r"belongs to spiffe://shop.internal/orders"):
            ca.issue("payments", dns=[DnsName("localhost")])
        assert len(ca.certificates(with_ended=True)) == 2
        clock.move(minutes=16)
        ca.issue("payments", dns=[DnsName("localhost")])
        with pytest.raises(NotPermittedError):
            ca.issue("orders", dns=[DnsName("localhost")])


def test_one_workloads_derived_dns_name_is_never_anothers(ca: Authority) -> None:
    with pytest.raises(NotPermittedError, match="derived name of"):
        ca.issue("legacy", dns=[DnsName("orders.prod.shop.internal")])
    ca.issue("prod/orders", dns=[DnsName("orders.prod.shop.internal")])


@pytest.mark.parametrize(
    "lifetime",
    [timedelta(0), timedelta(seconds=-1), timedelta(milliseconds=1500), timedelta(microseconds=1)],
)
def test_lifetimes_that_are_none_are_refused(ca: Authority, lifetime: timedelta) -> None:
    with pytest.raises(InputError, match="lifetime"):
        ca.issue("orders", lifetime=lifetime)


@pytest.mark.parametrize("lifetime", [timedelta(hours=24, seconds=1), timedelta(days=365 * 2700)])
def test_a_lifetime_that_no_leaf_has_is_refused_with_the_limit(
    ca: Authority, lifetime: timedelta
) -> None:
    longest = ca.issue("orders", lifetime=timedelta(hours=24))
    assert longest.leaf.not_valid_after_utc == NOW + timedelta(hours=24)
    with pytest.raises(InputError, match="longer than 24h"):
        ca.issue("web", lifetime=lifetime)
    with pytest.raises(InputError, match="longer than 24h"):
        ca.renew(longest.leaf, lifetime=lifetime)
    assert len(ca.certificates()) == 1


def test_a_lifetime_that_outlives_the_issuing_ca_is_refused_with_its_end(
    ca: Authority, clock: Clock
) -> None:
    end = ca.issuers()[1].certificate.not_valid_after_utc
    clock.at = end - timedelta(hours=2)
    old = ca.issue("orders", lifetime=timedelta(hours=2))
    assert old.leaf.not_valid_after_utc == end
    clock.move(hours=1)
    words = f"lifetime 2h .* expires at {end:%Y-%m-%d %H:%M:%S}"
    with pytest.raises(InputError, match=words):
        ca.issue("web", lifetime=timedelta(hours=2))
    with pytest.raises(InputError, match=words):
        ca.renew(old.leaf, lifetime=timedelta(hours=2))
    assert len(ca.certificates(with_ended=True)) == 1
    # Nobody asked for an exact lifetime here: the old one's is cut, and that is said.
    assert "expires with its issuing CA" in ca.renew(old.leaf).notes[0]


def test_a_leaf_never_outlives_its_issuer_and_that_is_said(ca: Authority, clock: Clock) -> None:
    end = ca.issuers()[1].certificate.not_valid_after_utc
    clock.at = end - timedelta(minutes=10)
    issued = ca.issue("orders")
    assert issued.leaf.not_valid_after_utc == end
    assert "expires with its issuing CA" in issued.notes[0]
    clock.at = end
    with pytest.raises(StateError, match="clock"):
        ca.issue("orders")


def test_a_clock_an_hour_back_signs_nothing(ca: Authority, clock: Clock) -> None:
    clock.move(hours=-1)
    with pytest.raises(StateError, match="clock"):
        ca.issue("orders")


def test_a_path_that_is_no_dns_name_is_issued_and_said(ca: Authority) -> None:
    assert "can't pin" in ca.issue("Orders_v1").notes[0]
    long_path = ca.issue("x" * 65)
    assert accepted(ca, long_path.credential) == ""


def test_server_and_client_certificates_hold_no_spiffe_id(ca: Authority) -> None:
    for profile in (SERVER, CLIENT):
        names = profile.check(ca.issue(f"proxy-{profile.name}", profile=profile).leaf)
        assert names.spiffe_id is None


def test_the_cas_own_key_gets_no_leaf(ca: Authority, tmp_path: Path) -> None:
    key_id = ca.issuers()[1].key_id
    pem = (tmp_path / "ca" / f"issuing-{key_id}.key.pem").read_bytes()
    key = serialization.load_pem_private_key(pem, None)
    with pytest.raises(NotPermittedError, match="CA's own"):
        ca.issue_request("orders", csr(key))
    first = ca.issue("orders")
    with pytest.raises(NotPermittedError, match="CA's own"):
        ca.renew(first.leaf, key=key)  # type: ignore[arg-type]


def test_every_way_to_a_signature_passes_admission(
    ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ca.issue("orders")

    def refuse(*_: object, **__: object) -> None:
        raise NotPermittedError("nobody may have a name today")

    monkeypatch.setattr(Admission, "admit_leaf", refuse)
    monkeypatch.setattr(Admission, "admit_issuer", refuse)
    ways: list[Callable[[], object]] = [
        lambda: ca.issue("payments"),
        lambda: ca.issue_request("payments", csr(generate_key())),
        lambda: ca.renew(first.leaf),
        ca.rotate,
        lambda: Authority.create(tmp_path / "new", SHOP, clock=Clock()),
    ]
    for way in ways:
        with pytest.raises(NotPermittedError, match="today"):
            way()
    assert len(ca.certificates()) == 1
    assert len(ca.issuers()) == 2


# Renewing


def test_a_renewal_has_the_same_names_and_a_new_key(tmp_path: Path, clock: Clock) -> None:
    plan = AuthorityPlan(SHOP, (DnsName("localhost"),), (ip_network("10.0.0.0/8"),))
    with Authority.create(tmp_path / "ca", plan, clock=clock) as ca:
        first = ca.issue("orders", dns=[DnsName("localhost")], ip=[ip_address("10.0.0.1")])
        clock.move(minutes=30)
        second = ca.renew(first.leaf)
        assert WORKLOAD.check(second.leaf) == WORKLOAD.check(first.leaf)
        assert second.leaf.public_key() != first.leaf.public_key()
        assert second.leaf.not_valid_after_utc == clock.at + timedelta(hours=1)
        assert accepted(ca, second.credential) == ""
        records = ca.certificates()
        assert records[1].renewed_from == records[0].id


def test_a_lost_answer_is_given_again_for_the_same_key(ca: Authority) -> None:
    first = ca.issue("orders")
    key = generate_key()
    second = ca.renew(first.leaf, key=key)
    assert ca.renew(first.leaf, key=key).leaf == second.leaf
    assert ca.renew(first.leaf, public_key=key.public_key()).key is None
    assert len(ca.certificates()) == 2
    ca.revoke(second.leaf.serial_number)
    with pytest.raises(NotPermittedError, match="revoked"):
        ca.renew(first.leaf, key=key)


def test_a_second_renewal_with_another_key_is_refused_and_recorded(ca: Authority) -> None:
    first = ca.issue("orders")
    ca.renew(first.leaf)
    with pytest.raises(NotPermittedError, match="stolen"):
        ca.renew(first.leaf)
    ((_, kind, detail),) = ca.events()
    assert kind == "second-renewal"
    assert f"{first.leaf.serial_number:x}" in detail
    assert len(ca.certificates()) == 2


def test_a_renewal_by_request_is_checked_before_a_second_renewal_is_recorded(
    ca: Authority,
) -> None:
    first = ca.issue("orders")
    renewed = ca.renew_request(first.leaf, csr(generate_key()))
    assert renewed.key is None
    with pytest.raises(NotPermittedError, match="which is not among the names to certify"):
        ca.renew_request(first.leaf, csr(generate_key(), x509.DNSName("db.shop.test")))
    with pytest.raises(InputError, match="needs a new key"):
        ca.renew_request(first.leaf, csr(first.key))
    assert not ca.events()
    with pytest.raises(NotPermittedError, match="stolen"):
        ca.renew_request(first.leaf, csr(generate_key()))
    ((_, kind, _),) = ca.events()
    assert kind == "second-renewal"
    assert len(ca.certificates()) == 2


def test_what_may_not_be_renewed(ca: Authority, clock: Clock, tmp_path: Path) -> None:
    stranger = Hierarchy()
    with pytest.raises(NotPermittedError, match="not one that this CA issued"):
        ca.renew(stranger.leaf())
    first = ca.issue("orders")
    with pytest.raises(InputError, match="new key"):
        ca.renew(first.leaf, key=first.key)
    ca.revoke(first.leaf.serial_number)
    with pytest.raises(NotPermittedError, match="revoked"):
        ca.renew(first.leaf)
    second = ca.issue("orders")
    clock.move(hours=1, seconds=1)
    with pytest.raises(NotPermittedError, match="expired"):
        ca.renew(second.leaf)
    third = ca.issue("orders")
    ca.distrust(ca.issuers()[1].key_id)
    with pytest.raises(NotPermittedError, match="distrusted"):
        ca.renew(third.leaf)


def test_a_superseded_issuing_cas_certificates_renew_from_the_new_one(ca: Authority) -> None:
    first = ca.issue("orders")
    ca.rotate()
    assert accepted(ca, first.credential) == ""
    second = ca.renew(first.leaf)
    assert second.leaf.issuer != first.leaf.issuer
    assert accepted(ca, second.credential) == ""


def test_renewal_is_due_after_half_the_life_with_jitter_that_stays() -> None:
    end = NOW + timedelta(hours=1)
    moments = {renewal_due(NOW, end, serial) for serial in range(1024)}
    assert min(moments) == NOW + timedelta(minutes=30)
    assert max(moments) < NOW + timedelta(minutes=36, seconds=1)
    assert len(moments) == 1024
    assert renewal_due(NOW, end, 77) == renewal_due(NOW, end, 77)


# Revoking


def test_a_revoked_certificate_is_refused_and_stays_so_after_a_restart(
    tmp_path: Path, ca: Authority, clock: Clock
) -> None:
    first, other = ca.issue("orders"), ca.issue("payments")
    ca.revoke(first.leaf.serial_number, reason="key-compromise")
    ca.close()
    with Authority.open(tmp_path / "ca", clock=clock) as again:
        assert accepted(again, first.credential) == Fault.REVOKED
        assert accepted(again, other.credential) == ""
        again.refresh_crls(force=True)
        assert accepted(again, first.credential) == Fault.REVOKED
        (hit,) = again.revoke(f"{first.leaf.serial_number:X}", reason="superseded")
        assert hit.reason == "keyCompromise"


def test_what_a_thief_renewed_is_revoked_with_it(ca: Authority) -> None:
    first = ca.issue("orders")
    second = ca.renew(first.leaf)
    third = ca.renew(second.leaf)
    assert len(ca.revoke(first.leaf.serial_number)) == 3
    for issued in (first, second, third):
        assert accepted(ca, issued.credential) == Fault.REVOKED


def test_renewals_from_another_issuing_ca_are_revoked_with_it_too(ca: Authority) -> None:
    first = ca.issue("orders")
    ca.rotate()
    second = ca.renew(first.leaf)
    ca.revoke(first.leaf.serial_number)
    assert accepted(ca, second.credential) == Fault.REVOKED


def test_an_unknown_serial_number_or_reason_is_refused(ca: Authority) -> None:
    with pytest.raises(InputError, match="no certificate"):
        ca.revoke("abc")
    with pytest.raises(InputError, match="no reason"):
        ca.revoke("abc", reason="certificate-hold")


def test_lists_have_growing_numbers_and_drop_what_ended_long_ago(
    ca: Authority, clock: Clock
) -> None:
    first = ca.issue("orders")
    ca.revoke(first.leaf.serial_number)

    def issuing_crl() -> tuple[int, frozenset[int]]:
        _, crls = ca.trust()
        found = crls.crl_for(first.leaf)
        assert found is not None
        return found.number, found.revoked

    def microseconds() -> int:
        return int(clock().timestamp()) * 1_000_000

    number, revoked = issuing_crl()
    # Above every number that a ledger may have forgotten that is restored later.
    assert number == microseconds() + 1
    assert revoked == {first.leaf.serial_number}
    clock.move(days=4)
    assert ca.refresh_crls() == 1
    assert issuing_crl() == (microseconds(), revoked)
    assert ca.refresh_crls() == 0
    clock.move(days=8)
    assert ca.refresh_crls() == 1
    number = microseconds()
    assert issuing_crl() == (number, frozenset())
    clock.move(days=-1)
    assert ca.refresh_crls(force=True) == 1
    assert issuing_crl() == (number + 1, frozenset())


# Issuing CAs


def test_the_root_key_may_be_away_for_all_but_a_new_issuing_ca(
    tmp_path: Path, ca: Authority
) -> None:
    ca.rotate()
    root_key = tmp_path / "ca" / "root.key.pem"
    away = tmp_path / "root.key.pem"
    root_key.rename(away)
    issued = ca.issue("orders")
    renewed = ca.renew(issued.leaf)
    ca.revoke(renewed.leaf.serial_number)
    ca.refresh_crls(force=True)
    with pytest.raises(StateError, match="root's key"):
        ca.rotate()
    _, old, new = ca.issuers()
    ca.distrust(old.key_id)
    assert accepted(ca, ca.issue("payments").credential) == ""
    second = ca.issue("audit")
    ca.distrust(new.key_id[:6])
    assert accepted(ca, second.credential) == Fault.ISSUER_REVOKED
    with pytest.raises(StateError, match="no issuing CA is active"):
        ca.issue("orders")
    away.rename(root_key)
    ca.rotate()
    assert accepted(ca, ca.issue("orders").credential) == ""
    assert accepted(ca, second.credential) == Fault.ISSUER_REVOKED


def test_distrust_in_either_order_never_trusts_again(tmp_path: Path) -> None:
    for order in ((1, 2), (2, 1)):
        with Authority.create(tmp_path / f"ca{order}", SHOP, clock=Clock()) as ca:
            first = ca.issue("a")
            ca.rotate()
            second = ca.issue("b")
            (tmp_path / f"ca{order}" / "root.key.pem").unlink()
            seen = CrlSet.none()
            for which in order:
                ca.distrust(ca.issuers()[which].key_id)
                bundle, crls = ca.trust()
                seen, refused = seen.merge_newer(crls)
                assert not refused
            for issued in (first, second):
                with pytest.raises(VerificationError) as caught:
                    ChainVerifier(bundle, seen).verify(
                        issued.chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=ca.now()
                    )
                assert caught.value.fault == Fault.ISSUER_REVOKED


def test_distrust_with_the_root_key_at_hand_signs_a_fresh_list(ca: Authority) -> None:
    issued = ca.issue("orders")
    key_id = ca.issuers()[1].key_id
    assert ca.distrust(key_id).status is IssuerStatus.DISTRUSTED
    assert ca.distrust(key_id).status is IssuerStatus.DISTRUSTED
    assert accepted(ca, issued.credential) == Fault.ISSUER_REVOKED
    for wrong in ("", "zz", ca.issuers()[0].key_id):
        with pytest.raises(InputError, match="names no"):
            ca.distrust(wrong)


def test_many_issuing_cas_can_be_distrusted_one_by_one(tmp_path: Path, ca: Authority) -> None:
    for _ in range(7):
        ca.rotate()
    (tmp_path / "ca" / "root.key.pem").unlink()
    issuing = ca.issuers()[1:]
    ca.distrust(issuing[0].key_id)
    ca.distrust(issuing[1].key_id)
    with pytest.raises(StateError, match="signed ahead"):
        ca.distrust(issuing[2].key_id)
    assert ca.issuers()[3].status is not IssuerStatus.DISTRUSTED


def test_a_new_issuing_cas_list_is_out_before_its_first_leaf(ca: Authority) -> None:
    prepared = ca.prepare_issuer()
    assert prepared.status is IssuerStatus.PREPARED
    _, crls = ca.trust()
    assert len(crls.crls) == 3
    assert ca.issue("orders").leaf.issuer != prepared.certificate.subject
    with pytest.raises(StateError, match="prepared already"):
        ca.prepare_issuer()
    assert ca.activate_issuer().key_id == prepared.key_id
    with pytest.raises(StateError, match="no issuing CA is prepared"):
        ca.activate_issuer()
    assert ca.issue("orders").leaf.issuer == prepared.certificate.subject


def test_each_ca_has_a_name_of_its_own(ca: Authority) -> None:
    ca.rotate()
    subjects = {item.certificate.subject for item in ca.issuers()}
    assert len(subjects) == 3


# Set-up and files


@pytest.mark.sqlite
def test_a_ca_is_made_once(tmp_path: Path, ca: Authority) -> None:
    with pytest.raises(StateError, match="there is a CA"):
        make_authority(tmp_path)
    with pytest.raises(StateError, match="there is no CA"):
        Authority.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "plan",
    [
        AuthorityPlan(TrustDomain("no_dns")),
        AuthorityPlan(SHOP, backdate=timedelta(hours=2)),
        AuthorityPlan(SHOP, backdate=timedelta(seconds=-1)),
        AuthorityPlan(SHOP, crl_lifetime=timedelta(0)),
        AuthorityPlan(SHOP, (DnsName("prod.shop.internal"),)),
        AuthorityPlan(SHOP, (DnsName("internal"),)),
    ],
)
def test_a_plan_that_makes_no_ca_is_refused(tmp_path: Path, plan: AuthorityPlan) -> None:
    with pytest.raises(InputError):
        Authority.create(tmp_path / "ca", plan)
    assert not (tmp_path / "ca").exists()


@pytest.mark.sqlite
def test_a_set_up_that_was_cut_off_is_taken_up(tmp_path: Path, clock: Clock) -> None:

    home = tmp_path / "ca"
    home.mkdir()
    AuthorityDirectory(home).home.create().close()
    with pytest.raises(LedgerError, match="interrupted"):
        Authority.open(home)
    with Authority.create(home, SHOP, clock=clock) as ca:
        assert accepted(ca, ca.issue("orders").credential) == ""


def test_keys_are_private_and_may_be_encrypted(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Authority.create(tmp_path / "ca", SHOP, passphrase=b"open", clock=Clock()) as ca:
            ca.issue("orders").save(tmp_path / "orders")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    private = [*(tmp_path / "ca").glob("*key.pem"), *(tmp_path / "ca").glob("ledger.db*")]
    for path in (*private, tmp_path / "orders" / "key.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for path in (tmp_path / "ca").glob("*.key.pem"):
        assert b"ENCRYPTED" in path.read_bytes()
    with Authority.open(tmp_path / "ca", clock=Clock()) as ca, pytest.raises(PkiError):
        ca.issue("orders")
    with Authority.open(tmp_path / "ca", passphrase=b"open", clock=Clock()) as ca:
        ca.issue("orders")


def test_a_ca_key_that_others_may_read_signs_nothing(tmp_path: Path, ca: Authority) -> None:
    ca.close()
    key = tmp_path / "ca" / f"issuing-{ca.issuers()[1].key_id}.key.pem"
    key.chmod(0o640)
    with Authority.open(tmp_path / "ca", clock=Clock()) as again:
        with pytest.raises(StateError, match="0640"):
            again.issue("orders")
        key.chmod(0o600)
        key.write_bytes((tmp_path / "ca" / "root.key.pem").read_bytes())
        with pytest.raises(StateError, match="does not belong"):
            again.issue("orders")


def test_a_saved_credential_is_read_back(tmp_path: Path, ca: Authority) -> None:
    ca.issue("orders").save(tmp_path / "orders")
    loaded = load_credential(tmp_path / "orders").credential
    assert accepted(ca, loaded) == ""
    key = generate_key()
    issued = ca.issue_request("web", csr(key))
    issued.save(tmp_path / "web")
    assert sorted(path.name for path in (tmp_path / "web").glob("[!.]*")) == [
        "bundle.pem",
        "chain.pem",
        "crl.pem",
    ]


def test_opening_publishes_again_what_a_crash_left_old(
    tmp_path: Path, ca: Authority, clock: Clock
) -> None:
    old = (tmp_path / "ca" / "crl.pem").read_bytes()
    ca.revoke(ca.issue("orders").leaf.serial_number)
    ca.close()
    (tmp_path / "ca" / "crl.pem").write_bytes(old)
    with Authority.open(tmp_path / "ca", clock=clock):
        assert (tmp_path / "ca" / "crl.pem").read_bytes() != old


# A ledger that fails


def break_ledger(home: Path, statement: str) -> None:
    connection = sqlite3.connect(home / "ledger.db")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.sqlite
def test_nothing_is_handed_out_when_the_insert_fails(tmp_path: Path, ca: Authority) -> None:
    break_ledger(
        tmp_path / "ca",
        "CREATE TRIGGER no BEFORE INSERT ON certificates BEGIN SELECT RAISE(ABORT, 'disk'); END",
    )
    with pytest.raises(LedgerError, match="Nothing was handed out"):
        ca.issue("orders")
    break_ledger(tmp_path / "ca", "DROP TRIGGER no")
    assert ca.certificates(with_ended=True) == ()
    ca.issue("payments")


@pytest.mark.sqlite
def test_nothing_is_handed_out_when_the_commit_fails(tmp_path: Path, ca: Authority) -> None:
    # A deferred foreign key is checked when the transaction commits, not before.
    break_ledger(
        tmp_path / "ca",
        "CREATE TABLE late (x INTEGER REFERENCES issuers(id) DEFERRABLE INITIALLY DEFERRED)",
    )
    break_ledger(
        tmp_path / "ca",
        "CREATE TRIGGER late AFTER INSERT ON certificates BEGIN INSERT INTO late VALUES (99); END",
    )
    with pytest.raises(LedgerError):
        ca.issue("orders")
    break_ledger(tmp_path / "ca", "DROP TRIGGER late")
    assert ca.certificates(with_ended=True) == ()
    assert accepted(ca, ca.issue("orders").credential) == ""


@pytest.mark.sqlite
def test_a_revocation_that_the_ledger_refuses_is_in_force_and_recorded_later(
    tmp_path: Path, ca: Authority
) -> None:
    issued = ca.issue("orders")
    break_ledger(
        tmp_path / "ca",
        "CREATE TRIGGER no BEFORE INSERT ON lists BEGIN SELECT RAISE(ABORT, 'disk'); END",
    )
    ca.revoke(issued.leaf.serial_number)
    assert ca.certificates()[0].revoked_at is None
    assert accepted(ca, issued.credential) == "REVOKED"
    with pytest.raises(LedgerError):
        ca.issue("payments")
    break_ledger(tmp_path / "ca", "DROP TRIGGER no")
    ca.issue("payments")
    assert ca.certificates()[0].revoked_at is not None
    assert accepted(ca, issued.credential) == "REVOKED"


@pytest.mark.sqlite
def test_a_ledger_that_is_none_or_of_a_newer_handfast_is_refused(
    tmp_path: Path, ca: Authority
) -> None:
    ca.close()
    break_ledger(tmp_path / "ca", "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="newer handfast"):
        Authority.open(tmp_path / "ca")
    for path in (tmp_path / "ca").glob("ledger.db-*"):
        path.unlink()
    (tmp_path / "ca" / "ledger.db").write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerError, match="can't be used"):
        Authority.open(tmp_path / "ca")


def test_the_public_names_are_loaded_when_they_are_asked_for() -> None:
    import pki  # noqa: PLC0415

    assert pki.Authority is Authority
    with pytest.raises(AttributeError):
        _ = pki.nothing_of_that_name  # type: ignore[attr-defined]
    assert isinstance(TrustBundle, type)
    assert SpiffeId is not None
