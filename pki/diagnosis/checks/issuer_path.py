"""Which of the presented certificates lead from the leaf upward."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from pki.errors import quote_untrusted
from pki.x509.decoding import UNREADABLE
from pki.x509.profiles.rules import find


def path_from_leaf(chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Return the certificates of a chain that lead from its leaf upward, in that order."""
    path = [chain[0]]
    others = [item for item in without_duplicates(chain) if item != chain[0]]
    while True:
        issuer = next((item for item in others if has_issued(item, path[-1])), None)
        if issuer is None or is_self_issued(path[-1]):
            return path
        others.remove(issuer)
        path.append(issuer)


def without_duplicates(chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Return the certificates of a chain in their order, each once."""
    return list(dict.fromkeys(chain))


def issuer_key_differs(chain: Sequence[x509.Certificate]) -> bool:
    """Return whether a chain holds its last issuer by name, but with another key."""
    path = path_from_leaf(chain)
    return not is_self_issued(path[-1]) and any(
        item.subject == path[-1].issuer for item in chain if item not in path
    )


def is_ca(certificate: x509.Certificate) -> bool:
    """Return whether a certificate says that it is a CA's."""
    extension = find(certificate, x509.BasicConstraints)
    return extension is not None and extension.value.ca


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Return whether a certificate names itself as its issuer."""
    return certificate.subject == certificate.issuer


def quote_name(name: x509.Name) -> str:
    """Return a distinguished name, quoted and escaped."""
    return quote_untrusted(name.rfc4514_string())


def has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Return whether a certificate names another as its issuer, and is signed by it."""
    if issuer.subject != certificate.issuer or issuer == certificate:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return False
    except (*UNREADABLE, UnsupportedAlgorithm):
        # The algorithm is unknown here: the name decides, and OpenSSL verifies the signature.
        return True
    return True
