"""What is wrong with a chain as it is presented: its order, what is missing, whom it leads to.

Each is a question of its own, so that one fault does not hide another, and each fault has one
answer: what one question has found, the next does not find again under another name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from OpenSSL import crypto

from pki.diagnosis.checks.issuer_path import (
    displaced,
    is_ca,
    is_self_issued,
    issued,
    named,
    path_within,
    without_twice,
)
from pki.diagnosis.checks.revocation import examine_revocation
from pki.diagnosis.checks.spans import span
from pki.diagnosis.checks.trust_path import Trust, examine_trust
from pki.diagnosis.report import Finding, Status, failed, ok, warning
from pki.errors import quote_untrusted
from pki.x509 import Fault
from pki.x509.decoding import UNREADABLE

_RENEW_CA = (
    "Renew that CA's certificate and bring the new one to whoever shows or holds it: chain.pem, "
    "bundle.pem; under a new key, issue the leaf anew as well"
)


def examine_chain(
    whose: str, chain: Sequence[x509.Certificate], trust: Trust | None, now: datetime
) -> list[Finding]:
    """Examine a chain as it was presented.

    Args:
        whose: for the questions: ``server certificate`` or ``our certificate``.
        chain: the certificates, in the order in which they were presented.
        trust: what it is held against; None where nothing is at hand.
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
        # What one decoder takes, the other may not.
        words = f"the chain can't be read: {quote_untrusted(error)}"
        return [failed(f"{whose}: chain", "malformed", words, verdict=Fault.PROFILE.verdict)]


def _order(whose: str, chain: Sequence[x509.Certificate], *, good: bool) -> list[Finding]:
    question = f"{whose}: chain"
    path = path_within(chain)
    once = without_twice(chain)
    extra = [item for item in once if item not in path]
    shape = " <- ".join(named(item.subject) for item in path)
    if displaced(chain) and good:
        # A verifier that has the root looks at no other of its name.
        words = f"{named(path[-1].issuer)} in it has another key than the one that it leads to"
        return [warning(question, "chain-extra", words)]
    if displaced(chain):
        # By its name it belongs there, and the signature says no.
        return [
            failed(
                question,
                "bad-signature",
                f"{named(path[-1].subject)} is not signed by the key of the issuer beside it",
                verdict=Fault.INVALID.verdict,
            )
        ]
    if once != [*path, *extra]:
        return [
            warning(
                question,
                "chain-order",
                "the certificates stand in the wrong order; each must be followed by its issuer: "
                + shape,
                remedy="Write the leaf first, then its issuer, and so on",
            )
        ]
    if extra:
        words = ", ".join(named(item.subject) for item in extra[:3])
        if is_ca(extra[0]) and not is_self_issued(path[-1]):
            # It may as well be what stands below it that is missing: that is a question of trust.
            words += f", and what leads from {named(path[-1].subject)} to it was not sent"
        return [warning(question, "chain-extra", f"it holds what does not belong there: {words}")]
    if len(once) < len(chain):
        return [
            warning(question, "chain-extra", f"a certificate stands in it twice; once: {shape}")
        ]
    if len(path) > 1 and is_self_issued(path[-1]):
        return [ok(question, f"{shape} (the root need not be sent)")]
    return [ok(question, shape)]


def _authorities(
    whose: str,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> list[Finding]:
    """Examine the times of the CAs above a leaf: with one that has ended, all it signed has."""
    question = f"{whose}: times of its CAs"
    above = path_within(chain)[1:]
    top = above[-1] if above else chain[0]
    anchors = [root for root in roots if root == top or issued(root, top)]
    # Of roots with one key the verifier takes the one that is good.
    if anchors and all(_off(root, now) for root in anchors):
        above = [*(item for item in above if item not in anchors), anchors[0]]
    for item in above:
        off = _off(item, now)
        if off:
            slug, words = off
            verdict = (Fault.EXPIRED if slug == "expired" else Fault.NOT_YET_VALID).verdict
            what = f"{named(item.subject)}, which the certificate hangs on, {words}"
            remedy = _RENEW_CA if slug == "expired" else ""
            return [failed(question, slug, what, remedy=remedy, verdict=verdict)]
    return [ok(question, "all are valid now")] if above or anchors else []


def _off(certificate: x509.Certificate, now: datetime) -> tuple[str, str] | None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        return "expired", f"ended {span(now - end)} ago, at {end:%Y-%m-%d %H:%M:%S} UTC"
    if now < begin:
        return "not-yet-valid", f"begins in {span(begin - now)}, at {begin:%Y-%m-%d %H:%M:%S} UTC"
    return None
