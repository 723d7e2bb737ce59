"""Handfast's verifier (OpenSSL and the profiles) agrees with cryptography's on valid chains.

cryptography's verifier refuses each chain with a URI constraint, so the chains here have none and
are otherwise like ours: then either of the two can disagree. Where they do, the reason is listed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pki.errors import VerificationError
from pki.identity import DnsName, TrustDomain
from pki.keys import PrivateKey, generate_key
from pki.x509 import SERVER, ChainVerifier, Purpose, RevocationMode, TrustBundle
from pki.x509.profiles.builder import key_usage
from tests.pkimaker import certificate
from tests.support import NOW, Extension, Hierarchy, name

ROOT_KEY, OTHER_KEY, ISSUING_KEY, LOWER_KEY, LEAF_KEY = (generate_key() for _ in range(5))
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Made:
    """The parts of a chain; by default, of a valid one."""

    dns: tuple[str, ...] = ("orders.shop.internal",)
    usages: tuple[x509.ObjectIdentifier, ...] | None = (Eku.SERVER_AUTH,)
    leaf_ca: bool | None = False
    leaf_signs: bool = True
    leaf_signs_certificates: bool = False
    leaf_begin: timedelta = -HOUR
    leaf_end: timedelta = HOUR
    leaf_subject: str = "orders"
    san_critical: bool = False
    unknown_critical: bool = False
    leaf_authority_key: bool = True
    issued_by_another_key: bool = False
    issuing_ca: bool = True
    issuing_signs_certificates: bool = True
    issuing_length: int | None = 0
    issuing_begin: timedelta = -HOUR
    issuing_end: timedelta = HOUR
    issuing_authority_key: bool = True
    issuing_subject_key: bool = True
    permitted: str = "shop.internal"
    constraints_critical: bool = True
    lower_ca: bool = False
    sent: bool = True
    root_trusted: bool = True
    root_length: int | None = 1
    asked_for: str = "orders.shop.internal"


def identifiers(
    subject: PrivateKey, issuer: PrivateKey, *, own: bool, theirs: bool
) -> list[Extension]:
    found: list[Extension] = []
    if own:
        found.append((x509.SubjectKeyIdentifier.from_public_key(subject.public_key()), False))
    if theirs:
        key = issuer.public_key()
        found.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(key), False))
    return found


def chain_of(made: Made) -> tuple[list[x509.Certificate], x509.Certificate]:
    """Make the chain, leaf first, and its root."""
    root = certificate(
        name("root"),
        ROOT_KEY,
        issuer=name("root"),
        issuer_key=ROOT_KEY,
        begin=NOW - 2 * HOUR,
        end=NOW + 2 * HOUR,
        extensions=[
            (x509.BasicConstraints(ca=True, path_length=made.root_length), True),
            (key_usage(ca=True), True),
            *identifiers(ROOT_KEY, ROOT_KEY, own=True, theirs=False),
        ],
    )
    limits = x509.NameConstraints([x509.DNSName(made.permitted)], None)
    issuing = certificate(
        name("issuing"),
        ISSUING_KEY,
        issuer=root.subject,
        issuer_key=ROOT_KEY,
        begin=NOW + made.issuing_begin,
        end=NOW + made.issuing_end,
        extensions=[
            (
                x509.BasicConstraints(
                    ca=made.issuing_ca,
                    path_length=made.issuing_length if made.issuing_ca else None,
                ),
                True,
            ),
            (key_usage(ca=made.issuing_signs_certificates), True),
            (limits, made.constraints_critical),
            *identifiers(
                ISSUING_KEY,
                ROOT_KEY,
                own=made.issuing_subject_key,
                theirs=made.issuing_authority_key,
            ),
        ],
    )
    above, above_key, chain = issuing, ISSUING_KEY, [issuing]
    if made.lower_ca:
        above_key = LOWER_KEY
        above = certificate(
            name("lower"),
            LOWER_KEY,
            issuer=issuing.subject,
            issuer_key=ISSUING_KEY,
            begin=NOW - HOUR,
            end=NOW + HOUR,
            extensions=[
                (x509.BasicConstraints(ca=True, path_length=0), True),
                (key_usage(ca=True), True),
                *identifiers(LOWER_KEY, ISSUING_KEY, own=True, theirs=True),
            ],
        )
        chain = [above, issuing]
    leaf = leaf_of(made, above, above_key)
    return [leaf, *(chain if made.sent else ())], root


def leaf_of(made: Made, issuer: x509.Certificate, issuer_key: PrivateKey) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=made.leaf_signs,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=made.leaf_signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    extensions: list[Extension] = [(usage, True)]
    if made.leaf_ca is not None:
        extensions.append((x509.BasicConstraints(ca=made.leaf_ca, path_length=None), True))
    if made.usages is not None:
        extensions.append((x509.ExtendedKeyUsage(made.usages), False))
    if made.dns:
        names = x509.SubjectAlternativeName([x509.DNSName(item) for item in made.dns])
        extensions.append((names, made.san_critical))
    if made.unknown_critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        extensions.append((unknown, True))
    extensions += identifiers(LEAF_KEY, issuer_key, own=True, theirs=made.leaf_authority_key)
    return certificate(
        name(made.leaf_subject) if made.leaf_subject else x509.Name([]),
        LEAF_KEY,
        issuer=issuer.subject,
        issuer_key=OTHER_KEY if made.issued_by_another_key else issuer_key,
        begin=NOW + made.leaf_begin,
        end=NOW + made.leaf_end,
        extensions=extensions,
    )


STRANGER = Hierarchy(TrustDomain("stranger.test")).root


def ours(made: Made) -> str:
    """Return why handfast's verifier refuses a chain, or the empty string."""
    chain, root = chain_of(made)
    trusted = root if made.root_trusted else STRANGER
    bundle = TrustBundle.of_roots([trusted], default=TrustDomain("shop.internal"))
    try:
        ChainVerifier(bundle, mode=RevocationMode.WHEN_PRESENT).verify(
            chain,
            profile=SERVER,
            purpose=Purpose.SERVER,
            at=NOW,
            expected=DnsName(made.asked_for),
        )
    except VerificationError as error:
        return str(error)
    return ""


