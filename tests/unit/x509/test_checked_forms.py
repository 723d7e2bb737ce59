"""A certificate is not checked again if it is one that was, but for number, validity and key."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from pki.identity import SpiffeId, derive_names
from pki.keys import PrivateKey, generate_key, public_key_to_der
from pki.x509 import WORKLOAD, LeafProfile
from pki.x509.profiles import LeafNames
from pki.x509.profiles.builder import Validity
from pki.x509.profiles.checked_forms import CheckedForm, Fields
from tests.support import NOW, SHOP, Hierarchy

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def hierarchy() -> Hierarchy:
    return Hierarchy()


def build(
    hierarchy: Hierarchy,
    key: PrivateKey,
    *,
    path: str = "forms",
    begin: datetime = NOW,
    serial: int = 1 << 152,
) -> x509.Certificate:
    spiffe_id = SpiffeId.of_path(SHOP, path)
    derived = derive_names(spiffe_id)
    assert derived.dns is not None
    return WORKLOAD.build(
        LeafNames(derived.subject, spiffe_id, (derived.dns,)),
        key.public_key(),
        issuer=hierarchy.issuing,
        issuer_key=hierarchy.issuing_key,
        validity=Validity(begin, begin + HOUR),
        serial=serial,
    )


def fields_of(certificate: x509.Certificate) -> Fields:
    key = certificate.public_key()
    return Fields(
        certificate.serial_number,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        public_key_to_der(key),  # type: ignore[arg-type]
        x509.SubjectKeyIdentifier.from_public_key(key).digest,
    )


def form_of(certificate: x509.Certificate) -> CheckedForm:
    form = CheckedForm.of(certificate, fields_of(certificate))
    assert form is not None
    return form


def test_another_number_validity_and_key_fit_the_form(hierarchy: Hierarchy) -> None:
    first = build(hierarchy, generate_key())
    second = build(hierarchy, generate_key(), begin=NOW + HOUR, serial=(1 << 152) + 77)
    assert form_of(first).fits(second, fields_of(second))


@pytest.mark.parametrize("field", ["serial", "not_before", "not_after", "public_key"])
def test_a_field_that_is_not_in_the_certificate_does_not_fit(
    hierarchy: Hierarchy, field: str
) -> None:
    first, second = build(hierarchy, generate_key()), build(hierarchy, generate_key())
    right, other = fields_of(second), fields_of(first)
    wrong = {
        "serial": replace(right, serial=right.serial + 1),
        "not_before": replace(right, not_before=right.not_before - HOUR),
        "not_after": replace(right, not_after=right.not_after + HOUR),
        "public_key": replace(right, public_key=other.public_key),
    }
    assert form_of(first).fits(second, right)
    assert not form_of(first).fits(second, wrong[field])


def test_another_name_or_issuer_does_not_fit(hierarchy: Hierarchy) -> None:
    form = form_of(build(hierarchy, generate_key()))
    renamed = build(hierarchy, generate_key(), path="formz")
    elsewhere = build(Hierarchy(), generate_key())
    assert not form.fits(renamed, fields_of(renamed))
    assert not form.fits(elsewhere, fields_of(elsewhere))


@pytest.mark.parametrize("serial", [0, -1, 1 << 159])
def test_a_serial_number_that_no_certificate_may_have_has_no_form(
    hierarchy: Hierarchy, serial: int
) -> None:
    certificate = build(hierarchy, generate_key())
    wrong = replace(fields_of(certificate), serial=serial)
    assert CheckedForm.of(certificate, wrong) is None
    assert not form_of(certificate).fits(certificate, wrong)


@pytest.mark.parametrize("year", [1949, 2050])
def test_a_time_that_is_written_in_another_way_has_no_form(hierarchy: Hierarchy, year: int) -> None:
    certificate = build(hierarchy, generate_key())
    wrong = replace(fields_of(certificate), not_after=datetime(year, 1, 1, tzinfo=UTC))
    assert CheckedForm.of(certificate, wrong) is None


def test_a_leaf_with_new_names_is_checked_and_the_next_one_is_compared(
    hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[x509.Certificate] = []
    check = LeafProfile.check

    def counting(self: LeafProfile, certificate: x509.Certificate) -> object:
        checked.append(certificate)
        return check(self, certificate)

    monkeypatch.setattr(LeafProfile, "check", counting)
    leaves = [build(hierarchy, generate_key(), path="counted") for _ in range(3)]
    assert checked == leaves[:1]
    other_issuer = build(Hierarchy(), generate_key(), path="counted")
    assert checked == [leaves[0], other_issuer]
    after_2050 = build(
        hierarchy, generate_key(), path="counted", begin=datetime(2050, 6, 1, tzinfo=UTC)
    )
    assert checked[-1] == after_2050
