"""Verify a JWT of an OIDC issuer: decides whether it proves what its claims say, without I/O.

The rules:

1. The token's form and header: ``pki.attestation.compact_token``.
2. Its algorithm is one that the configuration names; never ``none``, never a symmetric one.
3. Its key is the one of the issuer's set with exactly its ``kid``, and that key is for this
   algorithm alone. Nothing in the token says where a key is.
4. The signature is verified by PyJWT. The claims are read from the very bytes that it verified.
5. ``iss`` is the issuer, and ``aud`` the audience, alone or as a list of one, character by
   character. ``sub`` is there.
6. ``exp`` and ``iat`` are there. The token has not ended, was not issued in the future, and is not
   older than the configuration allows; ``nbf``, if there, has come. Clocks may differ by 30 s.
7. Each token counts once: the caller remembers its ``id`` until ``usable_until``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from pki.attestation.compact_token import CompactToken
from pki.attestation.errors import TokenRefusedError
from pki.attestation.issuer_config import IssuerConfig
from pki.attestation.key_set import Algorithm, IssuerKey, KeySet
from pki.attestation.strict_json import read_json_object
from pki.errors import InputError, quote_untrusted
from pki.extras import missing_extra

try:
    from jwt import PyJWS
    from jwt.exceptions import PyJWTError
except ModuleNotFoundError as _error:
    if _error.name != "jwt":
        raise
    raise missing_extra("A proof by a JWT", ["oidc"]) from None

LEEWAY = timedelta(seconds=30)
_MAX_SUBJECT = 1024
_END_OF_TIME = 253402300799  # 9999-12-31, the last that datetime can hold


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token proves.

    Args:
        issuer: who says so.
        subject: of whom.
        values: all claims.
        id: identifies the token; the same for each copy of it.
        usable_until: when it is refused as too old anyway, so that nobody need remember its id.
    """

    issuer: str
    subject: str
    values: Mapping[str, Any]
    id: str
    usable_until: datetime


def read_unverified_issuer(token: str) -> str:
    """Return the issuer that a token names, to choose the configuration to verify it with.

    Raises:
        TokenRefusedError: if the token is malformed.
    """
    issuer = _read_claims(CompactToken.parse(token).payload).get("iss")
    if not isinstance(issuer, str):
        raise TokenRefusedError("the token names no issuer")
    return issuer


def unverified_kid(token: str) -> str:
    """Return the ``kid`` that a token names, to know whether the issuer's keys must be refreshed.

    Raises:
        TokenRefusedError: if the token is malformed.
    """
    return CompactToken.parse(token).kid


def verify_jwt(token: str, config: IssuerConfig, keys: KeySet, *, now: datetime) -> Claims:
    """Verify a token; return what it proves.

    Args:
        token: the JWT in compact form.
        config: the issuer's configuration.
        keys: the issuer's keys.
        now: the time.

    Raises:
        TokenRefusedError: if it breaks a rule above.
    """
    parsed = CompactToken.parse(token)
    key = _find_key(parsed, config, keys)
    claims = _read_claims(_verified_payload(parsed, key))
    _check_names(claims, config)
    usable_until = _check_times(claims, config.max_age, now)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT:
        raise TokenRefusedError("the token has no sub")
    if not subject.isprintable():
        raise TokenRefusedError("the token's sub holds a control character")
    values = MappingProxyType(claims)
    return Claims(config.issuer.text, subject, values, _token_id(parsed, claims), usable_until)


def _find_key(token: CompactToken, config: IssuerConfig, keys: KeySet) -> IssuerKey:
    if token.algorithm not in {item.value for item in config.algorithms}:
        raise TokenRefusedError(
            f"the token is signed with {quote_untrusted(token.algorithm)}, and "
            f"{', '.join(sorted(config.algorithms))} is accepted of its issuer"
        )
    key = keys.keys.get(token.kid)
    if key is None:
        raise TokenRefusedError(f"the issuer has no key {quote_untrusted(token.kid)}")
    if key.algorithm != Algorithm(token.algorithm):
        raise TokenRefusedError(
            f"the issuer's key {quote_untrusted(token.kid)} is for {key.algorithm}, and the token "
            f"is signed with {token.algorithm}"
        )
    return key


def _verified_payload(token: CompactToken, key: IssuerKey) -> bytes:
    try:
        decoded = PyJWS().decode_complete(
            token.text, key.key, algorithms=[key.algorithm.value], options={}
        )
    except PyJWTError:
        raise TokenRefusedError("the token's signature is not its issuer's") from None
    payload: bytes = decoded["payload"]
    return payload


def _read_claims(payload: bytes) -> dict[str, Any]:
    try:
        return read_json_object(payload, what="the token's claims")
    except InputError as error:
        raise TokenRefusedError(error.message) from None


def _check_names(claims: Mapping[str, Any], config: IssuerConfig) -> None:
    if claims.get("iss") != config.issuer.text:
        raise TokenRefusedError(
            f"the token is of the issuer {quote_untrusted(claims.get('iss'))}, not of "
            f"{quote_untrusted(config.issuer.text)}"
        )
    audience = claims.get("aud")
    if audience not in (config.audience, [config.audience]):
        raise TokenRefusedError(
            f"the token is for the audience {quote_untrusted(audience)}, not for "
            f"{quote_untrusted(config.audience)} alone",
            remedy=f"Ask the issuer for a token with the audience {config.audience}",
        )


def _check_times(claims: Mapping[str, Any], max_age: timedelta, now: datetime) -> datetime:
    """Check the times of a token; return when it is refused as too old at the latest."""
    ends, issued = _moment(claims, "exp"), _moment(claims, "iat")
    begins = _moment(claims, "nbf") if "nbf" in claims else issued
    if ends <= issued:
        raise TokenRefusedError(f"the token ends at {ends}, before it was issued at {issued}")
    if now >= ends + LEEWAY:
        raise TokenRefusedError(f"the token ended at {ends}", remedy="Ask for a new one")
    if max(issued, begins) > now + LEEWAY:
        raise TokenRefusedError(
            f"the token counts from {max(issued, begins)}, and it is {now}",
            remedy="Set the clocks right",
        )
    if now >= issued + max_age + LEEWAY:
        raise TokenRefusedError(
            f"the token was issued at {issued}, more than {max_age} ago",
            remedy="Ask for a new one",
        )
    return min(ends, issued + max_age) + LEEWAY


def _moment(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    # A bool is an int for Python; text and fractions are left to others.
    if type(value) is not int or not 0 <= value <= _END_OF_TIME - 172800:
        raise TokenRefusedError(f"the token has no {name} in whole seconds since 1970")
    return datetime.fromtimestamp(value, tz=UTC)


def _token_id(token: CompactToken, claims: Mapping[str, Any]) -> str:
    """Return what identifies a token.

    Without ``jti`` it is the hash of what is signed. The signature is left out: whoever has one of
    ECDSA can write a second one for the same token.
    """
    jti = claims.get("jti")
    if "jti" in claims and (not isinstance(jti, str) or not jti):
        raise TokenRefusedError("the token's jti is no text")
    if isinstance(jti, str):
        text = f"jti\0{claims['iss']}\0{jti}".encode("utf-8", "surrogatepass")
    else:
        text = b"signed\0" + token.signed_part
    return hashlib.sha256(text).hexdigest()
