"""The parts of a JWT in compact form (RFC 7515 section 7.1), before anything of it is trusted.

The rules:

1. At most 8 KB: three parts of base64url without padding, in its one canonical form.
2. The header holds ``alg`` and ``kid``. What would let the token choose its own key (``jku``,
   ``jwk``, ``x5u``, ``x5c``) or its own rules (``crit``, ``b64``, ``zip``, ``cty``, ``enc``) is
   refused, even where it would be ignored. Other parameters are ignored (RFC 7515 section 4).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

from pki.attestation.errors import TokenRefusedError
from pki.attestation.strict_json import read_json_object
from pki.errors import InputError, quote_untrusted

MAX_TOKEN_BYTES = 8 * 1024
_MAX_KID = 256
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_REFUSED = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "cty", "enc", "epk"})


@dataclass(frozen=True, slots=True)
class CompactToken:
    """A token's parts; none of them is verified.

    Args:
        text: the token.
        algorithm: that the header names.
        kid: the key that the header names.
        payload: the bytes that were signed as claims.
    """

    text: str
    algorithm: str
    kid: str
    payload: bytes

    @classmethod
    def parse(cls, text: str) -> CompactToken:
        """Split a token and read its header.

        Raises:
            TokenRefusedError: if it breaks a rule above.
        """
        if len(text) > MAX_TOKEN_BYTES:
            raise TokenRefusedError(
                f"token of {len(text)} characters: {MAX_TOKEN_BYTES} are the most"
            )
        parts = text.split(".")
        if len(parts) != 3:
            raise TokenRefusedError(
                f"token has {len(parts)} parts; a signed JWT has three",
                remedy="Give the JWT as its issuer wrote it",
            )
        header_bytes, payload, _ = (_decode(part) for part in parts)
        try:
            header = read_json_object(header_bytes, what="the token's header")
        except InputError as error:
            raise TokenRefusedError(error.message) from None
        refused = sorted(_REFUSED & set(header))
        if refused:
            raise TokenRefusedError(f"the token's header holds {', '.join(refused)}")
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.upper() != "JWT":
            raise TokenRefusedError(f"the token's type is {quote_untrusted(kind)}, not JWT")
        return cls(text, _name(header, "alg"), _name(header, "kid"), payload)

    @property
    def signed_part(self) -> bytes:
        """What is signed: header and payload."""
        return self.text.rpartition(".")[0].encode("ascii")


def _decode(part: str) -> bytes:
    if not _BASE64URL.fullmatch(part) or len(part) % 4 == 1:
        raise TokenRefusedError("a part of the token is not base64url without padding")
    decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    # The last character may hold bits that no byte takes: then one token had several forms.
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode("ascii") != part:
        raise TokenRefusedError("a part of the token is not canonical base64url")
    return decoded


def _name(header: dict[str, Any], parameter: str) -> str:
    value = header.get(parameter)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_KID:
        raise TokenRefusedError(
            f"the token's header holds no {parameter} of 1 to {_MAX_KID} characters"
        )
    return value
