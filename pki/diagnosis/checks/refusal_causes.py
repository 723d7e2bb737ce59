"""Why a server refused our certificate without a reason: the possible causes, ranked.

They are ranked by what this end can observe: our own times, chain, key and usage, the clocks, and
whether the server's root is ours too. A fault of ours that every server refuses is the cause, and
no other is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509

from pki.diagnosis.checks.certificates.issuer_path import (
    is_self_issued,
    path_from_leaf,
    quote_name,
    same_name,
)
from pki.diagnosis.checks.own_credential import OwnCredential
from pki.diagnosis.report import Finding, Status, failed, symptom

ACCEPTS = "accepts our certificate"
CLOSED = "PEER_CONNECTION_CLOSED"
_NO_REASON = "the server closed the connection after it received our certificate, without a reason"
_RECENT = timedelta(minutes=5)

# For each fault of ours: how likely a server that gives no reason refuses us for it.
_WEIGHTS = {
    "expired": 95,
    "not-yet-valid": 95,
    "self-signed": 90,
    "wrong-usage": 90,
    "ca-as-leaf": 88,
    "unsupported-key": 92,
    "weak-key": 80,
    "weak-signature": 85,
    "name-constraint": 85,
    "incomplete-chain": 88,
    "bad-signature": 85,
    "unknown-ca": 75,
    "malformed": 70,
    "issuer-not-ca": 85,
    "path-length": 85,
    "chain-too-long": 80,
    "distrusted": 75,
    "strict-verifier": 30,
    "chain-order": 20,
    "revoked": 60,
    "issuer-revoked": 60,
    "two-spiffe-ids": 40,
}
# From this weight on, a fault that was observed in our certificate is taken for the cause.
_SURE_CAUSE_WEIGHT = 75
# An unusual key is only a warning by itself, but where a server refuses us it weighs as a fault.
_WARNINGS_OF_FULL_WEIGHT = {"unsupported-key"}
# A clock difference that was observed comes before guesses about the roots.
_CLOCKS_DIFFER = 80
# Causes that our certificate can't show: they are listed, but never first.
_NOT_OBSERVABLE = (
    ("unknown-ca", 35, "its bundle may lack our root, or hold an older one"),
    (
        "clock-skew",
        20,
        "its clock may differ from ours, so that our certificate is expired or not yet valid there",
    ),
    (
        "revoked",
        10,
        "a revocation list that only the server has may name our certificate or its CA",
    ),
    ("stale-crl", 5, "a revocation list that it uses may be past its end"),
)


def rank_causes(
    own: OwnCredential | None,
    ours: Sequence[Finding],
    server_chain: Sequence[x509.Certificate],
    now: datetime,
    message: str = _NO_REASON,
    *,
    clock_difference: str = "",
) -> list[Finding]:
    """Rank the causes when a server refused us without a reason after it received our certificate.

    Args:
        own: our credential.
        ours: the findings on our credential.
        server_chain: the chain that the server presented.
        now: the time, aware.
        message: how the server refused us.
        clock_difference: how far the clocks differ, by the time in the server's answer; empty where
            they agree, or no time was sent.
    """
    causes: dict[str, Finding] = {}

    def add(slug: str, why: str, likelihood: int) -> None:
        if slug not in causes or causes[slug].likelihood < likelihood:
            causes[slug] = failed(
                ACCEPTS, slug, f"{message}; {why}", likelihood=likelihood, handshake_result=CLOSED
            )

    observed = [
        item for item in ours if item.failure in _WEIGHTS and item.status is not Status.UNKNOWN
    ]
    if any(_explains_refusal(item) for item in observed):
        return [symptom(ACCEPTS, f"{message}; what is wrong with ours is above")]
    for item in observed:
        assert item.failure is not None
        add(item.failure, f"our own certificate: {item.message}", _weight(item))
    if own is not None and own.chain:
        for why, likelihood in _other_root(own, server_chain):
            add("unknown-ca", why, likelihood)
        begun = now - own.chain[0].not_valid_before_utc
        if timedelta(0) <= begun < _RECENT:
            add(
                "clock-skew",
                "ours became valid a moment ago: a server whose clock is behind does not accept "
                "it yet",
                25,
            )
    if clock_difference:
        why = (
            f"the clocks are {clock_difference}: by the server's clock, ours may be expired or "
            "not yet valid"
        )
        add("clock-skew", why, _CLOCKS_DIFFER)
    for slug, likelihood, why in _NOT_OBSERVABLE:
        add(slug, why, likelihood)
    return sorted(causes.values(), key=lambda item: -item.likelihood)


def _explains_refusal(item: Finding) -> bool:
    return (
        item.status is Status.FAILED
        and item.is_sure
        and _WEIGHTS[item.failure or ""] >= _SURE_CAUSE_WEIGHT
    )


def _weight(item: Finding) -> int:
    weight = _WEIGHTS[item.failure or ""]
    if item.likelihood:
        # A cause that is only likely itself weighs less in proportion.
        return weight * item.likelihood // 100
    if item.status is Status.WARNING and item.failure not in _WARNINGS_OF_FULL_WEIGHT:
        return min(weight, 30)
    return weight


def _other_root(
    own: OwnCredential, server_chain: Sequence[x509.Certificate]
) -> list[tuple[str, int]]:
    """Compare the root of the server's own chain with the root of ours."""
    if not server_chain:
        return []
    path = path_from_leaf(own.chain)
    theirs = path_from_leaf(server_chain)[-1].issuer
    ours = path[-1].issuer
    if same_name(theirs, ours):
        return []
    # A leaf sent alone may lead to the same root by an intermediate CA that was not sent.
    likelihood = 55 if lacks_issuer(own) else 70
    return [
        (
            f"its own chain ends in {quote_name(theirs)}, ours in {quote_name(ours)}: it may "
            "trust only its own CA; renew from its CA, or add our root to its bundle",
            likelihood,
        )
    ]


def lacks_issuer(own: OwnCredential) -> bool:
    """Return whether our leaf is sent alone, and was issued by none of our roots."""
    path = path_from_leaf(own.chain)
    if len(path) > 1 or is_self_issued(path[0]):
        return False
    return not any(same_name(root.subject, path[0].issuer) for root in own.roots)
