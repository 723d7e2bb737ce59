"""JWTs of an issuer for tests, and its keys; written part by part, so that each can be wrong."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from pki.attestation import IssuerConfig, KeySet
from pki.keys import PrivateKey
from tests.support import NOW, SHOP

ISSUER = "https://ci.example"
AUDIENCE = "handfast:shop.internal"
AT = int(NOW.timestamp())


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encode_json(document: object) -> str:
    return encode(json.dumps(document).encode())


def config(**options: Any) -> IssuerConfig:
    return IssuerConfig.parse(
        {"issuer": ISSUER, "algorithms": ["RS256", "ES256", "EdDSA"], **options}, SHOP
    )


def claims(**changes: Any) -> dict[str, Any]:
    """Return good claims, changed; None takes one out."""
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "repo:acme/shop",
        "iat": AT,
        "exp": AT + 300,
        "jti": "1",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def sign(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        size = (key.curve.key_size + 7) // 8
        return r.to_bytes(size) + s.to_bytes(size)
    return key.sign(data)


def jwk_of(key: PrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        body = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_numbers()
        size = (public.curve.key_size + 7) // 8
        name = {"secp256r1": "P-256", "secp384r1": "P-384"}[public.curve.name]
        body = {"kty": "EC", "crv": name}
        body |= {"x": encode(point.x.to_bytes(size)), "y": encode(point.y.to_bytes(size))}
    else:
        body = {"kty": "OKP", "crv": "Ed25519", "x": encode(public.public_bytes_raw())}
    return {**body, "kid": kid, "use": "sig", **more}


def number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8))


@dataclass
class Issuer:
    """An issuer with a key of each kind; its token is good unless something is changed."""

    rs: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    es: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    ed: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    def key_of(self, algorithm: str) -> PrivateKey:
        keys: dict[str, PrivateKey] = {"RS256": self.rs, "ES256": self.es, "EdDSA": self.ed}
        return keys[algorithm]

    def jwks(self) -> bytes:
        members = [
            jwk_of(self.key_of(algorithm), algorithm.lower(), alg=algorithm)
            for algorithm in ("RS256", "ES256", "EdDSA")
        ]
        return json.dumps({"keys": members}).encode()

    def key_set(self) -> KeySet:
        return KeySet.read(self.jwks())

    def token(
        self,
        payload: dict[str, Any] | bytes | None = None,
        *,
        algorithm: str = "ES256",
        header: dict[str, Any] | bytes | None = None,
    ) -> str:
        head = {"alg": algorithm, "kid": algorithm.lower(), "typ": "JWT"}
        if isinstance(header, dict):
            head = {k: v for k, v in {**head, **header}.items() if v is not None}
        first = encode(header) if isinstance(header, bytes) else encode_json(head)
        body = payload if isinstance(payload, bytes) else json.dumps(payload or claims()).encode()
        signed = f"{first}.{encode(body)}"
        return f"{signed}.{encode(sign(self.key_of(algorithm), signed.encode()))}"
