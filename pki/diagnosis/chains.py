"""What is wrong with a chain as it is presented: its order, what is missing, whom it leads to.

OpenSSL's store, without its strict flag and without times, says whether gRPC's would find the path;
times, names and usage are questions of their own, so that one fault does not hide another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from OpenSSL import crypto

from pki.diagnosis.finding import Finding, failed, ok, unknown, warning
from pki.errors import shown
from pki.x509 import Fault, RevocationList
from pki.x509.decoding import UNREADABLE
from pki.x509.revocation import IssuerId

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
        lists: the revocation lists at hand.
        known: CAs that are known to lead to a root.
        whose: whose they are, for the words: ``our bundle``.
    """

    roots: tuple[x509.Certificate, ...]
    lists: tuple[RevocationList, ...] = ()
    known: tuple[x509.Certificate, ...] = ()
    whose: str = "our bundle"


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
        return [
            *_order(whose, chain),
            *_trust(whose, chain, trust),
            *_revocation(whose, chain, trust, now),
        ]
    except (*UNREADABLE, crypto.Error) as error:
        # What one decoder takes, the other may not.
        words = f"the chain can't be read: {shown(error)}"
        return [failed(f"{whose}: chain", "malformed", words, verdict=Fault.PROFILE.verdict)]


def path_within(chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Give the certificates of a chain that lead from its leaf upward, in that order."""
    path = [chain[0]]
    others = list(chain[1:])
    while True:
        issuer = next((item for item in others if _issued(item, path[-1])), None)
        if issuer is None or is_self_issued(path[-1]):
            return path
        others.remove(issuer)
        path.append(issuer)


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate names itself as its issuer."""
    return certificate.subject == certificate.issuer


def named(name: x509.Name) -> str:
    """Write a distinguished name, escaped."""
    return shown(name.rfc4514_string())


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Tell whether one certificate names the other as its issuer, and is signed by it."""
    if issuer.subject != certificate.issuer or issuer == certificate:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return False
    except (*UNREADABLE, UnsupportedAlgorithm):
        # An algorithm that can't be checked here: the name alone speaks, and OpenSSL judges it.
        return True
    return True


def _order(whose: str, chain: Sequence[x509.Certificate]) -> list[Finding]:
    question = f"{whose}: chain"
    path = path_within(chain)
    extra = [item for item in chain if item not in path]
    shape = " <- ".join(named(item.subject) for item in path)
    if extra and any(item.subject == path[-1].issuer for item in extra):
        # By its name it belongs there, and the signature says no.
        return [
            failed(
                question,
                "bad-signature",
                f"{named(path[-1].subject)} is not signed by the key of the issuer beside it",
                verdict=Fault.INVALID.verdict,
            )
        ]
    if list(chain) != [*path, *extra]:
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
        return [warning(question, "chain-extra", f"it holds what does not belong there: {words}")]
    if len(path) > 1 and is_self_issued(path[-1]):
        return [ok(question, f"{shape} (the root need not be sent)")]
    return [ok(question, shape)]


def _trust(whose: str, chain: Sequence[x509.Certificate], trust: Trust | None) -> list[Finding]:
    question = f"{whose}: trust"
    if trust is None or not trust.roots:
        return [
            unknown(
                question,
                "no roots are at hand to hold it against",
                "Name them: --bundle FILE, or --credential DIR",
            )
        ]
    code, depth = _openssl(chain, trust.roots)
    top = path_within(chain)[-1]
    if code == 0:
        return [ok(question, f"leads to a root of {trust.whose}")]
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
        return [failed(question, "weak-signature", "OpenSSL finds a key or signature too weak")]
    if code not in _NO_ISSUER:
        words = f"OpenSSL refuses the path at depth {depth}, error {code}"
        return [failed(question, "malformed", words, verdict=Fault.INVALID.verdict)]
    return _no_issuer(question, chain, top, trust)


def _no_issuer(
    question: str, chain: Sequence[x509.Certificate], top: x509.Certificate, trust: Trust
) -> list[Finding]:
    ours = ", ".join(named(root.subject) for root in trust.roots[:3])
    if any(root.subject == top.issuer for root in trust.roots):
        words = (
            f"its root {named(top.issuer)} has the name of one in {trust.whose}, and another key: "
            "the CA was made anew"
        )
        return [failed(question, "unknown-ca", words, verdict=_UNTRUSTED)]
    if is_self_issued(top):
        if len(chain) == 1:
            words = f"it is self-signed: {named(top.subject)}; {trust.whose} holds {ours}"
            return [failed(question, "self-signed", words, verdict=_UNTRUSTED)]
        words = f"its chain ends in {named(top.subject)}; {trust.whose} holds {ours}"
        return [failed(question, "unknown-ca", words, verdict=_UNTRUSTED)]
    if any(item.subject == top.issuer for item in trust.known):
        words = f"its issuer {named(top.issuer)}, which leads to a root, was not sent with it"
        return [failed(question, "incomplete-chain", words, verdict=_UNTRUSTED)]
    words = f"its chain ends at {named(top.issuer)}, and {trust.whose} holds {ours}"
    # Whether that one is a CA between or another root stands in no certificate at hand.
    missing, other = (70, 60) if len(chain) == 1 else (40, 60)
    return [
        failed(question, "incomplete-chain", words, likely=missing, verdict=_UNTRUSTED),
        failed(question, "unknown-ca", words, likely=other, verdict=_UNTRUSTED),
    ]


def _openssl(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> tuple[int, int]:
    """Give OpenSSL's error code and depth; 0 if there is a path."""
    store = crypto.X509Store()
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))
    store.set_flags(_NO_TIMES)
    leaf, *others = (crypto.X509.from_cryptography(item) for item in chain)
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        return int(error.errors[0]), int(error.errors[1])
    return 0, 0


