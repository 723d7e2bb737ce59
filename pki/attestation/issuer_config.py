"""An OIDC issuer whose tokens are accepted: a section of the CA's TOML configuration.

::

    issuer = "https://token.actions.githubusercontent.com"
    algorithms = ["RS256"]
    max_age = "10m"                      # from the token's iat; 10 minutes by default
    jwks = "https://.../keys"            # else found by discovery; on the issuer's own host
    ca_bundle = "/etc/handfast/oidc.pem" # else the system's
    audience = "handfast:shop.internal"  # this by default
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pki.attestation.https_url import HttpsUrl
from pki.attestation.key_set import Algorithm
from pki.errors import InputError, quote_untrusted
from pki.identity import TrustDomain

_KEYS = frozenset({"issuer", "algorithms", "max_age", "jwks", "ca_bundle", "audience"})
_DEFAULT_MAX_AGE = timedelta(minutes=10)
_MOST_AGE = timedelta(hours=24)
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """An issuer whose tokens are accepted.

    Args:
        issuer: what ``iss`` must be, character by character.
        audience: what ``aud`` must be.
        algorithms: the accepted signature algorithms.
        max_age: how old a token may be, from its ``iat``.
        jwks: where its keys are; None finds them by discovery.
        ca_bundle: the roots for its TLS certificate; None is the system's.
    """

    issuer: HttpsUrl
    audience: str
    algorithms: frozenset[Algorithm]
    max_age: timedelta = _DEFAULT_MAX_AGE
    jwks: HttpsUrl | None = None
    ca_bundle: Path | None = None

    @classmethod
    def parse(cls, table: Mapping[str, Any], trust_domain: TrustDomain) -> IssuerConfig:
        """Parse a section.

        Raises:
            InputError: if a key is unknown or missing, or a value is not valid.
        """
        unknown = sorted(set(table) - _KEYS)
        if unknown:
            raise InputError(
                f"the issuer's section holds {quote_untrusted(', '.join(unknown))}, which is not "
                "understood",
                remedy=f"Use {', '.join(sorted(_KEYS))}",
            )
        issuer = HttpsUrl.parse(_text(table, "issuer"), what="issuer")
        jwks = None
        if "jwks" in table:
            jwks = HttpsUrl.parse(_text(table, "jwks"), what="jwks")
            if not jwks.is_same_place(issuer):
                raise InputError(
                    f"jwks {quote_untrusted(jwks.text)} is on another host than the issuer "
                    f"{quote_untrusted(issuer.text)}",
                    remedy="Keys are taken from the issuer's own host alone",
                )
        bundle = Path(_text(table, "ca_bundle")) if "ca_bundle" in table else None
        if bundle is not None and not bundle.is_absolute():
            raise InputError(f"ca_bundle {quote_untrusted(bundle)} is no absolute path")
        audience = f"handfast:{trust_domain.name}"
        if "audience" in table:
            audience = _text(table, "audience")
        return cls(
            issuer,
            audience,
            _algorithms(table.get("algorithms", ["RS256", "ES256"])),
            _age(_text(table, "max_age")) if "max_age" in table else _DEFAULT_MAX_AGE,
            jwks,
            bundle,
        )


def _text(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise InputError(f"the issuer's section needs {name}, as a text")
    return value


def _algorithms(names: object) -> frozenset[Algorithm]:
    known = ", ".join(Algorithm)
    if not isinstance(names, list) or not names:
        raise InputError(f"algorithms must be a list of {known}")
    chosen = set()
    for name in names:
        if not isinstance(name, str) or name not in set(Algorithm):
            raise InputError(
                f"{quote_untrusted(name)} is no algorithm for tokens here", remedy=f"Use {known}"
            )
        chosen.add(Algorithm(name))
    return frozenset(chosen)


def _age(text: str) -> timedelta:
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and len(number) < 8 and unit in _UNITS):
        raise InputError(f"max_age {quote_untrusted(text)} is no time", remedy="Write e.g. 10m")
    age = timedelta(seconds=int(number) * _UNITS[unit])
    if not timedelta(0) < age <= _MOST_AGE:
        raise InputError(f"max_age {quote_untrusted(text)} is not from 1s to 24h")
    return age
