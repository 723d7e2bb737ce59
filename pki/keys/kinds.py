"""The kinds of keys: ECDSA P-256 (default) and P-384, RSA, and Ed25519 for CAs only.

grpcio refuses Ed25519 leaves (``NO_COMMON_SIGNATURE_ALGORITHMS``), so no leaf may have one.
"""

from __future__ import annotations

from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pki.errors import KeyRefusedError, quote_untrusted

_REMEDY = "Use an ECDSA P-256 key"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

MAX_RSA_BITS = 8192
_RSA_BITS = range(2048, MAX_RSA_BITS + 1, 8)
_RSA_EXPONENT = 65537  # NIST SP 800-56B rev 2 §6.2: odd, above 2^16
_CURVES = (ec.SECP256R1, ec.SECP384R1)


class KeyType(StrEnum):
    """The types of keys that handfast generates."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ED25519 = "ed25519"


def generate_key(kind: KeyType = KeyType.ECDSA_P256) -> PrivateKey:
    """Generate a private key."""
    match kind:
        case KeyType.ECDSA_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.ECDSA_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyType.RSA_3072:
            return rsa.generate_private_key(_RSA_EXPONENT, 3072)
        case KeyType.RSA_4096:
            return rsa.generate_private_key(_RSA_EXPONENT, 4096)
        case KeyType.ED25519:
            return ed25519.Ed25519PrivateKey.generate()


def is_of_type(key: PublicKey, kind: KeyType) -> bool:
    """Return whether a public key is of a type that handfast generates."""
    match key:
        case ed25519.Ed25519PublicKey():
            return kind is KeyType.ED25519
        case rsa.RSAPublicKey():
            sizes = {KeyType.RSA_3072: 3072, KeyType.RSA_4096: 4096}
            return sizes.get(kind) == key.key_size
        case ec.EllipticCurvePublicKey():
            curves = {KeyType.ECDSA_P256: ec.SECP256R1, KeyType.ECDSA_P384: ec.SECP384R1}
            return kind in curves and isinstance(key.curve, curves[kind])
    return False


def check_ca_key(key: object) -> PublicKey:
    """Check that a CA may have a public key; return the key.

    Raises:
        KeyRefusedError: if it is of another kind or curve, or an RSA key of a size or exponent
            that is not allowed.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, _CURVES):
            return key
        raise KeyRefusedError(
            f"ECDSA key on curve {quote_untrusted(key.curve.name)}: only P-256 and P-384 "
            "are accepted",
            remedy=_REMEDY,
        )
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in _RSA_BITS:
            raise KeyRefusedError(
                f"RSA key of {key.key_size} bits: it must have 2048 to 8192, a multiple of 8",
                remedy=_REMEDY,
            )
        exponent = key.public_numbers().e
        if exponent < _RSA_EXPONENT or exponent.bit_length() > 256:
            raise KeyRefusedError("RSA key with an exponent outside 65537 to 2^256")
        return key
    raise KeyRefusedError(
        f"{type(key).__name__.removesuffix('PublicKey')} keys are not accepted",
        remedy=_REMEDY,
    )


def check_leaf_key(key: object) -> PublicKey:
    """Check that a leaf may have a public key, as for a CA but without Ed25519; return the key.

    Raises:
        KeyRefusedError: if it may not.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        raise KeyRefusedError(
            "Ed25519 keys are for CAs only: gRPC refuses such leaves", remedy=_REMEDY
        )
    return check_ca_key(key)
