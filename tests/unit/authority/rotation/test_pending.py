"""Requests that wait for the roots: when they end, what is asked again, what is left of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.rotation.answers import RootAnswer
from pki.authority.rotation.requests import RootRequest
from pki.daemon.trust_feed import TrustFeed
from pki.errors import InputError, StateError, WrongStepError
from pki.keys import KeyType, private_key_to_pem
from pki.x509.revocation import IssuerId
from tests.rotating import Offline
from tests.stuck_ledger import stuck_ledger


def keys_of(ca: Authority) -> set[str]:
    return {path.name for path in ca.path.glob("issuing-*.key.pem")}


def test_a_new_request_takes_the_place_of_the_one_before_and_of_its_key(offline: Offline) -> None:
    before = keys_of(offline.ca)
    first = offline.prepare_issuer()
    assert offline.ca.events() == ()
    second = offline.prepare_root()
    assert len(keys_of(offline.ca) - before) == 1
    # Whoever waits for an answer to the first is told, and so is the log.
    (event,) = [text for _, kind, text in offline.ca.events() if kind == "request-replaced"]
    assert first.digest[:16] in event
    assert second.digest[:16] in event
    asked = [item for _, item in offline.ca.audit_entries() if item.action.value == "root-request"]
    assert asked[-1].details["replaces"] == first.digest
    with pytest.raises(InputError, match=f"waits for that to {second.digest[:16]}"):
        offline.import_all(offline.sign(first))
    answer = offline.sign(second)
    offline.import_all(answer)
    with pytest.raises(InputError, match="this CA waits for none"):
        offline.import_all(offline.sign(first))


def test_the_step_before_is_named_only_if_the_request_that_waits_is_for_it(
    offline: Offline,
) -> None:
    ca = offline.ca
    offline.prepare_issuer()
    for step in (ca.activate_root, ca.withdraw_root):
        with pytest.raises(WrongStepError, match="none is prepared") as caught:
            step()
        assert caught.value.remedy == "First: handfast ca root prepare"
    offline.prepare_root()
    for step in (ca.activate_root, ca.withdraw_root):
        with pytest.raises(WrongStepError, match="the request for one waits") as caught:
            step()
        assert caught.value.remedy == "First: handfast ca root import ANSWER"


def test_an_answer_that_is_imported_again_changes_nothing(offline: Offline) -> None:
    """Whoever imports over the network may lose what the CA said to it."""
    answer = offline.sign(offline.prepare_root())
    offline.import_all(answer)
    before = offline.ca.issuers(), offline.ca.bundles(), list(offline.ca.audit_entries())
    assert offline.ca.pending_request() is None
    offline.import_all(answer)
    after = offline.ca.issuers(), offline.ca.bundles(), list(offline.ca.audit_entries())
    assert after == before


def test_without_any_request_there_is_no_answer_to_import(offline: Offline) -> None:
    with pytest.raises(WrongStepError, match="no request is pending"):
        offline.import_all(RootAnswer("0" * 64))


def test_the_same_request_within_an_hour_is_that_one(offline: Offline) -> None:
    ca, clock = offline.ca, offline.clock
    first = offline.prepare_issuer()
    before = keys_of(ca)
    assert ca.request_issuer().request == first
    assert keys_of(ca) == before
    other = ca.request_issuer(lifetime=timedelta(days=100)).request
    assert other not in {None, first}
    assert ca.request_issuer(key_type=KeyType.RSA_3072).request not in {None, first, other}
    second = offline.prepare_root()
    assert ca.prepare_root(offline.new).request == second
    crls = ca.renew_root_crls()
    assert ca.renew_root_crls() == crls
    clock.move(hours=1)
    assert ca.renew_root_crls() not in {None, crls}


def test_a_request_that_the_ca_has_outrun_has_ended_and_its_key_is_gone(
    offline: Offline, tmp_path: Path
) -> None:
    ca = offline.ca
    before = keys_of(ca)
    request = offline.prepare_issuer()
    assert ca.pending_request() == request
    # A later one is carried out at once, because the root's key came.
    key = tmp_path / "ca" / "root.key.pem"
    key.write_bytes(private_key_to_pem(offline.old_key))
    key.chmod(0o600)
    new = ca.rotate()
    assert ca.pending_request() is None
    assert ca.rotation_status().pending is None
    assert keys_of(ca) == {*before, f"issuing-{new.key_id}.key.pem"}
    key.unlink()
    with pytest.raises(WrongStepError, match="has changed since the request was made: root"):
        offline.import_all(offline.sign(request))


def test_lists_that_were_signed_anew_meanwhile_are_not_those_of_an_earlier_request(
    offline: Offline, tmp_path: Path
) -> None:
    ca = offline.ca
    request = ca.renew_root_crls()
    assert request is not None
    offline.clock.move(minutes=1)
    key = tmp_path / "ca" / "root.key.pem"
    key.write_bytes(private_key_to_pem(offline.old_key))
    key.chmod(0o600)
    assert ca.renew_root_crls() is None
    with pytest.raises(WrongStepError, match="signed another CRL"):
        offline.import_all(offline.sign(request))


def test_a_root_that_was_activated_meanwhile_is_not_withdrawn_by_an_earlier_request(
    offline: Offline,
) -> None:
    ca = offline.ca
    offline.import_all(offline.sign(offline.prepare_root()))
    request, _ = ca.withdraw_root(ca.issuers()[2].key_id)
    assert request is not None
    answer = offline.sign(request)
    root, _ = ca.activate_root(force=True)
    with pytest.raises(WrongStepError, match="which it withdraws, was activated"):
        offline.import_all(answer, force=True)
    assert ca.issuers()[2] == root
    ca.issue("orders")


def test_an_issuing_ca_that_was_only_requested_can_be_revoked_by_its_number(
    offline: Offline,
) -> None:
    """A root in a safe or a token may have signed it, though nobody here has seen it."""
    ca = offline.ca
    request = offline.prepare_issuer()
    assert request.issuing is not None
    serial = request.issuing.serial
    assert serial is not None
    answer = offline.sign(request)
    assert answer.issuing is not None
    assert answer.issuing.serial_number == serial
    # Another request took its place: the audit log knows the number still.
    offline.prepare_root()
    ca.revoke(f"{serial:x}", reason="key-compromise")
    assert ca.certificates() == ()
    assert [kind for _, kind, _ in ca.events()] == ["request-replaced", "root-list-due"]
    with pytest.raises(InputError, match="the answer is to request"):
        offline.import_all(answer)
    # An emergency does not wait for the root.
    leaked = ca.issuers()[1]
    ca.distrust(leaked.key_id)
    request = ca.renew_root_crls()  # type: ignore[assignment]
    offline.import_all(offline.sign(request))
    assert {serial, leaked.certificate.serial_number} <= {
        number for crl in ca.trust()[1].crls.values() for number in crl.revoked
    }
    assert ca.verify_audit_log().findings == ()


def test_with_the_roots_key_here_its_list_is_signed_at_once(
    offline: Offline, tmp_path: Path
) -> None:
    ca = offline.ca
    request = offline.prepare_issuer()
    assert request.issuing is not None
    key = tmp_path / "ca" / "root.key.pem"
    key.write_bytes(private_key_to_pem(offline.old_key))
    key.chmod(0o600)
    ca.revoke(f"{request.issuing.serial:x}")
    assert any(request.issuing.serial in crl.revoked for crl in ca.trust()[1].crls.values())
    assert ca.events() == ()


@pytest.mark.sqlite
def test_while_the_ledger_is_held_a_requested_issuing_ca_is_revoked_too(offline: Offline) -> None:
    ca = offline.ca
    ca.context.revocation_wait = 0.05
    request = offline.prepare_issuer()
    assert request.issuing is not None
    serial = f"{request.issuing.serial:x}"
    with stuck_ledger(ca.path):
        assert ca.revoke(serial) == ()
        feed = TrustFeed(ca.context, lambda: None, lambda _: None)
        (root, number) = next(iter(feed.state.crl_set().announced))
        assert (root, number) == (
            IssuerId.of_ca(request.issuing.root).key_id,
            request.issuing.serial,
        )
        with pytest.raises(InputError, match="issued no certificate"):
            ca.revoke("abcdef0123456789" * 2)
    for _ in range(2):
        kept = (ca.path / "revocations.pending").read_bytes()
        with Authority.open(ca.path, clock=offline.clock) as again:
            assert again.pending_revocations() == ()
            (event,) = [text for _, kind, text in again.events() if kind == "root-list-due"]
            assert serial in event
            told = [item for _, item in again.audit_entries() if item.serial == serial]
            assert [item.details.get("source") for item in told[1:]] == ["pending"]
        # As after a crash between the commit and the emptying of the file.
        (ca.path / "revocations.pending").write_bytes(kept)
    renewed = ca.renew_root_crls()
    assert renewed is not None
    assert request.issuing.serial in {item.serial for item in renewed.crls[0].unrecorded}


def test_a_recorded_issuing_ca_is_distrusted_and_not_revoked_by_number(offline: Offline) -> None:
    request = offline.prepare_issuer()
    assert request.issuing is not None
    offline.import_all(offline.sign(request))
    with pytest.raises(InputError, match="handfast ca distrust"):
        offline.ca.revoke(f"{request.issuing.serial:x}")
    request = offline.prepare_root()
    assert request.issuing is not None
    with pytest.raises(InputError, match="nobody accepts it"):
        offline.ca.revoke(f"{request.issuing.serial:x}")
    with pytest.raises(InputError, match="issued no certificate"):
        offline.ca.revoke("abcdef0123456789" * 2)


def test_a_request_from_before_the_ca_chose_serial_numbers_is_read_and_signed(
    offline: Offline,
) -> None:
    request = offline.prepare_issuer()
    assert request.issuing is not None
    older = replace(request, issuing=replace(request.issuing, serial=None))
    assert b'"serial"' not in older.encode()
    assert offline.sign(older).issuing is not None
    with pytest.raises(InputError, match="serial number 0"):
        RootRequest.read(replace(older, issuing=replace(request.issuing, serial=0)).encode())


def test_a_refused_request_leaves_no_key(offline: Offline) -> None:
    before = keys_of(offline.ca)
    with pytest.raises(InputError):
        offline.ca.request_issuer(lifetime=timedelta(hours=1))
    assert keys_of(offline.ca) == before


@pytest.mark.parametrize("change", ["distrust", "crl", "bundle"])
def test_an_answer_that_rests_on_what_has_changed_since_is_refused(
    offline: Offline, tmp_path: Path, change: str
) -> None:
    """Else an answer from last week could make a distrusted issuing CA trusted again."""
    ca = offline.ca
    request = offline.ca.renew_root_crls(audit_key=bytes(32)) if change == "bundle" else None
    request = request or offline.prepare_issuer()
    answer = offline.sign(request)
    key = tmp_path / "ca" / "root.key.pem"
    if change == "distrust":
        ca.distrust(ca.issuers()[1].key_id)
    else:
        key.write_bytes(private_key_to_pem(offline.old_key))
        key.chmod(0o600)
        ca.renew_root_crls(audit_key=b"\1" * 32 if change == "bundle" else None)
        key.unlink()
    before = ca.issuers(), ca.bundles()
    with pytest.raises(StateError, match="has changed since"):
        offline.import_all(answer)
    assert (ca.issuers(), ca.bundles()) == before


def test_a_withdrawal_may_be_signed_early_and_is_imported_when_nobody_hangs_on_the_root(
    offline: Offline,
) -> None:
    ca = offline.ca
    orders = ca.issue("orders")
    offline.import_all(offline.sign(offline.prepare_root()))
    ca.activate_root(force=True)
    request, hanging = ca.withdraw_root()
    assert request is not None
    assert [item.certificate.certificate for item in hanging] == [orders.leaf]
    answer = offline.sign(request)
    with pytest.raises(StateError, match="would strand 1"):
        offline.import_all(answer)
    offline.clock.move(hours=1, seconds=1)
    offline.import_all(answer)
    assert ca.trust()[0].all_roots() == (offline.new,)