def _revocation(
    whose: str, chain: Sequence[x509.Certificate], trust: Trust | None, now: datetime
) -> list[Finding]:
    question = f"{whose}: revocation"
    if trust is None or not trust.lists:
        return [
            unknown(
                question,
                "no revocation list is at hand",
                "handfast refuses peers without one unless revocation is set to when-present",
            )
        ]
    by_issuer = {item.issuer: item for item in trust.lists}
    answers: list[Finding] = []
    for depth, certificate in enumerate(path_within(chain)):
        if is_self_issued(certificate):
            break
        found = by_issuer.get(IssuerId.of(certificate))
        answers.append(_on_list(question, certificate, found, depth, now))
    faults = [item for item in answers if item.failure]
    return faults[:1] or answers[:1]


def _on_list(
    question: str,
    certificate: x509.Certificate,
    found: RevocationList | None,
    depth: int,
    now: datetime,
) -> Finding:
    what = "the leaf" if depth == 0 else f"the CA {named(certificate.subject)}"
    if found is None:
        return warning(
            question,
            "no-list",
            f"no list is at hand of {named(certificate.issuer)}, the issuer of {what}",
            remedy="Bring its list; handfast refuses the peer without it where revocation is "
            "required",
        )
    if certificate.serial_number in found.revoked:
        return failed(
            question,
            "issuer-revoked" if depth else "revoked",
            f"{what} (serial {certificate.serial_number:x}) stands on list {found.number}",
            verdict=Fault.REVOKED.verdict,
        )
    if now > found.next_update:
        return failed(
            question,
            "stale-list",
            f"the list of {named(certificate.issuer)} ended at "
            f"{found.next_update:%Y-%m-%d %H:%M:%S} UTC: nobody can tell what was revoked since",
            verdict=Fault.REVOCATION_UNKNOWN.verdict,
        )
    if now < found.this_update:
        return failed(
            question,
            "clock-differs",
            f"the list of {named(certificate.issuer)} begins at "
            f"{found.this_update:%Y-%m-%d %H:%M:%S} UTC, which is yet to come by this clock",
            verdict=Fault.REVOCATION_UNKNOWN.verdict,
        )
    return ok(
        question,
        f"not revoked; list {found.number} is good until {found.next_update:%Y-%m-%d %H:%M:%S} UTC",
    )
