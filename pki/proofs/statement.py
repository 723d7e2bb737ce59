"""Statements that are signed: unambiguous bytes that no other protocol could mean."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

from pki.errors import NotPermittedError
from pki.keys import PrivateKey, PublicKey

MAX_SIGNATURE_BYTES = 1024  # RSA with 8192 bits
_HASH = ec.ECDSA(hashes.SHA256())


def statement(kind: str, *parts: bytes) -> bytes:
    """Return a statement: its kind and its parts, each with its length before it.

    Args:
        kind: what the statement is for, e.g. ``enroll``; no two kinds are ever confused.
        parts: the values, each at most 4 GiB.
    """
    encoded = [f"handfast {kind} v1".encode() + b"\0"]
    encoded += [len(part).to_bytes(4, "big") + part for part in parts]
    return b"".join(encoded)


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 of data."""
    return hashlib.sha256(data).digest()


def sign(key: PrivateKey, signed: bytes) -> bytes:
    """Sign a statement: ECDSA or RSA (PKCS #1 v1.5) with SHA-256, or Ed25519."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(signed, _HASH)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    return key.sign(signed, padding.PKCS1v15(), hashes.SHA256())


def check_signature(key: PublicKey, signature: bytes, signed: bytes, *, what: str) -> None:
    """Check the signature of a statement.

    Args:
        key: the signer's public key.
        signature: at most 1024 bytes.
        signed: the statement.
        what: names the signature in the error.

    Raises:
        NotPermittedError: if it is not a signature of this statement by this key.
    """
    refused = NotPermittedError(f"{what} does not fit what was sent with it")
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise refused
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, _HASH)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise refused from None
