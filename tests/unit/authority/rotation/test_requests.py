"""A request that is not whole or breaks a rule is signed by no root."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from pki.authority.rotation.answers import RootAnswer
from pki.authority.rotation.requests import RootRequest, issuing_csr
from pki.authority.rotation.root import (
    RootKeys,
    check_request,
    describe_request,
    sign_request,
)
from pki.errors import InputError, StateError
from pki.keys import generate_key
from pki.x509.profiles.builder import Validity
from tests.rotating import Offline
from tests.support import NOW


def _document(request: RootRequest, **members: object) -> bytes:
    document = {**json.loads(request.encode()), **members}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def test_a_request_in_any_other_form_is_refused(offline: Offline) -> None:
    request = offline.prepare_root()
    whole = json.loads(request.encode())
    issuing, (crls,) = whole["issuing"], whole["crls"]
    for data in (
        b"",
        b"{}",
        request.encode() + b"\n\n",
        b" " + request.encode(),
        _document(request, type="handfast root request v2"),
        _document(request, purpose="anything"),
        _document(request, trust_domain="bank.internal"),
        _document(request, trust_domain="SHOP.internal"),
        _document(request, made_at=1 << 52),
        _document(request, more=1),
        _document(request, issuing={**issuing, "csr": "AAAA"}),
        _document(request, issuing={**issuing, "dns": ["*.evil.test"]}),
        _document(request, issuing={**issuing, "ip": ["10.0.0.1/8"]}),
        _document(request, issuing={**issuing, "ip": ["everything"]}),
        _document(request, issuing={**issuing, "not_after": issuing["not_before"] - 1}),
        _document(request, crls=[{**crls, "base": "-1"}]),
        _document(request, crls=[{**crls, "base": "f" * 41}]),
        _document(request, crls=[{**crls, "trusted": [issuing["csr"]]}]),
        _document(
            request,
            crls=[{**crls, "unrecorded": [{"serial": "1", "revoked_at": 1, "reason": "because"}]}],
        ),
    ):
        with pytest.raises(InputError):
            RootRequest.read(data)


def test_a_request_that_breaks_a_rule_is_not_signed(offline: Offline) -> None:
    request = offline.prepare_root()
    assert request.issuing is not None
    assert request.bundle is not None
    assert request.previous is not None
    keys = RootKeys.of(offline.old_key, offline.new_key)
    validity = request.issuing.validity
    root_csr = replace(request.issuing, csr=issuing_csr(offline.old_key, x509.Name([])))
    after = request.bundle.next(request.bundle.roots, created=NOW)
    issuing = offline.ca.issuers()[1].certificate
    for forged in (
        replace(request, issuing=root_csr),
        replace(
            request,
            issuing=replace(
                request.issuing,
                validity=Validity(validity.not_before, NOW + timedelta(days=4000)),
            ),
        ),
        replace(
            request,
            issuing=replace(
                request.issuing,
                validity=Validity(NOW - timedelta(days=1), validity.not_after),
            ),
        ),
        replace(request, previous=None),
        replace(request, bundle=None),
        replace(request, bundle=after),
        replace(request, crls=(replace(request.crls[0], trusted=(issuing,)),)),
    ):
        with pytest.raises(InputError):
            check_request(forged)
        with pytest.raises(InputError):
            sign_request(forged, keys, now=NOW)


def test_a_csr_that_its_key_has_not_signed_is_no_proof_of_possession(offline: Offline) -> None:
    request = offline.prepare_root()
    assert request.issuing is not None
    csr = bytearray(request.issuing.csr)
    csr[-1] ^= 1
    with pytest.raises(InputError):
        RootRequest.read(
            replace(request, issuing=replace(request.issuing, csr=bytes(csr))).encode()
        )


def test_a_root_signs_neither_without_a_key_for_it_nor_outside_its_validity(
    offline: Offline,
) -> None:
    request = offline.prepare_root()
    with pytest.raises(StateError, match="none of the keys"):
        sign_request(request, RootKeys.of(generate_key()), now=NOW)
    for years in (-1, 11):
        with pytest.raises(StateError, match="the clock says"):
            sign_request(
                request, RootKeys.of(offline.old_key), now=NOW + timedelta(days=365 * years)
            )


def test_the_person_beside_the_roots_sees_everything_that_is_signed(offline: Offline) -> None:
    request = offline.prepare_root()
    text = "\n".join(describe_request(request))
    assert request.issuing is not None
    for part in (
        request.digest[:16],
        "shop.internal",
        "prepare-root",
        "trust bundle 2",
        "ADDS root",
        "keeps root",
        request.issuing.key_id(),
        f"CRL {request.crls[-1].base} of root",
    ):
        assert part in text
    offline.import_all(offline.sign(request))
    offline.ca.activate_root()
    withdrawal, _ = offline.ca.withdraw_root()
    assert withdrawal is not None
    assert "REMOVES root" in "\n".join(describe_request(withdrawal))


@given(st.binary(max_size=300) | st.from_regex(rb'\{"crls":.{0,60}\}', fullmatch=True))
def test_any_bytes_are_a_request_an_answer_or_a_typed_refusal(data: bytes) -> None:
    for read in (RootRequest.read, RootAnswer.read):
        with pytest.raises(InputError):
            read(data)
