"""A path that is verified again is never accepted if a full verification refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache

from cryptography import x509
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from pki.errors import VerificationError
from pki.x509 import (
    WORKLOAD,
    ChainVerifier,
    Crl,
    CrlSet,
    NameLimits,
    Purpose,
    RevocationMode,
    TrustBundle,
    VerifiedChain,
)
from pki.x509.profiles import IssuingProfile, RootProfile
from pki.x509.revocation import RevokedEntry
from tests.support import NOW, SHOP, YEAR, Hierarchy, validity

HOUR = timedelta(hours=1)

FIRST, SECOND = Hierarchy(), Hierarchy()
# The first issuing CA again: with the same key, from another root, and once more from its own.
CROSSED = IssuingProfile.build(
    NameLimits(SHOP),
    FIRST.issuing_key.public_key(),
    subject=FIRST.issuing.subject,
    issuer=SECOND.root,
    issuer_key=SECOND.root_key,
    validity=YEAR,
)
RENEWED = IssuingProfile.build(
    NameLimits(SHOP),
    FIRST.issuing_key.public_key(),
    subject=FIRST.issuing.subject,
    issuer=FIRST.root,
    issuer_key=FIRST.root_key,
    validity=validity(-HOUR, 3 * HOUR),
)
# The first root again, with the same key and name: another certificate of the same issuer.
ROOT_AGAIN = RootProfile.build(
    SHOP, FIRST.root_key, subject=FIRST.root.subject, validity=validity(-HOUR, 2 * HOUR)
)
ROOTS = (FIRST.root, SECOND.root, ROOT_AGAIN)
LEAF, LONG = FIRST.leaf(), FIRST.leaf(times=validity(-HOUR, 30 * HOUR))
CHAINS = (
    (LEAF, FIRST.issuing),
    (LEAF, CROSSED),
    (LEAF, RENEWED),
    (LEAF, RENEWED, FIRST.issuing),
    (LEAF, FIRST.issuing, CROSSED),
    (LONG, FIRST.issuing),
    (LONG, RENEWED, CROSSED),
    (SECOND.leaf(), SECOND.issuing),
)
# Another leaf of the first issuing CA: it ends at another time than the first leaf.
LONG_AGAIN = (FIRST.leaf(times=validity(-HOUR, 30 * HOUR)), FIRST.issuing)
MAY_BE_REVOKED = (LEAF, LONG, FIRST.issuing, CROSSED, RENEWED, SECOND.issuing)
ISSUERS = (
    (FIRST.root, FIRST.root_key),
    (FIRST.issuing, FIRST.issuing_key),
    (SECOND.root, SECOND.root_key),
    (SECOND.issuing, SECOND.issuing_key),
)
# Times close to each end, to the second, to find errors of one second.
MOMENTS = [
    NOW + hours * HOUR + timedelta(seconds=s) for hours in (-1, 0, 1, 2, 3) for s in (-1, 0, 1)
]


@cache
def crl_of(issuer: int, *, forged: bool, revoked: tuple[int, ...], begin: int, hours: int) -> Crl:
    certificate, key = ISSUERS[issuer]
    return Crl.build(
        [RevokedEntry(MAY_BE_REVOKED[item].serial_number, NOW) for item in revoked],
        issuer=certificate,
        issuer_key=FIRST.key if forged else key,
        number=1,
        this_update=NOW + begin * HOUR,
        next_update=NOW + (begin + hours) * HOUR,
    )


@st.composite
def crls_of(draw: st.DrawFn) -> CrlSet | None:
    """Draw CRLs, most of them valid, because otherwise few chains would be accepted."""
    seldom = st.integers(0, 24).map(lambda number: number == 7)
    if draw(seldom):
        return None
    return CrlSet.of(
        crl_of(
            issuer,
            forged=draw(seldom),
            revoked=(draw(st.integers(0, len(MAY_BE_REVOKED) - 1)),) if draw(seldom) else (),
            begin=0 if draw(seldom) else -2,
            hours=draw(st.sampled_from([24, 24, 24, 2, 3])),
        )
        for issuer in range(len(ISSUERS))
        if not draw(seldom)
    )


@st.composite
def verifiers(draw: st.DrawFn, mode: RevocationMode) -> ChainVerifier:
    roots = draw(st.sampled_from([ROOTS, ROOTS, ROOTS[:2], ROOTS[1:], ROOTS[:1], ROOTS[2:]]))
    return ChainVerifier(
        TrustBundle.of_roots(roots),
        draw(crls_of()),
        mode=mode,
        grace=draw(st.sampled_from([timedelta(0), HOUR, 2 * HOUR])),
        withheld=draw(st.sampled_from([*[""] * 9, "nobody can tell"])),
    )


def fresh(
    verifier: ChainVerifier, chain: Sequence[x509.Certificate], at: datetime
) -> VerifiedChain | None:
    try:
        return verifier.verify(chain, profile=WORKLOAD, purpose=Purpose.CLIENT, at=at)
    except VerificationError:
        return None


GOOD_CRLS = CrlSet.of(
    crl_of(issuer, forged=False, revoked=(), begin=-2, hours=24) for issuer in range(len(ISSUERS))
)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(list(RevocationMode)), st.sampled_from([ROOTS, ROOTS[:2]]))
def test_what_is_accepted_again_is_accepted_afresh(
    data: st.DataObject, mode: RevocationMode, roots: tuple[x509.Certificate, ...]
) -> None:
    before = ChainVerifier(TrustBundle.of_roots(roots), GOOD_CRLS, mode=mode)
    chain = data.draw(st.sampled_from(CHAINS))
    first = fresh(before, chain, NOW)
    assume(first is not None)
    assert first is not None
    verifier = data.draw(verifiers(mode))
    moments = st.one_of(st.just(NOW), st.sampled_from(MOMENTS))
    # The new verifier has verified other chains before, so it knows their issuers.
    chains = st.sampled_from([chain, *CHAINS, LONG_AGAIN])
    for other in data.draw(st.lists(chains, min_size=1, max_size=3)):
        fresh(verifier, other, data.draw(moments))
    at = data.draw(moments)
    try:
        span = verifier.verify_again(first.proof, at)
    except VerificationError:
        return
    if span is None:
        return
    event("accepted again")
    valid_from, valid_until = span
    # The last second of a CRL is valid; another verification within that second costs little.
    assert valid_from <= at <= valid_until
    one = timedelta(seconds=1)
    # A list that begins in the second in which another one ends leaves that second alone.
    last = max(valid_from, min(valid_until - one, at + 4 * HOUR))
    for moment in {at, max(valid_from, at - 4 * HOUR), last}:
        assert fresh(verifier, chain, moment) is not None, f"accepted again at {moment}"
