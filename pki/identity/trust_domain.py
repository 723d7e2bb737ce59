"""Trust domains by the SPIFFE-ID standard, section 2.1."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pki.errors import NameRefusedError, quote_untrusted
from pki.identity.comparison import compare_with_other_kind

# SPIFFE-ID §2.1: lower-case letters, digits, dots, dashes and underscores, at most 255 bytes.
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class TrustDomain:  # noqa: PLW1641 - the dataclass makes __hash__
    """The namespace of one CA's workloads, e.g. ``shop.internal``.

    Make one with :meth:`parse`; the constructor checks the same rules.
    """

    name: str

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.name):
            raise NameRefusedError(
                f"trust domain {quote_untrusted(self.name)} must be 1 to 255 "
                "lower-case letters, "
                "digits, dots, dashes and underscores (SPIFFE-ID section 2.1)",
                remedy="Use a name such as shop.internal",
            )

    @classmethod
    def parse(cls, text: str) -> TrustDomain:
        """Parse a trust domain's bare name.

        Args:
            text: the name, e.g. ``shop.internal``; no scheme and no path.

        Raises:
            NameRefusedError: if it breaks SPIFFE-ID section 2.1.
        """
        return cls(text)

    @property
    def id_uri(self) -> str:
        """The trust domain's own ID, ``spiffe://shop.internal``, as CA certificates hold it."""
        return f"spiffe://{self.name}"

    @property
    def audit_log(self) -> str:
        """The name of the audit log of the trust domain's CA, which the log's key has too."""
        return f"{self.name}/handfast/audit"

    def encloses(self, other: TrustDomain) -> bool:
        """Return whether the other trust domain is this one or, as a DNS name, below it.

        The DNS names of workloads in two such domains could be equal, so they must not be trusted
        together.
        """
        return other.name == self.name or other.name.endswith("." + self.name)

    def __eq__(self, other: object) -> bool:
        """Compare with another trust domain.

        Raises:
            TypeError: if the other is text.
        """
        if not isinstance(other, TrustDomain):
            return compare_with_other_kind(self, other)
        return self.name == other.name

    def __str__(self) -> str:
        """Return the bare name."""
        return self.name
