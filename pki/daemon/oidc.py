"""JWTs as proofs: which issuers the operator has named, and what their tokens prove.

The configuration is a TOML file with one ``[[issuer]]`` for each; see docs/oidc.md. A token chooses
among them by its ``iss``; nothing else in it leads anywhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pki.attestation import IssuerConfig
from pki.authority.enrollment import VerifiedJwt
from pki.errors import InputError, PkiError, ProofRefusedError, StateError, quote_untrusted
from pki.files import read_bounded
from pki.identity import TrustDomain
from pki.oidc import IssuerKeys

if TYPE_CHECKING:
    from pki.attestation.jwt import Claims

_MOST_BYTES = 64 * 1024
_REFUSED = "the JWT is not accepted"
_REMEDY = "See the log of the CA, and: handfast docs oidc"


class JwtVerifier:
    """Verifies JWTs of the issuers that the operator has named.

    Args:
        issuers: by ``iss``.
    """

    def __init__(self, issuers: Mapping[str, tuple[IssuerConfig, IssuerKeys]]) -> None:
        self._issuers = issuers

    @classmethod
    def read(cls, path: Path, trust_domain: TrustDomain) -> JwtVerifier:
        """Read the configuration.

        Raises:
            StateError: if the file is not there.
            InputError: if it is malformed, or names an issuer twice.
            MissingExtraError: if the library for JWTs is not installed.
        """
        # Found out now, and not when the first token comes.
        from pki.attestation import jwt  # noqa: F401, PLC0415

        try:
            data, _ = read_bounded(path, max_bytes=_MOST_BYTES)
        except FileNotFoundError:
            raise StateError(f"{quote_untrusted(path)} is not there") from None
        try:
            document = tomllib.loads(data.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"{quote_untrusted(path)} is no TOML: {error}") from None
        tables = document.pop("issuer", None)
        if document or not isinstance(tables, list):
            raise InputError(
                f"{quote_untrusted(path)} must hold [[issuer]] and nothing else",
                remedy="See: handfast docs oidc",
            )
        issuers: dict[str, tuple[IssuerConfig, IssuerKeys]] = {}
        for table in tables:
            config = IssuerConfig.parse(table, trust_domain)
            if config.issuer.text in issuers:
                raise InputError(
                    f"{quote_untrusted(path)} names {quote_untrusted(config.issuer.text)} twice"
                )
            issuers[config.issuer.text] = (config, IssuerKeys(config))
        return cls(issuers)

    def verify(self, text: str, *, now: datetime) -> VerifiedJwt:
        """Verify a JWT; return what it proves.

        Raises:
            ProofRefusedError: if it proves nothing.
            StateError: if its issuer's keys can't be had now.
        """
        from pki.attestation.jwt import (  # noqa: PLC0415 - needs an extra
            read_unverified_issuer,
            unverified_kid,
            verify_jwt,
        )

        try:
            issuer = read_unverified_issuer(text)
            config, source = self._issuers.get(issuer, (None, None))
            if config is not None and source is not None:
                keys = source.keys_for(unverified_kid(text))
                return _verified(text, verify_jwt(text, config, keys, now=now))
        except StateError:
            raise
        except PkiError as error:
            raise ProofRefusedError(_REFUSED, cause=str(error), remedy=_REMEDY) from error
        raise ProofRefusedError(
            _REFUSED,
            cause=f"its issuer {quote_untrusted(issuer)} is not configured",
            remedy=_REMEDY,
        )


def _verified(text: str, claims: Claims) -> VerifiedJwt:
    texts = {name: value for name, value in claims.values.items() if isinstance(value, str)}
    return VerifiedJwt(
        f"{claims.issuer} {claims.id}",
        text.encode(),
        claims.issuer,
        tuple(sorted(texts.items())),
        claims.usable_until,
        datetime.fromtimestamp(claims.values["iat"], tz=UTC),
    )


def no_issuers() -> JwtVerifier:
    """Return a verifier for a CA whose operator has named no issuer."""
    return JwtVerifier({})
