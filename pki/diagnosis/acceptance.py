"""Whether a server takes our certificate, and if not, why: seen, or concluded and ranked.

A gRPC server that refuses a certificate closes the connection and says nothing, whatever the
reason, and names no CAs when it asks. Then the causes are ranked by what this end can see: our own
times, chain, key and usage, and the server's root against ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509

from pki.diagnosis.chains import is_self_issued, named, path_within
from pki.diagnosis.finding import Finding, Status, failed, ok, unknown, warning
from pki.diagnosis.handshake import End, Handshake
from pki.diagnosis.own import OwnCredential

_ASKS = "asks for a certificate"
_TAKES = "takes our certificate"
_SAID_NOTHING = (
    "the server closed the connection when it had seen our certificate, and said no word"
)
_VERDICT = "PEER_CONNECTION_CLOSED"
_RECENT = timedelta(minutes=5)

# RFC 8446 section 6: what each alert says of the certificate that was shown.
_ALERTS = {
    42: ("client-refused", "bad certificate"),
    43: ("wrong-usage", "unsupported certificate"),
    44: ("revoked", "certificate revoked"),
    45: ("expired", "certificate expired"),
    46: ("client-refused", "certificate unknown"),
    48: ("unknown-ca", "unknown CA"),
    49: ("client-refused", "access denied"),
    51: ("bad-signature", "decrypt error"),
    116: ("no-client-certificate", "certificate required"),
    120: ("not-http2", "no application protocol"),
}
_HANDSHAKE_FAILURE = 40
# How likely each fault of ours is the one that a silent server refuses us for.
_WEIGHTS = {
    "expired": 95,
    "not-yet-valid": 95,
    "self-signed": 90,
    "wrong-usage": 90,
    "ca-as-leaf": 88,
    "unsupported-key": 90,
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


def alert_words(alert: int) -> tuple[str, str]:
    """Give what an alert says of the certificate that was shown: the failure's slug, its name."""
    return _ALERTS.get(alert, ("client-refused", f"number {alert}"))


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
    told = {116: "and says so", _HANDSHAKE_FAILURE: "and ends the handshake"}
    words = told.get(bare.alert or 0, "and closes the connection without a word")
    return [
        failed(
            _TAKES,
            "no-client-certificate",
            f"it asks for a certificate, {what}, {words}",
            remedy="Show it one: --credential DIR" if own is None else "",
            verdict="PEER_CONNECTION_CLOSED",
        )
    ]


def _failed_here(showing: Handshake) -> Finding:
    """Say why TLS failed at our own end, in the handshake with our certificate alone."""
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
    return [ok(_TAKES, "it goes on after it was shown")]


def _by_alert(
    showing: Handshake, own: OwnCredential | None, ours: Sequence[Finding]
) -> list[Finding]:
    assert showing.alert is not None
    slug, name = alert_words(showing.alert)
    faults = {item.failure for item in ours if item.status is Status.FAILED and item.is_sure}
    words = f'it refuses our certificate with the alert "{name}"'
    if slug == "unknown-ca" and own is not None and _lacks_issuer(own):
        return [failed(_TAKES, "incomplete-chain", f"{words}; our chain lacks its issuing CA")]
    if slug == "client-refused":
        if faults:
            return [
                failed(_TAKES, "client-refused", f"{words}; what is wrong with ours stands above")
            ]
        return [failed(_TAKES, slug, words)]
    if slug == "expired" and slug not in faults:
        words += ", and by this clock it has not ended: the clocks differ"
        return [failed(_TAKES, "clock-differs", words, verdict="CERTIFICATE_EXPIRED")]
    return [failed(_TAKES, slug, words)]


def _lacks_issuer(own: OwnCredential) -> bool:
    top = path_within(own.chain)[-1]
    return not is_self_issued(top) and all(root.subject != top.issuer for root in own.roots)


def likely_causes(
    own: OwnCredential | None,
    ours: Sequence[Finding],
    server_chain: Sequence[x509.Certificate],
    now: datetime,
    words: str = _SAID_NOTHING,
) -> list[Finding]:
    """Rank why a server refused us when it had seen our certificate, and did not say why.

    Args:
        own: our credential.
        ours: what was found about it.
        server_chain: what the server showed.
        now: the time, aware.
        words: how it refused us.
    """
    found: dict[str, Finding] = {}

    def add(slug: str, why: str, likely: int) -> None:
        if slug not in found or found[slug].likely < likely:
            found[slug] = failed(_TAKES, slug, f"{words}; {why}", likely=likely, verdict=_VERDICT)

    for item in ours:
        if item.failure in _WEIGHTS and item.status is not Status.UNKNOWN:
            weight = _WEIGHTS[item.failure]
            if item.status is Status.WARNING:
                weight = min(weight, 30)
            add(item.failure, f"our own certificate: {item.words}", weight)
    if own is not None and own.chain:
        if own.roots and _lacks_issuer(own):
            add("incomplete-chain", "our chain lacks its issuing CA", _WEIGHTS["incomplete-chain"])
        for why, likely in _other_root(own, server_chain):
            add("unknown-ca", why, likely)
        begun = now - own.chain[0].not_valid_before_utc
        if timedelta(0) <= begun < _RECENT:
            add(
                "clock-differs",
                "ours began a moment ago: a server whose clock is behind takes it not yet",
                25,
            )
    add("unknown-ca", "its bundle may not hold our root, or hold the one from before", 35)
    return sorted(found.values(), key=lambda item: -item.likely)


def _other_root(
    own: OwnCredential, server_chain: Sequence[x509.Certificate]
) -> list[tuple[str, int]]:
    """Compare where the server's own chain leads with where ours does."""
    if not server_chain:
        return []
    theirs = path_within(server_chain)[-1].issuer
    ours = path_within(own.chain)[-1].issuer
    if theirs == ours:
        return []
    return [
        (
            f"its own chain ends in {named(theirs)}, ours in {named(ours)}: it may believe its own "
            "CA alone; renew from the present CA, or add our root to its bundle",
            70,
        )
    ]
