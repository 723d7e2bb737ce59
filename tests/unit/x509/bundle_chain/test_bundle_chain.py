"""Signed trust bundles: one encoding, and a chain that is followed link by link or not at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pki.identity import TrustDomain
from pki.keys import KeyType, PrivateKey, generate_key
from pki.x509.bundle_chain import (
    BundleContent,
    BundleFault,
    BundleRefusedError,
    SignedBundle,
    begin,
    follow,
    sign_bundle,
)
from pki.x509.bundle_chain.signed import BundleSignature
from pki.x509.profiles import RootProfile
from pki.x509.profiles.builder import Validity
from tests.support import NOW, SHOP, YEAR, Hierarchy, name

Root = tuple[x509.Certificate, PrivateKey]


def root(
    label: str,
    kind: KeyType = KeyType.ECDSA_P256,
    *,
    domain: TrustDomain = SHOP,
    times: Validity = YEAR,
) -> Root:
    key = generate_key(kind)
    return RootProfile.build(domain, key, subject=name(label), validity=times), key


OLD, NEW, OTHER = root("old"), root("new"), root("other")


def first(*roots: Root, created: datetime = NOW) -> SignedBundle:
    content = BundleContent.first(SHOP, [item for item, _ in roots], created=created)
    return sign_bundle(content, [key for _, key in roots])


def after(bundle: SignedBundle, roots: Sequence[Root], signers: Sequence[Root]) -> SignedBundle:
    content = bundle.content.next([item for item, _ in roots], created=NOW)
    return sign_bundle(content, [key for _, key in signers])


def refused(trusted: SignedBundle, *chain: SignedBundle, now: datetime = NOW) -> BundleFault:
    with pytest.raises(BundleRefusedError) as caught:
        follow(trusted, chain, now=now)
    return caught.value.fault


ONE = first(OLD)
BOTH = after(ONE, [OLD, NEW], [OLD, NEW])
LAST = after(BOTH, [NEW], [NEW])


def test_a_follower_of_the_first_bundle_comes_to_the_newest_through_a_whole_rotation() -> None:
    assert follow(ONE, [BOTH, LAST], now=NOW) == LAST
    assert follow(ONE, [ONE, BOTH], now=NOW) == BOTH
    assert follow(BOTH, [], now=NOW) == BOTH


@pytest.mark.parametrize("kind", list(KeyType))
def test_roots_of_every_kind_of_key_sign(kind: KeyType) -> None:
    one, two = root("one", kind), root("two", kind)
    begun = first(one)
    assert follow(begun, [after(begun, [one, two], [one, two])], now=NOW).number == 2
    forged = SignedBundle(
        after(begun, [one], [one]).content, (BundleSignature(begun.signatures[0].key_id, b"x"),)
    )
    assert refused(begun, forged) is BundleFault.BAD_SIGNATURE


def test_a_gap_is_refused() -> None:
    assert refused(ONE, LAST) is BundleFault.GAP


def test_a_lower_number_is_refused() -> None:
    assert refused(LAST, BOTH) is BundleFault.LOWER_NUMBER
    assert refused(ONE, BOTH, ONE) is BundleFault.LOWER_NUMBER


def test_another_bundle_with_the_trusted_number_is_a_fork() -> None:
    fork = after(ONE, [OLD, OTHER], [OLD, OTHER])
    assert refused(BOTH, fork) is BundleFault.FORK


def test_a_bundle_that_was_made_after_another_one_is_a_fork() -> None:
    fork = after(ONE, [OLD, NEW, OTHER], [OLD, NEW, OTHER])
    assert refused(BOTH, after(fork, [OLD, NEW], [OLD, NEW])) is BundleFault.FORK


def test_a_bundle_of_another_trust_domain_is_refused() -> None:
    domain = TrustDomain("bank.internal")
    theirs = root("theirs", domain=domain)
    content = BundleContent(domain, 2, NOW, (theirs[0],), ONE.content.digest)
    bundle = sign_bundle(content, [OLD[1], theirs[1]])
    assert refused(ONE, bundle) is BundleFault.WRONG_DOMAIN


@pytest.mark.parametrize(
    ("roots", "signers"),
    [
        ([OLD, NEW], [NEW]),  # The root before has not signed.
        ([OLD, NEW], [OLD]),  # The added root has not proved that it has its key.
        ([OLD, NEW, OTHER], [OLD, NEW]),  # One of two added roots has not.
        ([OTHER], [OTHER]),
        ([OLD], []),
        ([OLD], [OTHER]),  # A stranger's signature counts for nothing.
    ],
)
def test_a_bundle_without_a_signature_that_it_needs_is_refused(
    roots: list[Root], signers: list[Root]
) -> None:
    assert refused(ONE, after(ONE, roots, signers)) is BundleFault.MISSING_SIGNATURE


def test_a_bundle_that_none_of_its_own_roots_signed_is_refused() -> None:
    """A newcomer who knows the fingerprint of the new root could not begin with it."""
    assert refused(BOTH, after(BOTH, [NEW], [OLD])) is BundleFault.MISSING_SIGNATURE


def test_one_bad_signature_of_a_root_refuses_the_bundle_beside_a_good_one() -> None:
    other_keys = sign_bundle(LAST.content, [NEW[1]]).signatures[0].signature
    mixed = after(BOTH, [OLD, NEW], [OLD, NEW])
    signatures = tuple(
        BundleSignature(item.key_id, other_keys) if item == mixed.signature_of(NEW[0]) else item
        for item in mixed.signatures
    )
    assert refused(BOTH, SignedBundle(mixed.content, signatures)) is BundleFault.BAD_SIGNATURE


def test_a_signature_of_another_kind_of_statement_is_none_of_a_bundle() -> None:
    """The same key signs certificates; without the prefix, its signature counts for nothing."""
    content = ONE.content.next([OLD[0]], created=NOW)
    key = OLD[1]
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    bare = key.sign(content.encode(), ec.ECDSA(hashes.SHA256()))
    forged = SignedBundle(content, (BundleSignature(ONE.signatures[0].key_id, bare),))
    assert refused(ONE, forged) is BundleFault.BAD_SIGNATURE


def test_a_root_vouches_for_no_bundle_after_its_end_or_before_its_begin() -> None:
    end = OLD[0].not_valid_after_utc
    assert follow(ONE, [BOTH], now=end).number == 2
    for now in (end + timedelta(seconds=1), OLD[0].not_valid_before_utc - timedelta(seconds=1)):
        assert refused(ONE, BOTH, now=now) is BundleFault.EXPIRED_SIGNER


def test_a_refused_link_ends_the_chain_and_what_comes_after_it_is_not_reached() -> None:
    forged = after(ONE, [OLD, OTHER], [OTHER])
    assert refused(ONE, forged, after(forged, [OTHER], [OTHER])) is BundleFault.MISSING_SIGNATURE


def fingerprint(of: Root) -> bytes:
    return of[0].fingerprint(hashes.SHA256())


def test_a_newcomer_begins_with_any_bundle_by_the_fingerprint_of_a_root_that_signed_it() -> None:
    for bundle, known in ((ONE, OLD), (BOTH, OLD), (BOTH, NEW), (LAST, NEW)):
        begun = begin(bundle, trust_domain=SHOP, fingerprint=fingerprint(known), now=NOW)
        assert begun == bundle


@pytest.mark.parametrize(
    ("bundle", "known", "fault"),
    [
        (LAST, OLD, BundleFault.WRONG_ANCHOR),
        (after(BOTH, [OLD, NEW], [OLD]), NEW, BundleFault.MISSING_SIGNATURE),
        (after(ONE, [OLD, OTHER], [OTHER]), OLD, BundleFault.MISSING_SIGNATURE),
        (sign_bundle(first(OLD, NEW).content, [OLD[1]]), OLD, BundleFault.MISSING_SIGNATURE),
    ],
)
def test_a_newcomer_begins_with_no_bundle_that_the_known_root_has_not_signed(
    bundle: SignedBundle, known: Root, fault: BundleFault
) -> None:
    with pytest.raises(BundleRefusedError) as caught:
        begin(bundle, trust_domain=SHOP, fingerprint=fingerprint(known), now=NOW)
    assert caught.value.fault is fault


def test_a_newcomer_begins_neither_with_another_domain_nor_after_the_roots_end() -> None:
    for domain, now, fault in (
        (TrustDomain("bank.internal"), NOW, BundleFault.WRONG_DOMAIN),
        (SHOP, NOW + timedelta(days=400), BundleFault.EXPIRED_SIGNER),
    ):
        with pytest.raises(BundleRefusedError) as caught:
            begin(ONE, trust_domain=domain, fingerprint=fingerprint(OLD), now=now)
        assert caught.value.fault is fault


def test_the_audit_logs_key_stays_in_later_bundles_until_another_takes_its_place() -> None:
    content = BundleContent.first(SHOP, [OLD[0]], created=NOW, audit_key=bytes(32))
    assert content.next([OLD[0]], created=NOW).audit_key == bytes(32)
    other = content.next([OLD[0]], created=NOW, audit_key=b"\1" * 32)
    assert BundleContent.read(other.encode()) == other
    with pytest.raises(BundleRefusedError, match="Ed25519"):
        content.next([OLD[0]], created=NOW, audit_key=bytes(31))


def test_the_name_of_a_restored_log_stays_in_later_bundles_until_another_takes_its_place() -> None:
    first, second = (f"{SHOP.audit_log}/restored-{number}" for number in (1, 2))
    content = BundleContent.first(SHOP, [OLD[0]], created=NOW)
    assert (content.audit_origin, content.log_origin) == (None, SHOP.audit_log)
    restored = content.next([OLD[0]], created=NOW, audit_origin=first)
    assert BundleContent.read(restored.encode()) == restored
    assert restored.next([OLD[0]], created=NOW).log_origin == first
    assert restored.next([OLD[0]], created=NOW, audit_origin=second).log_origin == second


def test_what_is_encoded_is_read_back() -> None:
    for bundle in (ONE, BOTH, LAST):
        assert SignedBundle.read(bundle.encode()) == bundle
        assert BundleContent.read(bundle.content.encode()) == bundle.content


def changed(**members: object) -> bytes:
    """Return the content of the second bundle with other members, in canonical JSON."""
    document = json.loads(BOTH.content.encode())
    for key, value in members.items():
        document[key] = value
        if value is None:
            del document[key]
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


ROOTS = json.loads(BOTH.content.encode())["roots"]
LEAF = base64.b64encode(Hierarchy().leaf().public_bytes(Encoding.DER)).decode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 100_000,
        b"\xff",
        b"x" * (1 << 20),
        changed(unknown=1),
        changed(audit_key=""),
        changed(audit_key="AA=="),
        changed(audit_origin=""),
        changed(audit_origin="shop.internal/handfast/audit"),
        changed(audit_origin="bank.internal/handfast/audit/restored-1"),
        changed(audit_origin="shop.internal/handfast/audit/a b"),
        changed(audit_origin="shop.internal/handfast/audit/a+b"),
        changed(audit_origin="shop.internal/handfast/audit/" + "x" * 400),
        changed(audit_origin=1),
        changed(created=-1),
        changed(created=1 << 52),
        changed(created="1"),
        changed(created=1.5),
        changed(created=True),
        changed(created=None),
        changed(number=0),
        changed(number=1),
        changed(number=1 << 53),
        changed(number="2"),
        changed(previous=""),
        changed(previous="AAAA"),
        changed(previous="!"),
        changed(roots=[]),
        changed(roots=ROOTS[::-1]),
        changed(roots=[ROOTS[0], *ROOTS]),
        changed(roots=ROOTS * 9),
        changed(roots=[*ROOTS, LEAF]),
        changed(roots=["MAA="]),
        changed(roots=[ROOTS[0] + "AAAA"]),
        changed(roots=ROOTS[0]),
        changed(roots=[1]),
        changed(trust_domain="bank.internal"),
        changed(trust_domain="SHOP.internal"),
        changed(trust_domain=""),
        changed(type="handfast trust bundle v2"),
        changed(type=None),
        BOTH.content.encode() + b" ",
        BOTH.content.encode().replace(b",", b", ", 1),
        BOTH.content.encode().replace(b'"number":2', b'"number":2,"number":2'),
        BOTH.content.encode().replace(b'"number":2', b'"number":2.0'),
        BOTH.content.encode().replace(b'"number"', b'"n\\u0075mber"'),
    ],
    ids=lambda data: data[-24:].decode("latin-1"),
)
def test_a_content_in_any_other_form_is_refused(data: bytes) -> None:
    with pytest.raises(BundleRefusedError) as caught:
        BundleContent.read(data)
    assert caught.value.fault is BundleFault.MALFORMED


def signed(**members: object) -> bytes:
    document = {**json.loads(BOTH.encode()), **members}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


SIGNATURES = json.loads(BOTH.encode())["signatures"]


@pytest.mark.parametrize(
    "data",
    [
        signed(content=""),
        signed(content=1),
        signed(more=1),
        signed(signatures=SIGNATURES[::-1]),
        signed(signatures=[SIGNATURES[0], SIGNATURES[0]]),
        signed(signatures=[{**SIGNATURES[0], "key": "00"}]),
        signed(signatures=[{**SIGNATURES[0], "alg": "none"}]),
        signed(signatures=[{"key": SIGNATURES[0]["key"]}]),
        signed(signatures=[{**SIGNATURES[0], "key": f"{number:064x}"} for number in range(33)]),
        signed(signatures={}),
        signed(signatures=[1]),
        BOTH.encode()[:-1],
        BOTH.encode() + b"\n",
        b"x" * (3 << 20),
    ],
    # Each process that runs tests makes other keys, and must call the tests the same.
    ids=range(14),
)
def test_a_bundle_in_any_other_form_is_refused(data: bytes) -> None:
    with pytest.raises(BundleRefusedError) as caught:
        SignedBundle.read(data)
    assert caught.value.fault is BundleFault.MALFORMED


def test_base64_with_other_unused_bits_is_refused() -> None:
    """A lax decoder would read the same signature from two texts."""
    # An ECDSA signature has 70 to 72 bytes: only some leave bits unused.
    bundle, text = next(
        (candidate, item["signature"])
        for candidate in iter(lambda: first(OLD), None)
        for item in json.loads(candidate.encode())["signatures"]
        if item["signature"].endswith("=")
    )
    other = text.rstrip("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twisted = other[:-1] + alphabet[alphabet.index(other[-1]) ^ 1] + "=" * (len(text) - len(other))
    assert base64.b64decode(twisted) == base64.b64decode(text)
    with pytest.raises(BundleRefusedError, match="not canonical"):
        SignedBundle.read(bundle.encode().replace(text.encode(), twisted.encode()))


def test_a_root_of_another_trust_domain_is_in_no_bundle() -> None:
    theirs = root("theirs", domain=TrustDomain("bank.internal"))
    with pytest.raises(BundleRefusedError, match=r"bank\.internal"):
        BundleContent.first(SHOP, [OLD[0], theirs[0]], created=NOW)


def test_signatures_of_several_machines_are_put_together() -> None:
    content = ONE.content.next([OLD[0], NEW[0]], created=NOW)
    parts = [sign_bundle(content, [key]) for _, key in (OLD, NEW)]
    whole = parts[0].with_signatures_of(parts[1:])
    assert follow(ONE, [whole], now=NOW) == whole
    assert parts[0].with_signatures_of([LAST]) == parts[0]
