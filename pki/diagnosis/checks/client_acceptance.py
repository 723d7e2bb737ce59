"""Whether a server takes our certificate, and if not, why: seen, or concluded and ranked.

A gRPC server that refuses a certificate closes the connection and says nothing, whatever the
reason, and names no CAs when it asks. Then the causes are ranked by what this end can see: our own
times, chain, key and usage, and the server's root against ours. Where a fault of ours is seen that
every server refuses, it is the cause, and no other is guessed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509

from pki.diagnosis.checks.credential_files import OwnCredential
from pki.diagnosis.checks.issuer_path import is_self_issued, named, path_within
from pki.diagnosis.checks.tls_alerts import HANDSHAKE_FAILURE, alert_words
from pki.diagnosis.observe.tls_handshake import End, Handshake
from pki.diagnosis.report import Finding, Status, failed, ok, symptom, unknown, warning

_ASKS = "asks for a certificate"
_TAKES = "takes our certificate"
_SAID_NOTHING = (
    "the server closed the connection when it had seen our certificate, and said no word"
)
_VERDICT = "PEER_CONNECTION_CLOSED"
_RECENT = timedelta(minutes=5)

# How likely each fault of ours is the one that a silent server refuses us for.
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
    "chain-order": 20,
    "revoked": 60,
    "issuer-revoked": 60,
    "two-spiffe-ids": 40,
}
# From which weight on a fault that is seen in ours is the cause, and no other is looked for.
_CAUSE_ENOUGH = 75
# gRPC refuses no key that is odd by its files alone: it is a warning, and weighs as a fault.
_WEIGHS_AS_WARNING = {"unsupported-key"}
# Clocks that are seen to differ come before what is but guessed of the roots.
_CLOCKS_SEEN = 80
# What no certificate of ours shows, and some servers refuse for: kept in mind, and never first.
_UNSEEN = (
    ("unknown-ca", 35, "its bundle may not hold our root, or hold the one from before"),
    (
        "clock-differs",
        20,
        "its clock may be another than ours, by which our certificate has ended or not begun",
    ),
    ("revoked", 10, "a list that it has and we do not may name our certificate or its CA"),
    ("stale-list", 5, "a list that it goes by may have ended"),
)


def examine_asking(bare: Handshake, own: OwnCredential | None) -> list[Finding]:
    """Examine what a server asks for, in a handshake in which we showed nothing."""
    if not (bare.done or bare.chain):
        return [unknown(_ASKS, "the handshake did not come so far")]
    if not bare.asked:
        return [
            warning(
                _ASKS,
                "client-not-asked",
                "it asks no client for a certificate: it can't know who calls",
            )
        ]
    if not bare.asked_for:
        return [ok(_ASKS, "it asks, and names no CAs (gRPC names none)")]
    words = ", ".join(item.words for item in bare.asked_for[:5])
    if own is None or not own.chain:
        return [ok(_ASKS, f"it asks for one of {words}")]
    wanted = {item.der for item in bare.asked_for}
    issuers = {item.issuer.public_bytes() for item in own.chain}
    if issuers & wanted:
        return [ok(_ASKS, f"it asks for one of {words}; ours is among them")]
    return [
        failed(
            _ASKS,
            "ca-not-asked-for",
            f"it asks for a certificate of {words}; ours is of {named(own.chain[-1].issuer)}",
            verdict="CERTIFICATE_AUTHORITY_INVALID",
        )
    ]


def examine_acceptance(
    bare: Handshake,
    showing: Handshake | None,
    *,
    own: OwnCredential | None,
    ours: Sequence[Finding],
    server_chain: Sequence[x509.Certificate],
    now: datetime,
) -> list[Finding]:
    """Examine whether the server takes us.

    Args:
        bare: the handshake in which we showed nothing.
        showing: the one in which we showed our certificate; None if there is none to show.
        own: our credential.
        ours: what was found about it.
        server_chain: what the server showed.
        now: the time, aware.
    """
    if showing is None:
        return _without(bare, own)
    if showing.end in {End.ACCEPTED, End.SILENT}:
        return _taken(showing)
    if showing.end is End.ALERT and showing.alert is not None:
        return _by_alert(showing, own, ours)
    if showing.end is End.FAILED:
        return [_failed_here(showing)]
    if showing.end is not End.CLOSED:
        return [_not_so_far(showing)]
    if bare.end in {End.ACCEPTED, End.SILENT} and not bare.asked:
        return [unknown(_TAKES, f"the connection ended: {showing.words}; try again")]
    return likely_causes(own, ours, server_chain, now)


def _without(bare: Handshake, own: OwnCredential | None) -> list[Finding]:
    what = "no certificate was given" if own is None else "ours can't be shown"
    if bare.end in {End.ACCEPTED, End.SILENT}:
        return [ok("takes callers without one", f"{what}, and it goes on")]
    if not bare.asked:
        return [unknown(_TAKES, f"{what}, and the handshake ended: {bare.words}")]
    told = {116: "and says so", HANDSHAKE_FAILURE: "and ends the handshake"}
    words = told.get(bare.alert or 0, "and closes the connection without a word")
    words = f"it asks for a certificate, {what}, {words}"
    if own is not None:
        # Why ours can't be shown is a fault of its own, or a key that only its passphrase opens.
        whole = all(item.status is not Status.FAILED for item in own.faults)
        return [unknown(_TAKES, words) if whole else symptom(_TAKES, f"{words}; why stands above")]
    return [
        failed(
            _TAKES,
            "no-client-certificate",
            words,
            remedy="Show it one: --credential DIR",
            verdict=_VERDICT,
        )
    ]


def _failed_here(showing: Handshake) -> Finding:
    """Return why TLS failed at our own end, in the handshake with our certificate alone."""
    words = f"TLS fails at our end: {showing.words}"
    if any(sign in showing.words for sign in ("signature", "can't be shown")):
        return failed(_TAKES, "unsupported-key", words)
    return unknown(_TAKES, words)


def _not_so_far(showing: Handshake) -> Finding:
    """Say that the handshake with our certificate broke off before it could be refused."""
    words = f"the handshake with our certificate breaks off: {showing.words}"
    if showing.end is End.TIMED_OUT:
        return failed(_TAKES, "handshake-timeout", words, likely=50, verdict="HANDSHAKE_TIMEOUT")
    return unknown(_TAKES, f"{words}; try again")


def _taken(showing: Handshake) -> list[Finding]:
    if showing.end is End.SILENT:
        return [
            unknown(
                _TAKES,
                "the handshake came about, and the server says nothing behind it: it may still "
                "refuse",
            )
        ]
    if not showing.asked:
        return [unknown(_TAKES, "it did not ask for it, and goes on")]
    return [ok(_TAKES, "it goes on after it was shown")]


def _by_alert(
    showing: Handshake, own: OwnCredential | None, ours: Sequence[Finding]
) -> list[Finding]:
    assert showing.alert is not None
    slug, name = alert_words(showing.alert)
    faults = {item.failure for item in ours if item.status is Status.FAILED and item.is_sure}
    words = f'it refuses our certificate with the alert "{name}"'
    if slug in faults or (slug == "client-refused" and faults):
        return [symptom(_TAKES, f"{words}; what is wrong with ours stands above")]
    if slug == "unknown-ca" and faults & {"incomplete-chain", "self-signed", "bad-signature"}:
        return [symptom(_TAKES, f"{words}; why stands above")]
    if slug == "unknown-ca" and own is not None and is_self_issued(own.chain[0]):
        return [failed(_TAKES, "self-signed", f"{words}: ours is self-signed")]
    if slug == "no-client-certificate" and "unsupported-key" in faults:
        return [symptom(_TAKES, f"{words}: TLS can't show one of this key")]
    if slug == "no-client-certificate":
        why = f"{words}: ours was kept back, as its key makes no signature that the server asks for"
        return [
            failed(_TAKES, "unsupported-key", why, likely=80),
            failed(_TAKES, slug, f"{words}: it saw none", likely=30),
        ]
    if slug == "unknown-ca" and own is not None and _lacks_issuer(own):
        # The alert is the same for either.
        why = f"{words}: it does not know {named(own.chain[0].issuer)}, which was not sent"
        return [
            failed(_TAKES, "incomplete-chain", why, likely=70),
            failed(_TAKES, "unknown-ca", why, likely=60),
        ]
    if slug == "expired":
        words += ", and by this clock nothing in our chain has"
        mostly = f"{words}: its clock is ahead of ours"
        return [
            failed(_TAKES, "clock-differs", mostly, likely=80, verdict="CERTIFICATE_EXPIRED"),
            failed(_TAKES, "expired", f"{words}: the root in its own bundle may have", likely=40),
        ]
    if showing.alert == HANDSHAKE_FAILURE:
        if "unsupported-key" in {item.failure for item in ours}:
            return [failed(_TAKES, "unsupported-key", f"{words}; see our key above", likely=80)]
        return [
            failed(_TAKES, "cipher-mismatch", words, likely=60),
            failed(_TAKES, "unsupported-key", words, likely=50),
            failed(_TAKES, "unknown-ca", f"{words}, as some do for whatever is wrong", likely=30),
        ]
    return [failed(_TAKES, slug, words)]


def _lacks_issuer(own: OwnCredential) -> bool:
    """Return whether a leaf was sent alone that no root of ours has issued."""
    path = path_within(own.chain)
    if len(path) > 1 or is_self_issued(path[0]):
        return False
    return all(root.subject != path[0].issuer for root in own.roots)


def likely_causes(
    own: OwnCredential | None,
    ours: Sequence[Finding],
    server_chain: Sequence[x509.Certificate],
    now: datetime,
    words: str = _SAID_NOTHING,
    *,
    apart: str = "",
) -> list[Finding]:
    """Rank why a server refused us when it had seen our certificate, and did not say why.

    Args:
        own: our credential.
        ours: what was found about it.
        server_chain: what the server showed.
        now: the time, aware.
        words: how it refused us.
        apart: how far the clocks differ, by the time that the server tells; empty where they agree,
            or it tells none.
    """
    found: dict[str, Finding] = {}

    def add(slug: str, why: str, likely: int) -> None:
        if slug not in found or found[slug].likely < likely:
            found[slug] = failed(_TAKES, slug, f"{words}; {why}", likely=likely, verdict=_VERDICT)

    seen = [item for item in ours if item.failure in _WEIGHTS and item.status is not Status.UNKNOWN]
    if any(_is_cause_enough(item) for item in seen):
        return [symptom(_TAKES, f"{words}; what is wrong with ours stands above")]
    for item in seen:
        assert item.failure is not None
        add(item.failure, f"our own certificate: {item.words}", _weight(item))
    if own is not None and own.chain:
        for why, likely in _other_root(own, server_chain):
            add("unknown-ca", why, likely)
        begun = now - own.chain[0].not_valid_before_utc
        if timedelta(0) <= begun < _RECENT:
            add(
                "clock-differs",
                "ours began a moment ago: a server whose clock is behind takes it not yet",
                25,
            )
    if apart:
        why = f"the clocks are {apart}: by its own, ours may have ended or not begun"
        add("clock-differs", why, _CLOCKS_SEEN)
    for slug, likely, why in _UNSEEN:
        add(slug, why, likely)
    return sorted(found.values(), key=lambda item: -item.likely)


def _is_cause_enough(item: Finding) -> bool:
    return (
        item.status is Status.FAILED
        and item.is_sure
        and _WEIGHTS[item.failure or ""] >= _CAUSE_ENOUGH
    )


def _weight(item: Finding) -> int:
    weight = _WEIGHTS[item.failure or ""]
    if item.likely:
        # What is itself but likely weighs as much less.
        return weight * item.likely // 100
    if item.status is Status.WARNING and item.failure not in _WEIGHS_AS_WARNING:
        return min(weight, 30)
    return weight


def _other_root(
    own: OwnCredential, server_chain: Sequence[x509.Certificate]
) -> list[tuple[str, int]]:
    """Compare where the server's own chain leads with where ours does."""
    if not server_chain:
        return []
    path = path_within(own.chain)
    theirs = path_within(server_chain)[-1].issuer
    ours = path[-1].issuer
    if theirs == ours:
        return []
    # A leaf alone may lack no more than the CA that joins it to the same root.
    likely = 55 if _lacks_issuer(own) else 70
    return [
        (
            f"its own chain ends in {named(theirs)}, ours in {named(ours)}: it may believe its own "
            "CA alone; renew from the present CA, or add our root to its bundle",
            likely,
        )
    ]
