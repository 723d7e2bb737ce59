"""Private keys whose signatures are made elsewhere, e.g. in a PKCS#11 token.

They are keys for the certificate builders of cryptography, which accept a subclass of its abstract
keys and ask it for each signature. All that needs the secret itself is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pki.errors import KeyRefusedError
from pki.keys.kinds import PublicKey

Sign = Callable[[bytes, hashes.HashAlgorithm], bytes]
"""Signs data with a hash. ECDSA signatures are DER (RFC 3279 section 2.2.3), RSA's are PKCS#1 v1.5.
"""


class _Delegated:
    """What both kinds of keys refuse, and that a copy is the key itself."""

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: the secret is elsewhere.

        Raises:
            KeyRefusedError: always.
        """
        raise KeyRefusedError("the private key is in a token, which never gives it out")

    private_numbers = private_bytes
    exchange = private_bytes
    decrypt = private_bytes

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        return self


class DelegatedEcKey(_Delegated, ec.EllipticCurvePrivateKey):
    """An ECDSA key whose signatures are made elsewhere."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey, sign: Sign) -> None:
        self._public_key = public_key
        self._sign = sign

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public key."""
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """The size in bits."""
        return self._public_key.curve.key_size

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Return the signature of data, in DER.

        Raises:
            KeyRefusedError: if the data is a hash already.
        """
        return self._sign(bytes(data), _require_hash(signature_algorithm.algorithm))


class DelegatedRsaKey(_Delegated, rsa.RSAPrivateKey):
    """An RSA key whose signatures are made elsewhere."""

    def __init__(self, public_key: rsa.RSAPublicKey, sign: Sign) -> None:
        self._public_key = public_key
        self._sign = sign

    def public_key(self) -> rsa.RSAPublicKey:
        """Return the public key."""
        return self._public_key

    @property
    def key_size(self) -> int:
        """The size in bits."""
        return self._public_key.key_size

    def sign(self, data: Any, padding_scheme: Any, algorithm: Any) -> bytes:
        """Return the PKCS#1 v1.5 signature of data.

        Raises:
            KeyRefusedError: if another padding is asked for, or the data is a hash already.
        """
        if not isinstance(padding_scheme, padding.PKCS1v15):
            raise KeyRefusedError(f"padding {type(padding_scheme).__name__} is not supported")
        return self._sign(bytes(data), _require_hash(algorithm))


DelegatedKey = DelegatedEcKey | DelegatedRsaKey


def delegated_key(public_key: PublicKey, sign: Sign) -> DelegatedKey:
    """Return the private key to a public key, with its signatures made by a function.

    Raises:
        KeyRefusedError: if the key is neither ECDSA nor RSA.
    """
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return DelegatedEcKey(public_key, sign)
    if isinstance(public_key, rsa.RSAPublicKey):
        return DelegatedRsaKey(public_key, sign)
    raise KeyRefusedError(
        "an Ed25519 key can't sign from a token here",
        remedy="Use an ECDSA P-256 key (--key-type ecdsa-p256)",
    )


def _require_hash(algorithm: object) -> hashes.HashAlgorithm:
    if not isinstance(algorithm, hashes.HashAlgorithm):
        raise KeyRefusedError(f"{type(algorithm).__name__} in place of a hash: give the data")
    return algorithm
