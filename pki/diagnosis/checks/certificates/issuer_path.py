"""Which of the presented certificates lead from the leaf upward."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from pki.errors import quote_untrusted
from pki.x509 import canonical_name
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
        same_name(item.subject, path[-1].issuer) for item in chain if item not in path
    )


def is_ca(certificate: x509.Certificate) -> bool:
    """Return whether a certificate says that it is a CA's."""
    extension = find(certificate, x509.BasicConstraints)
    return extension is not None and extension.value.ca


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Return whether a certificate names itself as its issuer."""
    return same_name(certificate.subject, certificate.issuer)


def same_name(name: x509.Name, other: x509.Name) -> bool:
    """Return whether two distinguished names are equal, as RFC 5280 section 7.1 compares them."""
    return canonical_name(name) == canonical_name(other)


def quote_name(name: x509.Name) -> str:
    """Return a distinguished name, quoted and escaped."""
    return quote_untrusted(name.rfc4514_string())


def has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Return whether a certificate names another as its issuer, and is signed by it."""
    if not same_name(issuer.subject, certificate.issuer) or issuer == certificate:
        return False
    try:
        _check_signature(certificate, issuer)
    except InvalidSignature:
        return False
    except (*UNREADABLE, UnsupportedAlgorithm):
        # The algorithm is unknown here: the name decides, and OpenSSL verifies the signature.
        return True
    return True


def _check_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Check the signature alone: ``verify_directly_issued_by`` compares names byte by byte."""
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    match issuer.public_key(), certificate.signature_algorithm_parameters:
        case rsa.RSAPublicKey() as key, padding.PKCS1v15() | padding.PSS() as used:
            hashed = certificate.signature_hash_algorithm
            if hashed is None:
                raise ValueError("no hash is named")
            key.verify(signature, signed, used, hashed)
        case ec.EllipticCurvePublicKey() as key, ec.ECDSA() as used:
            key.verify(signature, signed, used)
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey() as key, None:
            key.verify(signature, signed)
        case (
            rsa.RSAPublicKey()
            | ec.EllipticCurvePublicKey()
            | ed25519.Ed25519PublicKey()
            | ed448.Ed448PublicKey(),
            _,
        ):
            # A signature of one kind of key was never made by a key of another kind.
            raise InvalidSignature
        case _:
            raise ValueError("the algorithm is unknown here")
