"""What is wrong with a chain as it is presented: its order, its gaps, the root it leads to.

Order, gaps and root are separate checks, so that one fault does not hide another. Each fault is
reported once: a check does not repeat, under another name, what the check before it has reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from OpenSSL import crypto

from pki.diagnosis.checks.durations import format_duration
from pki.diagnosis.checks.issuer_path import (
    has_issued,
    is_ca,
    is_self_issued,
    issuer_key_differs,
    path_from_leaf,
    quote_name,
    without_duplicates,
)
from pki.diagnosis.checks.revocation import examine_revocation
from pki.diagnosis.checks.trust_path import Trust, examine_trust
from pki.diagnosis.report import Finding, Status, failed, ok, warning
from pki.errors import quote_untrusted
from pki.x509 import Fault
from pki.x509.decoding import UNREADABLE

_RENEW_CA = (
    "Renew that CA's certificate and bring the new one to whoever presents or stores it: "
    "chain.pem, bundle.pem; with a new key, issue the leaf again too"
)


def examine_chain(
    whose: str, chain: Sequence[x509.Certificate], trust: Trust | None, now: datetime
) -> list[Finding]:
    """Examine a chain as it was presented.

    Args:
        whose: for the names of the checks: ``server certificate`` or ``our certificate``.
        chain: the certificates, in the order in which they were presented.
        trust: what the chain is checked against; None where nothing is at hand.
        now: the time, aware.
    """
    try:
        leads = examine_trust(whose, chain, trust)
        return [
            *_order(whose, chain, good=any(item.status is Status.OK for item in leads)),
            *leads,
            *_authorities(whose, chain, trust.roots if trust else (), now),
            *examine_revocation(whose, chain, trust.crls if trust else (), now),
        ]
    except (*UNREADABLE, crypto.Error) as error:
        # One decoder may refuse what the other accepts.
        message = f"the chain can't be read: {quote_untrusted(error)}"
        return [
            failed(
                f"{whose}: chain",
                "malformed",
                message,
                handshake_result=Fault.PROFILE.handshake_result,
            )
        ]


def _order(whose: str, chain: Sequence[x509.Certificate], *, good: bool) -> list[Finding]:
    check = f"{whose}: chain"
    path = path_from_leaf(chain)
    once = without_duplicates(chain)
    extra = [item for item in once if item not in path]
    shape = " <- ".join(quote_name(item.subject) for item in path)
    if issuer_key_differs(chain) and good:
        # A verifier that has the root ignores other certificates of the same name.
        message = (
            f"{quote_name(path[-1].issuer)} in it has another key than the one that it leads to"
        )
        return [warning(check, "chain-extra", message)]
    if issuer_key_differs(chain):
        # The issuer matches by its name, and the signature does not.
        return [
            failed(
                check,
                "bad-signature",
                f"{quote_name(path[-1].subject)} is not signed by the key of the issuer beside it",
                handshake_result=Fault.INVALID.handshake_result,
            )
        ]
    if once != [*path, *extra]:
        return [
            warning(
                check,
                "chain-order",
                "the certificates are in the wrong order; each must be followed by its issuer: "
                + shape,
                remedy="Write the leaf first, then its issuer, and so on",
            )
        ]
    if extra:
        message = ", ".join(quote_name(item.subject) for item in extra[:3])
        if is_ca(extra[0]) and not is_self_issued(path[-1]):
            # Perhaps the CA below it is missing; whether that matters, the trust check says.
            message += f", and what leads from {quote_name(path[-1].subject)} to it was not sent"
        return [
            warning(
                check, "chain-extra", f"it holds certificates that do not belong there: {message}"
            )
        ]
    if len(once) < len(chain):
        return [
            warning(
                check,
                "chain-extra",
                f"it holds a certificate twice; without the repetition: {shape}",
            )
        ]
    if len(path) > 1 and is_self_issued(path[-1]):
        return [ok(check, f"{shape} (the root need not be sent)")]
    return [ok(check, shape)]


def _authorities(
    whose: str,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> list[Finding]:
    """Examine the times of the CAs above a leaf: an expired CA ends all that it signed."""
    check = f"{whose}: times of its CAs"
    above = path_from_leaf(chain)[1:]
    top = above[-1] if above else chain[0]
    anchors = [root for root in roots if root == top or has_issued(root, top)]
    # Of several roots with the same key, the verifier takes one that is valid.
    if anchors and all(_invalid_time(root, now) for root in anchors):
        above = [*(item for item in above if item not in anchors), anchors[0]]
    for item in above:
        invalid = _invalid_time(item, now)
        if invalid:
            slug, message = invalid
            handshake_result = (
                Fault.EXPIRED if slug == "expired" else Fault.NOT_YET_VALID
            ).handshake_result
            what = f"{quote_name(item.subject)}, which the certificate depends on, {message}"
            remedy = _RENEW_CA if slug == "expired" else ""
            return [failed(check, slug, what, remedy=remedy, handshake_result=handshake_result)]
    return [ok(check, "all are valid now")] if above or anchors else []


def _invalid_time(certificate: x509.Certificate, now: datetime) -> tuple[str, str] | None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        return (
            "expired",
            f"expired {format_duration(now - end)} ago, at {end:%Y-%m-%d %H:%M:%S} UTC",
        )
    if now < begin:
        return (
            "not-yet-valid",
            f"begins in {format_duration(begin - now)}, at {begin:%Y-%m-%d %H:%M:%S} UTC",
        )
    return None
