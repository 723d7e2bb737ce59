"""What is wrong with a chain as it is presented: its order, its gaps, the root it leads to.

Order, gaps and root are separate checks, so that one fault does not hide another. Each fault is
reported once: a check does not repeat, under another name, what the check before it has reported.
The CAs that count are those of the path that verifiers build. Where there are no roots to build
one, they are those that were sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from OpenSSL import crypto

from pki.diagnosis.checks.certificates.issuer_path import (
    is_ca,
    is_self_issued,
    issuer_key_differs,
    path_from_leaf,
    quote_name,
    without_duplicates,
)
from pki.diagnosis.checks.certificates.openssl_errors import EXPIRED, NOT_YET_VALID
from pki.diagnosis.checks.certificates.revocation import examine_revocation
from pki.diagnosis.checks.certificates.strictness import examine_strictness
from pki.diagnosis.checks.certificates.trust_path import Trust, examine_trust
from pki.diagnosis.checks.certificates.usage import examine_ca_usages
from pki.diagnosis.checks.certificates.verifier_path import BuiltPath, build_path
from pki.diagnosis.checks.durations import format_duration
from pki.diagnosis.report import Finding, failed, ok, warning
from pki.errors import quote_untrusted
from pki.x509 import Fault, Purpose
from pki.x509.decoding import UNREADABLE

_RENEW_CA = (
    "Renew that CA's certificate and bring the new one to whoever presents or stores it: "
    "chain.pem, bundle.pem; with a new key, issue the leaf again too"
)

_LEAVE_OUT = (
    "Send the chain without it, and bring the root in its place to whoever has only the older one"
)


def examine_chain(
    whose: str,
    chain: Sequence[x509.Certificate],
    trust: Trust | None,
    purpose: Purpose,
    now: datetime,
) -> list[Finding]:
    """Examine a chain as it was presented.

    Args:
        whose: for the names of the checks: ``server certificate`` or ``our certificate``.
        chain: the certificates, in the order in which they were presented.
        trust: what the chain is checked against; None where nothing is at hand.
        purpose: the end at which the chain is presented.
        now: the time, aware.
    """
    roots = trust.roots if trust else ()
    try:
        built = build_path(chain, roots)
        whole = built.code == 0
        if not whole and (partial := build_path(chain, roots, partial=True)).code == 0:
            built = partial
        timed = build_path(chain, roots, at=now, partial=not whole)
        path = timed.certificates or built.certificates or tuple(path_from_leaf(chain))
        return [
            *_order(whose, chain, good=built.code == 0),
            *examine_trust(whose, chain, trust, built, is_whole=whole),
            *_authorities(whose, chain, path, timed if built.certificates else None, now),
            *examine_ca_usages(whose, path, purpose, roots),
            *examine_strictness(whose, chain, path, roots if whole else ()),
            *examine_revocation(whose, path, trust.crls if trust else (), now),
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
    path: Sequence[x509.Certificate],
    timed: BuiltPath | None,
    now: datetime,
) -> list[Finding]:
    """Examine the times of the CAs above a leaf: an expired CA ends all that it signed.

    Args:
        whose: for the name of the check.
        chain: the certificates, as they were presented.
        path: the certificates that count, from the leaf upward.
        timed: what OpenSSL says of the times; None if there is no path to a root.
        now: the time, aware.
    """
    check = f"{whose}: times of its CAs"
    above = list(path[1:])
    if timed is not None and timed.code in {NOT_YET_VALID, EXPIRED} and timed.refused is not None:
        # Where several paths are possible, this is the one that a verifier takes now.
        above = [timed.refused, *above]
    for item in above:
        invalid = _invalid_time(item, now)
        if invalid and item != chain[0]:
            slug, message = invalid
            handshake_result = (
                Fault.EXPIRED if slug == "expired" else Fault.NOT_YET_VALID
            ).handshake_result
            what = f"{quote_name(item.subject)}, which the certificate depends on, {message}"
            remedy = _RENEW_CA if slug == "expired" else ""
            return [failed(check, slug, what, remedy=remedy, handshake_result=handshake_result)]
    for item in path_from_leaf(chain)[1:]:
        invalid = _invalid_time(item, now)
        if invalid and item not in path:
            slug, message = invalid
            what = (
                f"{quote_name(item.subject)} of {quote_name(item.issuer)} was sent too, and "
                f"{message}: whoever has {quote_name(path[-1].subject)} as a root does not need it"
            )
            return [warning(check, slug, what, remedy=_LEAVE_OUT)]
    return [ok(check, "all are valid now")] if above else []


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
