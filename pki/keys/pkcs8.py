"""The structures of an encrypted PKCS#8 key that say how its passphrase is hashed.

This module needs cryptography 47, which the rest of ``pki.keys`` does not.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat import asn1


@asn1.sequence
class Algorithm:
    """An algorithm and its parameters (RFC 5280 section 4.1.1.2)."""

    oid: x509.ObjectIdentifier
    parameters: asn1.TLV  # present for all algorithms here


@asn1.sequence
class EncryptedPrivateKeyInfo:
    """An encrypted key (RFC 5958 section 3)."""

    algorithm: Algorithm
    data: bytes


@asn1.sequence
class Pbes2:
    """Parameters of PBES2 (RFC 8018 appendix A.4)."""

    derivation: Algorithm
    encryption: Algorithm


@asn1.sequence
class Prf:
    """The hash of PBKDF2 (RFC 8018 appendix A.2)."""

    oid: x509.ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class Pbkdf2:
    """Parameters of PBKDF2 (RFC 8018 appendix A.2)."""

    salt: bytes
    iterations: int
    key_length: int | None
    prf: Prf | None


@asn1.sequence
class Scrypt:
    """Parameters of scrypt (RFC 7914 section 7)."""

    salt: bytes
    cost: int
    block_size: int
    lanes: int
    key_length: int | None


@asn1.sequence
class Pbes1:
    """Parameters of PBES1 (RFC 8018 appendix A.3)."""

    salt: bytes
    iterations: int


def read_encryption(der: bytes) -> Algorithm:
    """Return how an ``EncryptedPrivateKeyInfo`` is encrypted.

    Raises:
        ValueError: if it can't be decoded.
    """
    return asn1.decode_der(EncryptedPrivateKeyInfo, der).algorithm
