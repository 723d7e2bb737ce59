"""Which keys of an issuer are used, and which sets are refused whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.attestation import KeySet
from pki.errors import InputError
from tests.tokens import Issuer, encode, jwk_of


def read(*members: dict[str, Any]) -> list[str]:
    return sorted(KeySet.read(json.dumps({"keys": members}).encode()).keys)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def test_keys_that_are_not_for_tokens_here_are_left_out(issuer: Issuer) -> None:
    good = jwk_of(issuer.rs, "good")
    point = jwk_of(issuer.es, "off")
    others: list[dict[str, Any]] = [
        jwk_of(issuer.rs, "a", use="enc"),
        jwk_of(issuer.rs, "b", alg="RS512"),
        jwk_of(issuer.rs, "c", alg="HS256"),
        jwk_of(issuer.rs, "d", key_ops=["sign"]),
        jwk_of(rsa.generate_private_key(65537, 1024), "small"),
        jwk_of(rsa.generate_private_key(3, 2048), "exponent"),
        jwk_of(ec.generate_private_key(ec.SECP384R1()), "curve"),
        {**point, "y": point["x"]},
        {**good, "kid": "n", "n": "AQAB"},
        {**good, "kid": "huge", "n": encode(b"\xff" * 2048)},
        {**good, "kid": "lax", "n": "!!!" + good["n"]},
        {**good, "kid": "number", "n": 5},
        {"kty": "OKP", "crv": "X25519", "x": encode(b"\1" * 32), "kid": "x25519"},
        {"kty": "OKP", "crv": "Ed25519", "x": encode(b"\1" * 31), "kid": "short"},
        {"kty": "new", "kid": "unknown"},
        {"kid": "nothing"},
        {key: value for key, value in good.items() if key != "kid"},
        {**good, "kid": 7},
    ]
    assert read(good, *others) == ["good"]
    assert read() == []


@pytest.mark.parametrize("secret", ["d", "p", "k"])
def test_a_set_with_a_secret_is_refused(issuer: Issuer, secret: str) -> None:
    with pytest.raises(InputError, match="private or a symmetric key"):
        read(jwk_of(issuer.es, "a"), jwk_of(issuer.rs, "b", **{secret: "AQAB"}))


def test_an_ambiguous_set_is_refused(issuer: Issuer) -> None:
    with pytest.raises(InputError, match="two keys 'a'"):
        read(jwk_of(issuer.es, "a"), jwk_of(issuer.rs, "a"))
    with pytest.raises(InputError, match="'keys' is there twice"):
        KeySet.read(b'{"keys": [], "keys": []}')


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [1]}', b"<html>", b'{"keys": ' + b"[" * 99],
)
def test_what_is_no_set_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        KeySet.read(data)


def test_a_large_set_is_refused(issuer: Issuer) -> None:
    with pytest.raises(InputError, match="262144 are the most"):
        KeySet.read(b" " * 262145)
    with pytest.raises(InputError, match="100 are the most"):
        read(*({"kid": str(item)} for item in range(101)))
