"""What a root signs elsewhere is recorded only if it is exactly what was requested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from pki.authority.crls import build_root_crls
from pki.authority.ledger import IssuerStatus
from pki.authority.rotation.answers import RootAnswer
from pki.authority.rotation.requests import Purpose, RootRequest
from pki.authority.rotation.root import (
    RootKeys,
    describe_request,
    missing_keys,
    with_issuing,
)
from pki.errors import InputError, PkiError, StateError
from pki.identity import DnsName
from pki.keys import generate_key
from pki.x509 import NameLimits
from pki.x509.bundle_chain import follow, sign_bundle
from pki.x509.profiles import IssuingProfile
from pki.x509.profiles.builder import Validity
from tests.rotating import Offline
from tests.support import NOW, SHOP

# The whole way


def test_a_root_is_replaced_without_any_roots_key_on_the_cas_machine(offline: Offline) -> None:
    ca, clock = offline.ca, offline.clock
    (first,) = ca.bundles()
    before = ca.trust()[0]
    request = offline.prepare_root()
    assert request.purpose is Purpose.PREPARE_ROOT
    # Nothing is in force before the answer.
    assert (ca.trust()[0], len(ca.bundles()), len(ca.issuers())) == (before, 1, 2)
    offline.import_all(offline.sign(request))
    assert len(ca.trust()[0].all_roots()) == 2
    ca.activate_root()
    root = ca.issuers()[2]
    assert (root.certificate, root.status) == (offline.new, IssuerStatus.ACTIVE)
    ca.issue("orders")
    # The new issuing CA can be distrusted at once, though no root's key was ever here.
    request, _ = ca.withdraw_root()  # type: ignore[assignment]
    offline.import_all(offline.sign(request, offline.new_key))
    assert follow(first, ca.bundles(since=1), now=clock.at).content.roots == (offline.new,)
    ca.distrust(ca.issuers()[3].key_id)
    request = offline.prepare_issuer()
    offline.import_all(offline.sign(request, offline.new_key))
    ca.activate_issuer()
    ca.issue("orders")


def test_an_issuing_ca_of_a_request_is_distrusted_without_a_key_in_every_combination(
    offline: Offline,
) -> None:
    ca = offline.ca
    offline.import_all(offline.sign(offline.prepare_issuer()))
    first, second = (item.key_id for item in ca.issuers()[1:])
    leaked = ca.issue("orders")
    ca.distrust(first)
    # The prepared one took its place at once.
    issued = ca.issue("orders")
    assert issued.chain[1] == ca.issuers()[2].certificate
    with pytest.raises(PkiError, match="distrusted"):
        ca.renew(leaked.leaf)
    ca.distrust(second)
    revoked = {serial for crl in ca.trust()[1].crls.values() for serial in crl.revoked}
    assert {item.certificate.serial_number for item in ca.issuers()[1:]} <= revoked


def test_each_root_may_sign_on_a_machine_of_its_own(offline: Offline) -> None:
    request = offline.prepare_root()
    old, new = offline.sign(request, offline.old_key), offline.sign(request, offline.new_key)
    assert missing_keys(request, RootKeys.of(offline.old_key)) == (offline.new,)
    assert missing_keys(request, RootKeys.of(offline.old_key, offline.new_key)) == ()
    for part in (old, new):
        with pytest.raises(PkiError) as caught:
            offline.import_all(part)
        assert isinstance(caught.value, StateError | InputError)
        assert len(offline.ca.issuers()) == 2
    offline.import_all(new, old)
    assert len(offline.ca.trust()[0].all_roots()) == 2


def test_the_roots_crls_are_signed_anew_by_request(offline: Offline) -> None:
    request = offline.ca.renew_root_crls()
    assert request is not None
    (order,) = request.crls
    offline.import_all(offline.sign(request))
    numbers = [crl.number for crl in offline.ca.trust()[1].crls.values()]
    assert order.base in numbers
    offline.ca.distrust(offline.ca.issuers()[1].key_id)


def test_a_new_key_of_the_audit_log_is_a_new_bundle(offline: Offline) -> None:
    request = offline.ca.renew_root_crls(audit_key=bytes(range(32)))
    assert request is not None
    assert any("audit log" in line for line in describe_request(request))
    offline.import_all(offline.sign(request))
    assert offline.ca.bundles()[-1].content.audit_key == bytes(range(32))


def test_a_ca_that_was_made_before_there_were_bundles_gets_its_first_with_the_next_request(
    offline: Offline, tmp_path: Path
) -> None:
    with offline.ca._context.ledger.transaction() as transaction:
        transaction.connection.exec_driver_sql("DELETE FROM bundles")
    assert offline.ca.bundles() == ()
    request = offline.prepare_issuer()
    offline.import_all(offline.sign(request))
    (first,) = offline.ca.bundles()
    assert first.content.roots == offline.ca.trust()[0].all_roots()


# Answers that were tampered with


def _forged(
    offline: Offline, request: RootRequest, answer: RootAnswer, **how: object
) -> RootAnswer:
    """Return an answer that is whole, with another issuing CA and the CRLs that fit it."""
    assert request.issuing is not None
    made: dict[str, object] = {
        "subject": request.issuing.subject(),
        "issuer": request.issuing.root,
        "issuer_key": offline.old_key,
        "validity": request.issuing.validity,
        "serial": request.issuing.serial,
        **how,
    }
    limits = made.pop("limits", request.issuing.limits)
    key = made.pop("key", request.issuing.public_key())
    issuing = IssuingProfile.build(limits, key, **made)  # type: ignore[arg-type]
    crls = build_root_crls(with_issuing(request.crls[0], request.issuing, issuing), offline.old_key)
    return replace(answer, issuing=issuing, crls=(replace(answer.crls[0], crls=crls),))


TAMPERED: dict[str, Callable[[Offline, RootRequest, RootAnswer], RootAnswer]] = {
    "wider limits": lambda offline, request, answer: _forged(
        offline, request, answer, limits=NameLimits(SHOP, (DnsName("evil.test"),))
    ),
    "another key": lambda offline, request, answer: _forged(
        offline, request, answer, key=generate_key().public_key()
    ),
    "a longer life": lambda offline, request, answer: _forged(
        offline, request, answer, validity=Validity(NOW, NOW + timedelta(days=3000))
    ),
    "another name": lambda offline, request, answer: _forged(
        offline, request, answer, subject=x509.Name.from_rfc4514_string("CN=handfast issuing CA 00")
    ),
    "another serial number": lambda offline, request, answer: _forged(
        offline, request, answer, serial=4711
    ),
    "a stranger's signature": lambda offline, request, answer: _forged(
        offline, request, answer, issuer_key=generate_key()
    ),
    "no issuing CA": lambda _offline, _request, answer: replace(answer, issuing=None),
    "no CRLs": lambda _offline, _request, answer: replace(answer, crls=()),
    "one CRL less": lambda _offline, _request, answer: replace(
        answer, crls=(replace(answer.crls[0], crls=answer.crls[0].crls[:-1]),)
    ),
    "CRLs in another order": lambda _offline, _request, answer: replace(
        answer, crls=(replace(answer.crls[0], crls=answer.crls[0].crls[::-1]),)
    ),
    "CRLs of a stranger": lambda _offline, request, answer: replace(
        answer,
        crls=(
            replace(
                answer.crls[0],
                crls=build_root_crls(
                    with_issuing(request.crls[0], request.issuing, answer.issuing), generate_key()
                ),
            ),
        ),
    ),
    "CRLs with higher numbers": lambda offline, request, answer: replace(
        answer,
        crls=(
            replace(
                answer.crls[0],
                crls=build_root_crls(
                    replace(
                        with_issuing(request.crls[0], request.issuing, answer.issuing), base=1 << 40
                    ),
                    offline.old_key,
                ),
            ),
        ),
    ),
    "CRLs that begin later": lambda offline, request, answer: replace(
        answer,
        crls=(
            replace(
                answer.crls[0],
                crls=build_root_crls(
                    replace(
                        with_issuing(request.crls[0], request.issuing, answer.issuing),
                        this_update=NOW + timedelta(days=1),
                    ),
                    offline.old_key,
                ),
            ),
        ),
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_an_answer_with_anything_but_what_was_requested_is_refused(
    offline: Offline, how: str
) -> None:
    request = offline.prepare_issuer()
    answer = offline.sign(request)
    before = offline.ca.issuers(), offline.ca.trust()[1]
    with pytest.raises((InputError, StateError)):
        offline.import_all(TAMPERED[how](offline, request, answer))
    assert offline.ca.issuers() == before[0]
    offline.import_all(answer)


def test_an_answer_with_another_bundle_or_without_its_signatures_is_refused(
    offline: Offline,
) -> None:
    request = offline.prepare_root()
    answer = offline.sign(request)
    assert request.bundle is not None
    assert request.previous is not None
    other = request.previous.next([*request.previous.roots], created=NOW + timedelta(days=1))
    keys = (offline.old_key, offline.new_key)
    for bundle in (
        None,
        sign_bundle(other, keys),
        sign_bundle(request.bundle, [offline.old_key]),
        sign_bundle(request.bundle, [offline.new_key]),
        sign_bundle(request.bundle, [generate_key()]),
    ):
        with pytest.raises((InputError, StateError)):
            offline.import_all(replace(answer, bundle=bundle))
        assert len(offline.ca.bundles()) == 1
    offline.import_all(answer)
