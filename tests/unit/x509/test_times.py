"""The time of a verification: an instant, whatever its time zone, up to the latest time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509

from pki.errors import VerificationError
from pki.x509 import (
    WORKLOAD,
    ChainVerifier,
    Crl,
    CrlSet,
    Fault,
    Purpose,
    RevocationMode,
    TrustBundle,
    VerifiedChain,
)
from pki.x509.profiles.builder import Validity, authority_key_identifier, key_usage
from tests.pkimaker import certificate, crl_in_der
from tests.support import (
    GOOD_LEAF,
    NOW,
    SHOP,
    YEAR,
    Extension,
    Hierarchy,
    name,
    validity,
)

H = Hierarchy()
LEAF = H.leaf()
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
# RFC 5280 section 4.1.2.5: a certificate without a well-defined end.
NO_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def verify(
    *chain: x509.Certificate,
    at: datetime = NOW,
    crls: CrlSet | None = None,
    mode: RevocationMode = RevocationMode.REQUIRED,
    grace: timedelta = timedelta(0),
    bundle: TrustBundle | None = None,
) -> VerifiedChain:
    verifier = ChainVerifier(bundle or H.bundle, crls or H.crls(), mode=mode, grace=grace)
    return verifier.verify(chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=at)


def fault(*chain: x509.Certificate, **how: object) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(*chain, **how)  # type: ignore[arg-type]
    return caught.value.fault


@pytest.mark.parametrize("offset", [-12, -1, 0, 1, 9, 14])
def test_one_instant_has_one_answer_in_every_zone(offset: int) -> None:
    zone = timezone(timedelta(hours=offset))
    good = verify(LEAF, H.issuing, at=NOW.astimezone(zone))
    assert good == verify(LEAF, H.issuing, at=NOW)
    late = (LEAF.not_valid_after_utc + SECOND).astimezone(zone)
    assert fault(LEAF, H.issuing, at=late) == Fault.EXPIRED
    early = (LEAF.not_valid_before_utc - SECOND).astimezone(zone)
    assert fault(LEAF, H.issuing, at=early, mode=RevocationMode.WHEN_PRESENT) == (
        Fault.NOT_YET_VALID
    )


def test_a_time_without_a_zone_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="time zone"):
        verify(LEAF, H.issuing, at=NOW.replace(tzinfo=None))


def test_an_answer_holds_until_just_after_the_last_second_and_no_longer() -> None:
    good = verify(LEAF, H.issuing)
    assert good.leaf is good.path[0]
    assert good.valid_until == LEAF.not_valid_after_utc + SECOND
    assert verify(LEAF, H.issuing, at=good.valid_until - SECOND / 2)
    assert fault(LEAF, H.issuing, at=good.valid_until) == Fault.EXPIRED
    # Both lists begin with the leaf here.
    assert good.valid_from == LEAF.not_valid_before_utc


def test_an_answer_ends_with_the_first_of_its_lists() -> None:
    crls = H.crls(until=timedelta(minutes=10))
    assert verify(LEAF, H.issuing, crls=crls).valid_until == NOW + timedelta(minutes=10)
    longer = verify(LEAF, H.issuing, crls=crls, grace=timedelta(minutes=5))
    assert longer.valid_until == NOW + timedelta(minutes=15)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (datetime(2049, 12, 31, 23, 0, tzinfo=UTC), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (datetime(2049, 12, 31, 23, 0, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)),
        (datetime(2050, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, 1, tzinfo=UTC)),
    ],
)
def test_chains_and_lists_around_2050_count_for_just_their_time(
    begin: datetime, end: datetime
) -> None:
    # UTCTime ends with 2049 (RFC 5280 section 4.1.2.5), where its two digits start again.
    h = Hierarchy(times=Validity(begin - HOUR, end + HOUR))
    leaf = h.leaf(times=Validity(begin, end))
    crls = CrlSet.of(
        Crl.build(
            [],
            issuer=issuer,
            issuer_key=key,
            number=1,
            this_update=begin - HOUR,
            next_update=end + HOUR,
        )
        for issuer, key in ((h.root, h.root_key), (h.issuing, h.issuing_key))
    )
    for at in (begin, end):
        assert verify(leaf, h.issuing, at=at, crls=crls, bundle=h.bundle)
    late, early = end + SECOND, begin - SECOND
    assert fault(leaf, h.issuing, at=late, crls=crls, bundle=h.bundle) == Fault.EXPIRED
    assert fault(leaf, h.issuing, at=early, crls=crls, bundle=h.bundle) == Fault.NOT_YET_VALID


def test_certificates_and_lists_without_an_end_have_none() -> None:
    """Other CAs issue such certificates; adding a second or a grace to the time must not fail."""

    def made(subject: str, key: object, issuer: object, *extensions: Extension) -> object:
        return certificate(
            name(subject),
            key,  # type: ignore[arg-type]
            issuer=issuer.subject if isinstance(issuer, x509.Certificate) else name(subject),
            issuer_key=H.root_key,
            begin=YEAR.not_before,
            end=NO_END,
            extensions=extensions,
        )

    root_id = x509.SubjectKeyIdentifier.from_public_key(H.root_key.public_key())
    ca = (x509.BasicConstraints(ca=True, path_length=None), True), (key_usage(ca=True), True)
    root = made("root", H.root_key, None, *ca, (root_id, False))
    assert isinstance(root, x509.Certificate)
    by_root = (authority_key_identifier(root), False)
    leaf = made("orders", H.key, root, *GOOD_LEAF, by_root)
    assert isinstance(leaf, x509.Certificate)
    crl = crl_in_der(root, H.root_key, [(x509.CRLNumber(1), False), by_root], begin=NOW, end=NO_END)
    good = verify(
        leaf,
        crls=CrlSet.of([Crl.of(crl)]),
        grace=HOUR,
        bundle=TrustBundle.of_roots([root], default=SHOP),
    )
    assert (
        good.valid_until == NO_END.replace(microsecond=999999) or good.valid_until > NO_END - HOUR
    )


def test_a_negative_grace_is_none() -> None:
    assert verify(LEAF, H.issuing, grace=-HOUR)
    ended = H.crls(until=-timedelta(minutes=1))
    assert fault(LEAF, H.issuing, crls=ended, grace=-HOUR) == Fault.REVOCATION_UNKNOWN


@pytest.mark.parametrize(
    ("life", "good"),
    [
        (24 * HOUR, True),
        (24 * HOUR + timedelta(minutes=1), True),
        (25 * HOUR, True),
        (25 * HOUR + SECOND, False),
        (30 * 24 * HOUR, False),
    ],
)
def test_short_lived_leaves_need_no_list_even_if_their_begin_was_set_back(
    life: timedelta, good: bool
) -> None:
    leaf = H.leaf(times=validity(-HOUR, life - HOUR))
    none = CrlSet.none()
    if good:
        assert verify(leaf, H.issuing, crls=none, mode=RevocationMode.SHORT_LIVED)
    else:
        unknown = fault(leaf, H.issuing, crls=none, mode=RevocationMode.SHORT_LIVED)
        assert unknown == Fault.REVOCATION_UNKNOWN
