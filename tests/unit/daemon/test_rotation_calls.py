"""The steps of a rotation as messages: what comes in is bounded and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.duration_pb2 import Duration

from pki._proto.handfast.ca.v1 import rotation_pb2 as messages
from pki.authority import Authority
from pki.authority.rotation.requests import RootRequest
from pki.authority.rotation.root import RootKeys, sign_request
from pki.daemon.calls import rotation as calls
from pki.errors import InputError, NotFoundError, WrongStepError
from pki.keys import KeyType, is_of_type
from pki.x509.readers import to_pem
from tests.rotating import Offline, offline_ca


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Offline]:
    with offline_ca(tmp_path) as made:
        yield made


def answer_to(offline: Offline, request: bytes) -> messages.ImportAnswersRequest:
    keys = RootKeys.of(offline.old_key, offline.new_key)
    signed = sign_request(RootRequest.read(request), keys, now=offline.clock.at)
    return messages.ImportAnswersRequest(answers=[signed.encode()])


def preparing(offline: Offline) -> messages.PrepareRootRequest:
    return messages.PrepareRootRequest(root=offline.new.public_bytes(Encoding.DER))


def test_each_step_of_a_root_is_told(offline: Offline) -> None:
    ca = offline.ca
    held = ca.issue("orders").leaf
    prepared = calls.prepare_root(ca, preparing(offline))
    assert prepared.WhichOneof("result") == "request"
    assert (prepared.bundle_number, calls.get_request(ca).request) == (1, prepared.request)
    pending = calls.get_status(ca).pending
    request = RootRequest.read(prepared.request)
    assert request.issuing is not None
    assert (pending.purpose, pending.digest) == ("prepare-root", request.digest)
    assert pending.serial == f"{request.issuing.serial:x}"
    assert pending.issuing_ca == request.issuing.key_id()
    imported = calls.import_answers(ca, answer_to(offline, prepared.request))
    assert (imported.purpose, imported.bundle_number, list(imported.stranded)) == (
        "prepare-root",
        2,
        [],
    )
    status = calls.get_status(ca)
    assert not status.HasField("pending")
    assert [(step.name, step.state, step.hindered) for step in status.steps] == [
        ("prepare", "done", 0),
        ("distribute", "open", 1),
        ("activate", "waiting", 1),
        ("withdraw", "waiting", 0),
    ]
    (holder,) = status.holders
    assert (holder.serial, holder.bundle_number) == (f"{held.serial_number:x}", 1)
    assert list(holder.hinders) == ["distribute", "activate"]
    assert not holder.HasField("reported_at")
    activated = calls.activate_root(ca, messages.ActivateRootRequest(force=True))
    assert list(activated.stranded) == [
        f"spiffe://shop.internal/orders (certificate {held.serial_number:x})"
    ]
    assert activated.withdraw_free_at.ToDatetime() == held.not_valid_after_utc.replace(tzinfo=None)
    withdrawn = calls.withdraw_root(ca, messages.WithdrawRootRequest())
    assert (withdrawn.number_of_holders, withdrawn.bundle_number) == (1, 2)
    assert withdrawn.free_at == activated.withdraw_free_at
    with pytest.raises(WrongStepError, match="would strand 1"):
        calls.import_answers(ca, answer_to(offline, withdrawn.request))
    offline.clock.move(hours=1, seconds=1)
    assert calls.import_answers(ca, answer_to(offline, withdrawn.request)).bundle_number == 3
    again = calls.withdraw_root(ca, messages.WithdrawRootRequest(key_id=ca.issuers()[0].key_id))
    assert (again.request, again.number_of_holders, again.bundle_number) == (b"", 0, 3)


def test_holders_come_in_pages(offline: Offline) -> None:
    ca = offline.ca
    assert calls.get_status(ca, most=5).next_page_token == ""
    for number in range(5):
        ca.issue(f"w{number}")
    seen: list[str] = []
    after = 0
    for length in (2, 2, 1):
        page = calls.get_status(ca, after=after, most=2)
        assert len(page.holders) == length
        seen += [item.spiffe_id for item in page.holders]
        after = int(page.next_page_token or 0)
    assert not after
    assert seen == [f"spiffe://shop.internal/w{number}" for number in range(5)]
    none = calls.get_status(ca, most=0)
    assert (len(none.holders), none.next_page_token) == (0, "")
    assert len(calls.get_status(ca).holders) == 5


@pytest.mark.parametrize("kind", [KeyType.ECDSA_P384, KeyType.RSA_3072, KeyType.ED25519])
def test_the_kind_of_key_and_the_lifetime_are_as_asked(offline: Offline, kind: KeyType) -> None:
    asked = messages.PrepareIssuerRequest(
        key_type=kind.value, lifetime=Duration(seconds=100 * 86400)
    )
    request = RootRequest.read(calls.prepare_issuer(offline.ca, asked).request)
    assert request.issuing is not None
    assert is_of_type(request.issuing.public_key(), kind)
    assert request.issuing.validity.not_after == request.made_at + timedelta(days=100)


@pytest.mark.parametrize(
    ("kind", "lifetime", "why"),
    [
        ("dsa", Duration(), "no kind of key"),
        ("ECDSA-P256", Duration(), "no kind of key"),
        ("\u202e", Duration(), "no kind of key"),
        ("", Duration(seconds=-1), "whole number of seconds"),
        ("", Duration(seconds=1_000_000, nanos=1), "whole number of seconds"),
        ("", Duration(seconds=2**62), "whole number of seconds"),
        ("", Duration(seconds=3600), "too short"),
        ("", Duration(seconds=20 * 366 * 86400), "longer than what is left of the root"),
    ],
)
def test_an_issuing_ca_that_nobody_can_have_is_refused(
    offline: Offline, kind: str, lifetime: Duration, why: str
) -> None:
    asks: list[Callable[[], object]] = [
        lambda: calls.prepare_issuer(
            offline.ca, messages.PrepareIssuerRequest(key_type=kind, lifetime=lifetime)
        ),
        lambda: calls.prepare_root(
            offline.ca,
            messages.PrepareRootRequest(
                root=offline.new.public_bytes(Encoding.DER),
                key_type=kind,
                issuing_lifetime=lifetime,
            ),
        ),
    ]
    for ask in asks:
        with pytest.raises(InputError, match=why):
            ask()
    assert offline.ca.pending_request() is None


def test_a_root_that_is_none_is_refused(offline: Offline) -> None:
    good = offline.new.public_bytes(Encoding.DER)
    leaf = offline.ca.issue("orders").leaf.public_bytes(Encoding.DER)
    own = offline.ca.issuers()[0].certificate.public_bytes(Encoding.DER)
    issuing = offline.ca.issuers()[1].certificate.public_bytes(Encoding.DER)
    pem = to_pem([offline.new])
    for root in (
        b"",
        b"x",
        good[:-1],
        good + b"\0",
        good + good,
        pem,
        leaf,
        issuing,
        own,
        bytes(2**22),
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the kinds are compared below
            calls.prepare_root(offline.ca, messages.PrepareRootRequest(root=root))
        assert type(caught.value).__name__ in {
            "InputError",
            "CertificateError",
            "NotPermittedError",
        }, root[:20]
    assert offline.ca.pending_request() is None


def test_without_a_request_there_is_none_to_export(offline: Offline) -> None:
    with pytest.raises(NotFoundError, match="no request waits"):
        calls.get_request(offline.ca)


def test_a_key_id_that_is_too_long_is_refused_before_anything_looks_for_it(
    offline: Offline,
) -> None:
    long = "a" * 65
    asks: list[Callable[[], object]] = [
        lambda: calls.distrust(offline.ca, messages.DistrustRequest(key_id=long)),
        lambda: calls.activate_issuer(offline.ca, messages.ActivateIssuerRequest(key_id=long)),
        lambda: calls.activate_root(offline.ca, messages.ActivateRootRequest(key_id=long)),
        lambda: calls.withdraw_root(offline.ca, messages.WithdrawRootRequest(key_id=long)),
    ]
    for ask in asks:
        with pytest.raises(InputError, match="16 hexadecimal digits"):
            ask()


def test_an_empty_key_id_distrusts_nothing(offline: Offline) -> None:
    with pytest.raises(InputError, match="names no issuing CAs"):
        calls.distrust(offline.ca, messages.DistrustRequest())


def test_a_step_for_another_one_than_is_prepared_is_refused(offline: Offline) -> None:
    ca: Authority = offline.ca
    offline.import_all(offline.sign(offline.prepare_issuer()))
    other = "0" * 16
    with pytest.raises(WrongStepError, match="is not prepared"):
        calls.activate_issuer(ca, messages.ActivateIssuerRequest(key_id=other))
    offline.import_all(offline.sign(offline.prepare_root()))
    with pytest.raises(WrongStepError, match="is not prepared"):
        calls.activate_root(ca, messages.ActivateRootRequest(key_id=other, force=True))
    first = calls.distrust(ca, messages.DistrustRequest(key_id=ca.issuers()[1].key_id))
    assert (first.issuing_ca.status, first.activated) == ("distrusted", ca.issuers()[2].key_id)
    assert not first.needs_rotation
    last = calls.distrust(ca, messages.DistrustRequest(key_id=ca.issuers()[2].key_id))
    assert (last.activated, last.needs_rotation) == ("", True)
