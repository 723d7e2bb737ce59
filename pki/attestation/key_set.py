"""The keys of an issuer (JWK Set, RFC 7517), as values: each is for one algorithm alone.

The rules:

1. A key is found by its exact ``kid``; two usable keys with one ``kid`` make the set ambiguous, and
   a private key in it means that the issuer's secret is out: both refuse the whole set.
2. RSA keys of 2048 to 8192 bits are for RS256, P-256 keys for ES256, Ed25519 keys for EdDSA. A
   key that says otherwise of itself, or that is not for signatures, is left out, and so are kinds
   that are not known here: issuers publish keys for others too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pki.attestation.strict_json import read_json_object
from pki.errors import InputError, KeyRefusedError, quote_untrusted
from pki.keys import PublicKey, check_ca_key

MAX_KEY_SET_BYTES = 256 * 1024
_MAX_KEYS = 100
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class Algorithm(StrEnum):
    """The signature algorithms of tokens (RFC 7518, RFC 8037)."""

    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key, and the one algorithm that it is for."""

    key: PublicKey
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of an issuer by their ``kid``."""

    keys: Mapping[str, IssuerKey]

    @classmethod
    def read(cls, data: bytes) -> KeySet:
        """Read a JWK Set.

        Raises:
            InputError: if it is malformed, ambiguous or too large, or holds a private key.
        """
        if len(data) > MAX_KEY_SET_BYTES:
            raise InputError(f"key set of {len(data)} bytes: {MAX_KEY_SET_BYTES} are the most")
        members = read_json_object(data, what="the key set").get("keys")
        if not isinstance(members, list) or not all(isinstance(item, dict) for item in members):
            raise InputError("the key set holds no list of keys")
        if len(members) > _MAX_KEYS:
            raise InputError(f"the key set holds {len(members)} keys; {_MAX_KEYS} are the most")
        keys: dict[str, IssuerKey] = {}
        for member in members:
            if _PRIVATE & set(member):
                raise InputError(
                    "the key set holds a private or a symmetric key: whoever read it can sign",
                    remedy="Tell the issuer's owner; trust it again when its keys are new",
                )
            kid, key = member.get("kid"), _read_key(member)
            if key is None or not isinstance(kid, str):
                continue
            if kid in keys:
                raise InputError(f"the key set holds two keys {quote_untrusted(kid)}")
            keys[kid] = key
        return cls(MappingProxyType(keys))


def _read_key(member: dict[str, Any]) -> IssuerKey | None:
    """Return a key; None if it is not for tokens that are accepted here."""
    try:
        algorithm, key = _read_public_key(member)
        check_ca_key(key)
    except (KeyError, TypeError, ValueError, binascii.Error, KeyRefusedError):
        return None
    operations = member.get("key_ops", ["verify"])
    if member.get("use", "sig") != "sig" or member.get("alg", algorithm) != algorithm:
        return None
    return IssuerKey(key, algorithm) if operations == ["verify"] else None


def _read_public_key(member: dict[str, Any]) -> tuple[Algorithm, PublicKey]:
    kind = (member["kty"], member.get("crv"))
    if kind == ("RSA", None):
        numbers = rsa.RSAPublicNumbers(_number(member["e"]), _number(member["n"]))
        return Algorithm.RS256, numbers.public_key()
    if kind == ("EC", "P-256"):
        x, y = _number(member["x"]), _number(member["y"])
        return Algorithm.ES256, ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    if kind == ("OKP", "Ed25519"):
        return Algorithm.EDDSA, ed25519.Ed25519PublicKey.from_public_bytes(_octets(member["x"]))
    raise ValueError(kind)


def _octets(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(text: str) -> int:
    octets = _octets(text)
    if not 0 < len(octets) <= 1024:
        raise ValueError("too large")
    return int.from_bytes(octets)
