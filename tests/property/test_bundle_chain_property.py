"""What holds for every chain of signed trust bundles, and for any bytes in their place."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import cache

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from pki.keys import PrivateKey, generate_key
from pki.x509.bundle_chain import (
    BundleContent,
    BundleRefusedError,
    SignedBundle,
    follow,
    sign_bundle,
)
from pki.x509.profiles import RootProfile
from pki.x509.profiles.builder import Validity
from tests.support import NOW, SHOP, name

ROOTS = 4
# How many days from now each root ends.
ENDS = (1000, 300, -1, 2000)
numbers = st.sets(st.integers(0, ROOTS - 1))


@cache
def root(number: int) -> tuple[x509.Certificate, PrivateKey]:
    key = generate_key()
    times = Validity(NOW - timedelta(days=10), NOW + timedelta(days=ENDS[number]))
    return RootProfile.build(SHOP, key, subject=name(f"root {number}"), validity=times), key


def is_valid(number: int) -> bool:
    return ENDS[number] >= 0


@given(begun=numbers.filter(bool), steps=st.lists(st.tuples(numbers.filter(bool), numbers)))
def test_a_chain_is_followed_exactly_as_far_as_the_rules_say(
    begun: set[int], steps: list[tuple[set[int], set[int]]]
) -> None:
    """The rules once more, in sets of numbers instead of certificates and signatures."""
    content = BundleContent.first(SHOP, [root(item)[0] for item in begun], created=NOW)
    chain = [sign_bundle(content, [root(item)[1] for item in begun])]
    roots, accepted, good = begun, 1, True
    for number, (new, signers) in enumerate(steps, start=2):
        content = content.next([root(item)[0] for item in new], created=NOW)
        chain.append(sign_bundle(content, [root(item)[1] for item in signers]))
        good = (
            good
            and any(is_valid(item) for item in roots & signers)
            and new - roots <= signers
            and any(is_valid(item) for item in new & signers)
        )
        accepted = number if good else accepted
        roots = new
    try:
        last = follow(chain[0], chain[1:], now=NOW).number
    except BundleRefusedError:
        assert accepted < len(chain)
        last = follow(chain[0], chain[1:accepted], now=NOW).number
    assert last == accepted
    again = [SignedBundle.read(item.encode()) for item in chain]
    assert again == chain


@cache
def sample() -> bytes:
    content = BundleContent.first(SHOP, [root(0)[0], root(1)[0]], created=NOW)
    return sign_bundle(content, [root(0)[1], root(1)[1]]).encode()


@given(st.data())
def test_one_changed_byte_is_refused_or_leaves_no_good_signature(data: st.DataObject) -> None:
    """Nothing that a signature covers can be changed, and nothing else decides anything."""
    original = SignedBundle.read(sample())
    at = data.draw(st.integers(0, len(sample()) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != sample()[at]))
    forged = sample()[:at] + bytes([value]) + sample()[at + 1 :]
    try:
        parsed = SignedBundle.read(forged)
    except BundleRefusedError:
        return
    assert parsed.encode() == forged
    if parsed.content == original.content:
        assert not all(parsed.is_signed_by(item) for item in original.content.roots)
    else:
        assert not any(parsed.is_signed_by(item) for item in original.content.roots)


@given(st.binary(max_size=400) | st.from_regex(rb'\{"[a-z]":.{0,40}\}', fullmatch=True))
def test_any_bytes_are_a_bundle_or_a_typed_refusal(data: bytes) -> None:
    for read in (SignedBundle.read, BundleContent.read):
        with suppress(BundleRefusedError):
            read(data)
