"""Which of the certificates that were presented lead from the leaf upward."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from pki.errors import quote_untrusted
from pki.x509.decoding import UNREADABLE
from pki.x509.profiles.rules import find


def path_within(chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Return the certificates of a chain that lead from its leaf upward, in that order."""
    path = [chain[0]]
    others = [item for item in without_twice(chain) if item != chain[0]]
    while True:
        issuer = next((item for item in others if issued(item, path[-1])), None)
        if issuer is None or is_self_issued(path[-1]):
            return path
        others.remove(issuer)
        path.append(issuer)


def without_twice(chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Return the certificates of a chain in their order, each once."""
    return list(dict.fromkeys(chain))


def displaced(chain: Sequence[x509.Certificate]) -> bool:
    """Return whether the issuer of a chain's end stands in it by its name, and not by its key."""
    path = path_within(chain)
    return not is_self_issued(path[-1]) and any(
        item.subject == path[-1].issuer for item in chain if item not in path
    )


def is_ca(certificate: x509.Certificate) -> bool:
    """Return whether a certificate says that it is a CA's."""
    found = find(certificate, x509.BasicConstraints)
    return found is not None and found.value.ca


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Return whether a certificate names itself as its issuer."""
    return certificate.subject == certificate.issuer


def named(name: x509.Name) -> str:
    """Write a distinguished name, escaped."""
    return quote_untrusted(name.rfc4514_string())


def issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Return whether a certificate names another as its issuer, and is signed by it."""
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
