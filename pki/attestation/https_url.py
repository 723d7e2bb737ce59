"""URLs of issuers: https, a host and a path, and nothing that readers understand differently."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pki.errors import InputError, quote_untrusted

_MAX_LENGTH = 512
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/\[\]%]+")


@dataclass(frozen=True, slots=True)
class HttpsUrl:
    """An https URL.

    Args:
        text: as it was written.
        host: a DNS name in lower case, or an address without brackets.
        port: the port.
        path: beginning with a slash; empty if there is none.
    """

    text: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str, *, what: str) -> HttpsUrl:
        """Parse a URL.

        Args:
            text: the URL.
            what: names it in errors, e.g. ``issuer``.

        Raises:
            InputError: if it is none, is not https, or holds a user, a query or a fragment.
        """
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if (
            len(text) > _MAX_LENGTH
            or not _CHARACTERS.fullmatch(text)
            or not text.startswith("https://")
            or not host
            or port == 0
            or parts.netloc.endswith(":")
            or "//" in parts.path
            or ".." in parts.path
        ):
            raise InputError(
                f"{what} {quote_untrusted(text)} is no https URL of host and path",
                remedy="Write it as the issuer does, e.g. https://token.actions.example.com",
            )
        return cls(text, host, port or 443, parts.path)

    def is_same_place(self, other: HttpsUrl) -> bool:
        """Return whether another URL has the same host and port."""
        return (self.host, self.port) == (other.host, other.port)

    def below(self, path: str) -> HttpsUrl:
        """Return the URL of a path below this one."""
        base = self.text.removesuffix("/")
        return HttpsUrl(
            f"{base}{path}", self.host, self.port, f"{self.path.removesuffix('/')}{path}"
        )
