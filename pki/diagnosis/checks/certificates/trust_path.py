"""Whether a chain leads to a trusted root, and if not, why.

Why OpenSSL finds no path is not always known: a chain that ends at an unknown CA either lacks an
intermediate CA, or leads to another root. The cause is sure only where one of the two is
impossible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from pki.diagnosis.checks.certificates.issuer_path import (
    has_issued,
    is_ca,
    is_self_issued,
    issuer_key_differs,
    path_from_leaf,
    quote_name,
    same_name,
)
from pki.diagnosis.checks.certificates.openssl_errors import failures_of
from pki.diagnosis.checks.certificates.verifier_path import BuiltPath
from pki.diagnosis.report import Finding, failed, ok, unknown, warning
from pki.errors import quote_untrusted
from pki.x509 import Crl, Fault
from pki.x509.profiles.rules import find

_NO_ISSUER = {2, 18, 19, 20, 21, 27}
# Name constraints of a kind that OpenSSL does not know, or that are malformed.
_NOT_EVALUATED = {49, 51, 52, 53}
_MESSAGES = {
    "bad-signature": "is not signed by the key of its issuer: a root or CA of the same name and "
    "another key",
    "name-constraint": "holds a name that lies outside what its CA may name",
    "issuer-not-ca": "may not sign certificates, and stands above the leaf",
    "path-length": "may not have so many CAs below it",
}
_UNTRUSTED = Fault.UNTRUSTED.handshake_result


@dataclass(frozen=True, slots=True)
class Trust:
    """What a chain is checked against.

    Args:
        roots: the trusted roots.
        crls: the revocation lists at hand.
        known_cas: CAs that are known to lead to a root.
        whose: whose roots they are, for messages: ``our bundle``.
        is_authoritative: whether these are the verifier's own roots, and the chain is what the
            verifier receives: what is missing here, the verifier lacks too.
    """

    roots: tuple[x509.Certificate, ...]
    crls: tuple[Crl, ...] = ()
    known_cas: tuple[x509.Certificate, ...] = ()
    whose: str = "our bundle"
    is_authoritative: bool = False


def examine_trust(
    whose: str,
    chain: Sequence[x509.Certificate],
    trust: Trust | None,
    built: BuiltPath,
    *,
    is_whole: bool,
) -> list[Finding]:
    """Examine which root a chain leads to.

    Args:
        whose: for the name of the check: ``server certificate`` or ``our certificate``.
        chain: the certificates, in the order in which they were presented.
        trust: what the chain is checked against; None where nothing is at hand.
        built: the path from the chain to a root, without times.
        is_whole: whether the path ends at a root, and not at another certificate of the bundle.
    """
    check = f"{whose}: trust"
    if trust is None or not trust.roots:
        return [
            unknown(
                check,
                "no roots are at hand to check it against",
                "Name them: --bundle FILE, or --credential DIR",
            )
        ]
    if built.code == 0 and is_whole:
        return [ok(check, f"leads to a root of {trust.whose}")]
    if built.code == 0:
        return [_without_root(check, built.certificates[-1], trust)]
    if issuer_key_differs(chain):
        # The chain check has reported this: no root would make the chain valid.
        return [unknown(check, "it leads to no root as long as its signature is wrong")]
    if built.code in _NO_ISSUER:
        return _no_issuer(check, chain, trust)
    what = f"the certificate at depth {built.depth}"
    if built.refused is not None:
        what = quote_name(built.refused.subject)
    slug = failures_of(built.code)[0]
    means = "is refused" if built.code in _NOT_EVALUATED else _MESSAGES.get(slug, "is refused")
    # OpenSSL's own text goes with every answer: it says what to look up.
    message = f"{what} {means} (OpenSSL: {quote_untrusted(built.message)})"
    return [failed(check, slug, message, handshake_result=Fault.INVALID.handshake_result)]


def _without_root(check: str, top: x509.Certificate, trust: Trust) -> Finding:
    """Return that a path ends at a certificate of the bundle that is no root."""
    message = (
        f"leads to {quote_name(top.subject)} of {trust.whose}, which is no root: gRPC, Go and "
        "Python 3.13 accept that, OpenSSL by default and handfast do not"
    )
    remedy = f"Put the root {quote_name(top.issuer)} into {trust.whose} in its place"
    if is_self_issued(top) or not is_ca(top):
        remedy = f"Put the root of the CA {quote_name(top.issuer)} into {trust.whose} in its place"
    return warning(check, "unknown-ca", message, remedy=remedy)


def _no_issuer(check: str, chain: Sequence[x509.Certificate], trust: Trust) -> list[Finding]:
    path = path_from_leaf(chain)
    top = path[-1]
    ours = ", ".join(quote_name(root.subject) for root in trust.roots[:3])
    if any(
        same_name(root.subject, top.issuer) and not has_issued(root, top) for root in trust.roots
    ):
        message = (
            f"its root {quote_name(top.issuer)} has the name of one in {trust.whose}, and another "
            "key: the CA was made again"
        )
        return [failed(check, "unknown-ca", message, handshake_result=_UNTRUSTED)]
    if is_self_issued(top):
        if len(path) == 1:
            message = f"it is self-signed: {quote_name(top.subject)}; {trust.whose} holds {ours}"
            return [failed(check, "self-signed", message, handshake_result=_UNTRUSTED)]
        message = f"its chain ends in {quote_name(top.subject)}; {trust.whose} holds {ours}"
        return [failed(check, "unknown-ca", message, handshake_result=_UNTRUSTED)]
    if any(has_issued(item, top) for item in trust.known_cas):
        message = (
            f"its issuer {quote_name(top.issuer)}, which leads to a trusted root, was not sent "
            "with it"
        )
        return [failed(check, "incomplete-chain", message, handshake_result=_UNTRUSTED)]
    message = f"its chain ends at {quote_name(top.issuer)}, and {trust.whose} holds {ours}"
    gap = any(is_ca(item) for item in chain if item not in path)
    if not gap and (_is_full(path, trust.roots) or (trust.is_authoritative and len(path) > 1)):
        remedy = (
            f"Bring the root of {quote_name(top.issuer)} to {trust.whose}, or issue the "
            "certificate from a CA that it holds"
        )
        return [failed(check, "unknown-ca", message, remedy=remedy, handshake_result=_UNTRUSTED)]
    # No certificate at hand says whether the missing issuer is an intermediate CA or another root.
    # An intermediate CA is likelier where the chain holds none, or none that fits.
    missing, other = (70, 60) if len(path) == 1 else (40, 60)
    return [
        failed(check, "incomplete-chain", message, likelihood=missing, handshake_result=_UNTRUSTED),
        failed(check, "unknown-ca", message, likelihood=other, handshake_result=_UNTRUSTED),
    ]


def _is_full(path: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> bool:
    """Return whether no CA can be missing: no root allows one more above those that were sent.

    RFC 5280 section 4.2.1.9: a root's pathLenConstraint is how many CAs may follow it.
    """
    between = len(path) - 1
    for root in roots:
        basic = find(root, x509.BasicConstraints)
        most = basic.value.path_length if basic is not None else None
        if most is None or most > between:
            return False
    return True
