"""Keys as PEM PKCS#8 (RFC 5958), optionally encrypted, and their fingerprints."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from pki.errors import KeyRefusedError, quote_untrusted
from pki.keys.effort import check_effort
from pki.keys.kinds import MAX_RSA_BITS, PrivateKey, PublicKey
from pki.pem import PemBlock, read_blocks

MAX_KEY_BYTES = 64 * 1024
_MAX_PASSPHRASE = 1023  # the most that the library takes
_LABELS = {"PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"}


def private_key_to_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """Write a private key as PEM PKCS#8.

    Args:
        key: the key.
        passphrase: encrypts it (scrypt or PBKDF2 with AES-256, as the library's best); None leaves
            it in the clear.

    Raises:
        KeyRefusedError: if the passphrase is empty or longer than 1023 bytes.
    """
    # An empty one is most often a variable that was not set; it must not mean "in the clear".
    if passphrase is not None and not 0 < len(passphrase) <= _MAX_PASSPHRASE:
        raise KeyRefusedError(
            f"passphrase of {len(passphrase)} bytes: 1 to {_MAX_PASSPHRASE} are taken",
            remedy="Give another one, or none to leave the key in the clear",
        )
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase is not None
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def is_private_key_block(block: PemBlock) -> bool:
    """Return whether a PEM block holds, or says that it holds, a private key."""
    return block.label.endswith("PRIVATE KEY")


def read_private_key(data: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """Read exactly one private key: PEM PKCS#8, or the older EC and RSA forms unencrypted.

    Args:
        data: PEM, at most 64 KiB.
        passphrase: for an encrypted key.

    Raises:
        InputError: if the input is not one private key's PEM.
        KeyRefusedError: if the passphrase is wrong or missing, or the kind is not taken.
    """
    blocks = read_blocks(data, what="private key", max_bytes=MAX_KEY_BYTES)
    if len(blocks) != 1 or blocks[0].label not in _LABELS:
        raise KeyRefusedError(
            f"private key file holds {len(blocks)} PEM blocks "
            f"({quote_untrusted(', '.join(block.label for block in blocks))}); "
            "one private key is meant",
            remedy="Give one PEM block PRIVATE KEY",
        )
    return decode_private_key(blocks[0], passphrase)


def decode_private_key(block: PemBlock, passphrase: bytes | None = None) -> PrivateKey:
    """Decode the one private key of a PEM block.

    Raises:
        KeyRefusedError: as :func:`read_private_key`.
    """
    encrypted = block.label == "ENCRYPTED PRIVATE KEY"
    if encrypted and not passphrase:
        raise KeyRefusedError(
            "private key is encrypted, and no passphrase was given", remedy="Give its passphrase"
        )
    if encrypted:
        check_effort(block.der)
    try:
        key = load_private_key(block.der, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's words could quote parts of the secret, so they stay out.
        raise KeyRefusedError(
            "private key can't be decoded"
            + (": wrong passphrase, or damaged" if encrypted else ": it is damaged")
        ) from None
    if not isinstance(
        key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    ):
        raise KeyRefusedError(f"private keys of kind {type(key).__name__} are not taken")
    return key


def load_private_key(der: bytes, passphrase: bytes | None) -> PrivateKeyTypes:
    """Load a private key, and check an RSA key's numbers only if they are of a size that is taken.

    The check asks whether the factors are primes: half a minute for a file of 5 kB, an hour for one
    of 20 kB, in which not even an interrupt is heard.

    Raises:
        KeyRefusedError: if the numbers are too large, or do not fit each other.
        ValueError: as the library: damaged, or a wrong passphrase.
        TypeError: as the library.
        UnsupportedAlgorithm: as the library.
    """
    key = serialization.load_der_private_key(der, passphrase, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        return key
    numbers = key.private_numbers()
    factors = max(numbers.p.bit_length(), numbers.q.bit_length())
    if key.key_size > MAX_RSA_BITS or factors > MAX_RSA_BITS // 2:
        raise KeyRefusedError(
            f"RSA key of {key.key_size} bits with a factor of {factors} bits: {MAX_RSA_BITS} and "
            f"{MAX_RSA_BITS // 2} are the most",
            remedy="Use an ECDSA P-256 key",
        )
    return numbers.private_key()


def public_key_fingerprint(key: PublicKey) -> str:
    """Return the SHA-256 of the key's SubjectPublicKeyInfo, in lower-case hex."""
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


def secret_fingerprint(key: PublicKey) -> str:
    """Return a name, in lower-case hex, that all public keys of one secret share.

    Whoever knows the private key of an RSA modulus can use it with every exponent, and whoever
    knows that of a point on a curve knows that of its mirror image.
    """
    if isinstance(key, rsa.RSAPublicKey):
        words = f"rsa:{key.public_numbers().n:x}"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        words = f"{key.curve.name}:{key.public_numbers().x:x}"
    else:
        words = f"ed25519:{key.public_bytes_raw().hex()}"
    return hashlib.sha256(words.encode()).hexdigest()
