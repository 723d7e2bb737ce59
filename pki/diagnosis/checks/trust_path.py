"""Whether a chain leads to a root that is believed, and if not, what stands between.

OpenSSL's store, without its strict flag and without times, says whether gRPC's would find the path.
Why it finds none can't always be told: a chain that ends at a CA unknown here lacks a CA between,
or leads to another root. It is told surely where only one of the two can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from OpenSSL import crypto

from pki.diagnosis.checks.issuer_path import (
    displaced,
    is_ca,
    is_self_issued,
    issued,
    named,
    path_within,
)
from pki.diagnosis.report import Finding, failed, ok, unknown
from pki.errors import quote_untrusted
from pki.x509 import Crl, Fault
from pki.x509.profiles.rules import find

_NO_TIMES = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, include/openssl/x509_vfy.h.in
_BAD_SIGNATURE = {7}
_CONSTRAINED = {47, 48, 49, 50, 51, 52, 53}
_NO_ISSUER = {2, 18, 19, 20, 21, 27}
_WEAK = {66, 67, 68}
_UNTRUSTED = Fault.UNTRUSTED.verdict


@dataclass(frozen=True, slots=True)
class Trust:
    """What a chain is held against.

    Args:
        roots: those to believe.
        crls: the revocation lists at hand.
        known: CAs that are known to lead to a root.
        whose: whose they are, for the words: ``our bundle``.
        decides: whether these are the roots that the verifier itself goes by, and the chain is what
            reaches it: then what it does not find, is not there for it.
    """

    roots: tuple[x509.Certificate, ...]
    crls: tuple[Crl, ...] = ()
    known: tuple[x509.Certificate, ...] = ()
    whose: str = "our bundle"
    decides: bool = False


def examine_trust(
    whose: str, chain: Sequence[x509.Certificate], trust: Trust | None
) -> list[Finding]:
    """Examine whom a chain leads to.

    Args:
        whose: for the question: ``server certificate`` or ``our certificate``.
        chain: the certificates, in the order in which they were presented.
        trust: what it is held against; None where nothing is at hand.
    """
    question = f"{whose}: trust"
    if trust is None or not trust.roots:
        return [
            unknown(
                question,
                "no roots are at hand to hold it against",
                "Name them: --bundle FILE, or --credential DIR",
            )
        ]
    code, depth, words = _openssl(chain, trust.roots)
    if code == 0:
        return [ok(question, f"leads to a root of {trust.whose}")]
    if displaced(chain):
        # Said already, of the chain by itself: no root would make it good.
        return [unknown(question, "it leads nowhere as long as its signature does not fit")]
    if code in _BAD_SIGNATURE:
        return [
            failed(
                question,
                "bad-signature",
                f"the certificate at depth {depth} is not signed by the key of its issuer: a root "
                "or CA of the same name and another key",
                verdict=Fault.INVALID.verdict,
            )
        ]
    if code in _CONSTRAINED:
        return [
            failed(
                question,
                "name-constraint",
                "one of its names lies outside what its CA may name",
                verdict=Fault.INVALID.verdict,
            )
        ]
    if code in _WEAK:
        return [
            failed(
                question, "weak-signature", f"OpenSSL finds it too weak: {quote_untrusted(words)}"
            )
        ]
    if code not in _NO_ISSUER:
        at = path_within(chain)
        what = named(at[depth].subject) if depth < len(at) else f"the certificate at depth {depth}"
        said = f"OpenSSL refuses the path at {what}: {quote_untrusted(words)}"
        return [failed(question, "malformed", said, verdict=Fault.INVALID.verdict)]
    return _no_issuer(question, chain, trust)


def _no_issuer(question: str, chain: Sequence[x509.Certificate], trust: Trust) -> list[Finding]:
    path = path_within(chain)
    top = path[-1]
    ours = ", ".join(named(root.subject) for root in trust.roots[:3])
    if any(root.subject == top.issuer for root in trust.roots):
        words = (
            f"its root {named(top.issuer)} has the name of one in {trust.whose}, and another key: "
            "the CA was made anew"
        )
        return [failed(question, "unknown-ca", words, verdict=_UNTRUSTED)]
    if is_self_issued(top):
        if len(path) == 1:
            words = f"it is self-signed: {named(top.subject)}; {trust.whose} holds {ours}"
            return [failed(question, "self-signed", words, verdict=_UNTRUSTED)]
        words = f"its chain ends in {named(top.subject)}; {trust.whose} holds {ours}"
        return [failed(question, "unknown-ca", words, verdict=_UNTRUSTED)]
    if any(issued(item, top) for item in trust.known):
        words = f"its issuer {named(top.issuer)}, which leads to a root, was not sent with it"
        return [failed(question, "incomplete-chain", words, verdict=_UNTRUSTED)]
    words = f"its chain ends at {named(top.issuer)}, and {trust.whose} holds {ours}"
    gap = any(is_ca(item) for item in chain if item not in path)
    if not gap and (_is_full(path, trust.roots) or (trust.decides and len(path) > 1)):
        remedy = (
            f"Bring the root of {named(top.issuer)} to {trust.whose}, or issue the certificate "
            "from a CA that it holds"
        )
        return [failed(question, "unknown-ca", words, remedy=remedy, verdict=_UNTRUSTED)]
    # Whether that one is a CA between or another root stands in no certificate at hand; that it is
    # one between is likely where none was sent, or one that does not join on.
    missing, other = (70, 60) if len(path) == 1 else (40, 60)
    return [
        failed(question, "incomplete-chain", words, likely=missing, verdict=_UNTRUSTED),
        failed(question, "unknown-ca", words, likely=other, verdict=_UNTRUSTED),
    ]


def _is_full(path: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> bool:
    """Return whether no CA can be missing: no root lets one more stand above those that were sent.

    RFC 5280 section 4.2.1.9: a root's pathLenConstraint is how many CAs may follow it.
    """
    between = len(path) - 1
    for root in roots:
        basic = find(root, x509.BasicConstraints)
        most = basic.value.path_length if basic is not None else None
        if most is None or most > between:
            return False
    return True


def _openssl(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> tuple[int, int, str]:
    """Give OpenSSL's error code, depth and words; 0 if there is a path."""
    store = crypto.X509Store()
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))
    store.set_flags(_NO_TIMES)
    leaf, *others = (crypto.X509.from_cryptography(item) for item in chain)
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        return int(error.errors[0]), int(error.errors[1]), str(error.errors[2])
    return 0, 0, ""
