"""The keys of one issuer: fetched when they are needed, and cached with a least and a most age.

The rules:

1. Keys are used for at most an hour after they were fetched. If they can't be fetched again until
   then, no token of the issuer is accepted: it may have withdrawn a key.
2. After a quarter of an hour the next token has them fetched again; if that fails, they stay.
3. A token with an unknown ``kid`` has them fetched again, for the issuer may have a new key, but at
   most once a minute, whatever strangers send.
4. One thread fetches. Others with a key that is known do not wait for it.
5. Keys come from the configured URL, or from the one that the issuer's discovery document names on
   the issuer's own host.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pki.attestation.https_url import HttpsUrl
from pki.attestation.issuer_config import IssuerConfig
from pki.attestation.key_set import MAX_KEY_SET_BYTES, KeySet
from pki.attestation.strict_json import read_json_object
from pki.errors import InputError, PkiError, quote_untrusted
from pki.oidc.fetch import IssuerUnreachableError, fetch

LEAST_AGE = 60.0
REFRESH_AGE = 900.0
MOST_AGE = 3600.0
_DISCOVERY = "/.well-known/openid-configuration"
_MAX_DISCOVERY_BYTES = 64 * 1024
_FETCH_SECONDS = 10.0

Fetch = Callable[..., bytes]


@dataclass(frozen=True, slots=True)
class _Fetched:
    keys: KeySet
    at: float


class IssuerKeys:
    """The keys of one issuer.

    Args:
        config: the issuer.
        monotonic: returns seconds that never go back.
        seconds: how long each document may take.
    """

    def __init__(
        self,
        config: IssuerConfig,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        seconds: float = _FETCH_SECONDS,
    ) -> None:
        self._config = config
        self._monotonic = monotonic
        self._seconds = seconds
        self._fetched: _Fetched | None = None
        self._tried_at = float("-inf")
        self._failure: PkiError | None = None
        self._lock = threading.Lock()

    def keys_for(self, kid: str) -> KeySet:
        """Return the issuer's keys, fetched again if they are old or lack this one.

        Args:
            kid: the key that a token names.

        Raises:
            PkiError: if there are no keys that are young enough, and they can't be fetched.
        """
        fetched, age = self._fetched, self._age()
        is_known = fetched is not None and kid in fetched.keys.keys and age < MOST_AGE
        if not is_known or age >= REFRESH_AGE:
            # Who knows the key does not wait for whoever fetches.
            if self._lock.acquire(blocking=not is_known):
                try:
                    if self._is_due(kid):
                        self._refresh()
                finally:
                    self._lock.release()
            fetched, age = self._fetched, self._age()
        if fetched is not None and age < MOST_AGE:
            return fetched.keys
        raise self._failure or IssuerUnreachableError(
            f"the keys of {quote_untrusted(self._config.issuer.text)} are too old"
        )

    def _age(self) -> float:
        return self._monotonic() - self._fetched.at if self._fetched else float("inf")

    def _is_due(self, kid: str) -> bool:
        if self._monotonic() - self._tried_at < LEAST_AGE:
            return False
        fetched = self._fetched
        return fetched is None or kid not in fetched.keys.keys or self._age() >= REFRESH_AGE

    def _refresh(self) -> None:
        self._tried_at = self._monotonic()
        try:
            keys = KeySet.read(self._fetch(self._find_jwks(), MAX_KEY_SET_BYTES))
        except PkiError as error:
            self._failure = error
            return
        self._fetched, self._failure = _Fetched(keys, self._monotonic()), None

    def _find_jwks(self) -> HttpsUrl:
        issuer = self._config.issuer
        if self._config.jwks is not None:
            return self._config.jwks
        url = issuer.below(_DISCOVERY)
        document = read_json_object(
            self._fetch(url, _MAX_DISCOVERY_BYTES), what=f"the document {url.text}"
        )
        if document.get("issuer") != issuer.text:
            raise InputError(
                f"{url.text} is of the issuer {quote_untrusted(document.get('issuer'))}, not of "
                f"{quote_untrusted(issuer.text)}",
                remedy="Write the issuer as it writes itself, character by character",
            )
        jwks = HttpsUrl.parse(str(document.get("jwks_uri")), what="jwks_uri")
        if not jwks.is_same_place(issuer):
            raise InputError(
                f"{url.text} says that the keys are at {quote_untrusted(jwks.text)}, on another "
                "host",
                remedy="If the issuer has them on its own host too, name that: jwks = URL",
            )
        return jwks

    def _fetch(self, url: HttpsUrl, max_bytes: int) -> bytes:
        return fetch(
            url, ca_bundle=self._config.ca_bundle, max_bytes=max_bytes, seconds=self._seconds
        )
