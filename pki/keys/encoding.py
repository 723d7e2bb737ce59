"""Read and write keys as PEM PKCS#8 (RFC 5958), optionally encrypted; and fingerprint them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from pki.errors import KeyRefusedError, quote_untrusted
from pki.keys.derivation_cost import check_derivation_cost, require_decryption
from pki.keys.kinds import MAX_RSA_BITS, PrivateKey, PublicKey
from pki.pem import PemBlock, read_blocks

MAX_KEY_BYTES = 64 * 1024
_MAX_PASSPHRASE = 1023  # the limit of the library
_LABELS = {"PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"}


def private_key_to_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """Write a private key as PEM PKCS#8.

    Args:
        key: the key.
        passphrase: encrypts the key with the library's best algorithm (scrypt or PBKDF2 with
            AES-256); None leaves the key unencrypted.

    Raises:
        KeyRefusedError: if the passphrase is empty or longer than 1023 bytes, or cryptography is
            too old for encrypted keys.
    """
    # An empty one is most often a variable that was not set; it must not mean "unencrypted".
    if passphrase is not None and not 0 < len(passphrase) <= _MAX_PASSPHRASE:
        raise KeyRefusedError(
            f"passphrase of {len(passphrase)} bytes: 1 to {_MAX_PASSPHRASE} are allowed",
            remedy="Give another one, or none to leave the key unencrypted",
        )
    if passphrase is not None:
        # Else nobody here could read the key again.
        require_decryption()
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase is not None
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def is_private_key_block(block: PemBlock) -> bool:
    """Return whether the label of a PEM block is that of a private key."""
    return block.label.endswith("PRIVATE KEY")


def read_private_key(data: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """Read exactly one private key: PEM PKCS#8, or the older EC and RSA forms unencrypted.

    Args:
        data: PEM, at most 64 KiB.
        passphrase: for an encrypted key.

    Raises:
        InputError: if the input is not one private key's PEM.
        KeyRefusedError: if the passphrase is wrong or missing, or the kind is not accepted.
    """
    blocks = read_blocks(data, what="private key", max_bytes=MAX_KEY_BYTES)
    if len(blocks) != 1 or blocks[0].label not in _LABELS:
        labels = [block.label for block in blocks]
        raise KeyRefusedError(
            f"private key file holds {len(blocks)} PEM blocks "
            f"({quote_untrusted(', '.join(labels))}); exactly one private key is expected",
            remedy=_remedy_for(labels),
        )
    return decode_private_key(blocks[0], passphrase)


def _remedy_for(labels: list[str]) -> str:
    """Return what to do with a file that holds blocks of these labels instead of one key."""
    if any(label.endswith("CERTIFICATE") for label in labels):
        return "Give the key alone here, and the certificates as the chain; they may be exchanged"
    if "OPENSSH PRIVATE KEY" in labels:
        return "Convert a copy to PKCS#8: cp KEY COPY && ssh-keygen -p -m PKCS8 -N '' -f COPY"
    if "EC PARAMETERS" in labels:
        return "Remove the block EC PARAMETERS: openssl ecparam -genkey -noout writes none"
    if labels and all(label.endswith("PUBLIC KEY") for label in labels):
        return "Give the private key, not its public half"
    if any(label.endswith("REQUEST") for label in labels):
        return "Give the private key with which the request was made"
    return "Give one PEM block PRIVATE KEY"


def decode_private_key(block: PemBlock, passphrase: bytes | None = None) -> PrivateKey:
    """Decode the private key in a PEM block.

    Raises:
        KeyRefusedError: as :func:`read_private_key`.
    """
    encrypted = block.label == "ENCRYPTED PRIVATE KEY"
    if encrypted and not passphrase:
        raise KeyRefusedError(
            "private key is encrypted, and no passphrase was given", remedy="Give its passphrase"
        )
    if encrypted:
        check_derivation_cost(block.der)
    try:
        key = load_private_key(block.der, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the library's message, which could quote parts of the secret.
        raise KeyRefusedError(
            "private key can't be decoded"
            + (": wrong passphrase, or damaged" if encrypted else ": it is damaged")
        ) from None
    if not isinstance(
        key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    ):
        raise KeyRefusedError(f"private keys of kind {type(key).__name__} are not accepted")
    return key


def load_private_key(der: bytes, passphrase: bytes | None) -> PrivateKeyTypes:
    """Load a private key; check the size of an RSA key's numbers before their consistency.

    The library checks whether the factors are prime, which takes half a minute for a file of 5 kB
    and an hour for one of 20 kB, during which not even an interrupt is handled.

    Raises:
        KeyRefusedError: if the numbers of an RSA key are too large.
        ValueError: as the library: damaged or inconsistent, or a wrong passphrase.
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


def public_key_to_der(key: PublicKey) -> bytes:
    """Return a public key as SubjectPublicKeyInfo, DER."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def public_key_fingerprint(key: PublicKey) -> str:
    """Return the SHA-256 of the key's SubjectPublicKeyInfo, in lower-case hex."""
    return hashlib.sha256(public_key_to_der(key)).hexdigest()


@dataclass(frozen=True, slots=True)
class IdentifiedKey:
    """A public key, and what it is known by.

    Args:
        public_key: the key.
        der: the key as SubjectPublicKeyInfo, DER.
        fingerprint: as :func:`public_key_fingerprint`.
        secret: as :func:`secret_fingerprint`.
    """

    public_key: PublicKey = field(compare=False)
    der: bytes
    fingerprint: str
    secret: str

    @classmethod
    def of(cls, key: PublicKey) -> IdentifiedKey:
        """Compute it once for all that asks for it."""
        der = public_key_to_der(key)
        return cls(key, der, hashlib.sha256(der).hexdigest(), secret_fingerprint(key))


def secret_fingerprint(key: PublicKey) -> str:
    """Return a fingerprint, in lower-case hex, that is equal for all public keys of one secret.

    The private key of an RSA modulus can be used with every exponent, and the private key of a
    point on a curve gives that of its mirror image.
    """
    if isinstance(key, rsa.RSAPublicKey):
        text = f"rsa:{key.public_numbers().n:x}"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        text = f"{key.curve.name}:{key.public_numbers().x:x}"
    else:
        text = f"ed25519:{key.public_bytes_raw().hex()}"
    return hashlib.sha256(text.encode()).hexdigest()