def theirs(made: Made) -> str:
    """Return why cryptography's verifier refuses a chain, or the empty string."""
    chain, root = chain_of(made)
    trusted = root if made.root_trusted else STRANGER
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([trusted]))
        .time(NOW)
        .max_chain_depth(3)
        .build_server_verifier(x509.DNSName(made.asked_for))
    )
    try:
        verifier.verify(chain[0], chain[1:])
    except verification.VerificationError as error:
        return str(error) or "refused"
    return ""


# Chains that handfast refuses and cryptography accepts, one for each rule. In all other cases the
# two agree.
DIFFERENCES: dict[str, tuple[Callable[[Made], bool], Made]] = {
    "a wildcard names no workload": (
        lambda made: any(item.startswith("*") for item in made.dns),
        Made(dns=("*.shop.internal",)),
    ),
    "the purpose must be said": (lambda made: made.usages is None, Made(usages=None)),
    "TLS 1.3 needs a key that may sign": (
        lambda made: not made.leaf_signs,
        Made(leaf_signs=False),
    ),
    "RFC 5280 section 4.2.1.1: each CA names its issuer's key": (
        lambda made: not made.issuing_authority_key,
        Made(issuing_authority_key=False),
    ),
    "RFC 5280 section 4.2.1.2: each CA names its key": (
        lambda made: not made.issuing_subject_key,
        Made(issuing_subject_key=False),
    ),
    "RFC 5280 section 4.2.1.10: name constraints are critical": (
        lambda made: not made.constraints_critical,
        Made(constraints_critical=False),
    ),
}

spans = st.sampled_from([-HOUR, -timedelta(seconds=1), timedelta(0), timedelta(seconds=1), HOUR])
CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "dns": st.sampled_from(
        [
            ("orders.shop.internal",),
            ("orders.evil.test",),
            ("orders.shop.internal", "orders.evil.test"),
            ("evilshop.internal",),
            ("*.shop.internal",),
            (),
        ]
    ),
    "usages": st.sampled_from(
        [
            None,
            (Eku.SERVER_AUTH,),
            (Eku.CLIENT_AUTH,),
            (Eku.CLIENT_AUTH, Eku.SERVER_AUTH),
            (Eku.ANY_EXTENDED_KEY_USAGE,),
            (Eku.CODE_SIGNING,),
        ]
    ),
    "leaf_ca": st.sampled_from([False, True, None]),
    "leaf_begin": spans,
    "leaf_end": spans,
    "leaf_subject": st.sampled_from(["orders", ""]),
    "issuing_length": st.sampled_from([0, 1, None]),
    "issuing_begin": spans,
    "issuing_end": spans,
    "permitted": st.sampled_from(["shop.internal", "internal", "evil.test", "op.internal"]),
    "root_length": st.sampled_from([0, 1, None]),
    "asked_for": st.sampled_from(["orders.shop.internal", "shop.internal", "orders.evil.test"]),
    **{
        flag: st.booleans()
        for flag in (
            "leaf_signs",
            "leaf_signs_certificates",
            "san_critical",
            "unknown_critical",
            "leaf_authority_key",
            "issued_by_another_key",
            "issuing_ca",
            "issuing_signs_certificates",
            "issuing_authority_key",
            "issuing_subject_key",
            "constraints_critical",
            "lower_ca",
            "sent",
            "root_trusted",
        )
    },
}
# At most three faults at once: with more, every chain is refused, and the test shows nothing.
mutations = st.lists(st.sampled_from(sorted(CHOICES)), max_size=3, unique=True).flatmap(
    lambda fields: st.fixed_dictionaries({field: CHOICES[field] for field in fields})
)


def possible(made: Made) -> bool:
    return (
        made.leaf_begin <= made.leaf_end
        and made.issuing_begin <= made.issuing_end
        and (made.leaf_subject != "" or made.dns != ())
    )


def test_both_accept_the_chain_that_the_others_differ_from() -> None:
    assert (ours(Made()), theirs(Made())) == ("", "")


@settings(max_examples=250, deadline=None)
@given(mutations)
def test_the_two_verifiers_agree_but_for_the_reasons_listed(changes: dict[str, Any]) -> None:
    made = replace(Made(), **changes)
    assume(possible(made))
    mine, other = ours(made), theirs(made)
    if bool(mine) != bool(other):
        assert mine, f"we accept what cryptography refuses: {other}"
        assert any(applies(made) for applies, _ in DIFFERENCES.values()), mine


@pytest.mark.parametrize("reason", list(DIFFERENCES))
def test_each_reason_listed_is_needed(reason: str) -> None:
    _, made = DIFFERENCES[reason]
    assert ours(made)
    assert not theirs(made)
