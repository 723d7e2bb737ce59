"""DNS names as certificates may hold them: RFC 1034 section 3.5, RFC 5280 section 4.2.1.6."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pki.errors import NameRefusedError, quote_untrusted
from pki.identity.comparison import compare_with_other_kind

_MAX_NAME = 253
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# getaddrinfo and browsers read a name that ends in a number as an address, in hex too: 0x7f000001.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]+", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class DnsName:  # noqa: PLW1641 - the dataclass makes __hash__
    """A full host name in lower case, without trailing dot; never a wildcard or an address."""

    name: str

    def __post_init__(self) -> None:
        labels = self.name.split(".")
        if len(self.name) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
            raise NameRefusedError(
                f"{quote_untrusted(self.name)} is no DNS name: labels of 1 to 63 letters, "
                "digits and inner "
                f"dashes, at most {_MAX_NAME} characters, no wildcard (RFC 1034 section 3.5)",
                remedy="Write the full host name, e.g. orders.shop.internal",
            )
        if _NUMBER.fullmatch(labels[-1]):
            raise NameRefusedError(
                f"{quote_untrusted(self.name)} looks like an IP address, not a DNS name",
                remedy="Give it as an IP address instead",
            )

    @classmethod
    def parse(cls, text: str) -> DnsName:
        """Parse a host name; ASCII letters are folded to lower case.

        Raises:
            NameRefusedError: for anything but a full host name.
        """
        return cls(text.lower() if text.isascii() else text)

    def is_within(self, parent: DnsName) -> bool:
        """Return whether this name is the parent or a name below it."""
        return self == parent or self.name.endswith("." + parent.name)

    def __eq__(self, other: object) -> bool:
        """Compare with another DNS name.

        Raises:
            TypeError: if the other is text.
        """
        if not isinstance(other, DnsName):
            return compare_with_other_kind(self, other)
        return self.name == other.name

    def __str__(self) -> str:
        """Return the name."""
        return self.name
