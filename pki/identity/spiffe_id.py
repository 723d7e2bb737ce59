"""SPIFFE IDs by the SPIFFE-ID standard, sections 2.1 to 2.4."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pki.errors import NameRefusedError, quote_untrusted
from pki.identity.comparison import compare_with_other_kind
from pki.identity.trust_domain import TrustDomain

_SCHEME = "spiffe://"
_MAX_BYTES = 2048  # SPIFFE-ID §2.3
_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+", re.ASCII)  # SPIFFE-ID §2.2


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:  # noqa: PLW1641 - the dataclass makes __hash__
    """A workload's name: a trust domain and one or more path segments.

    A trust domain's own ID, which has no path, is a :class:`TrustDomain` here, so that it is never
    used as a workload's.
    """

    trust_domain: TrustDomain
    segments: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.segments:
            raise NameRefusedError(
                f"SPIFFE ID of {self.trust_domain} has no path, so it names no workload",
                remedy="Add a path, e.g. spiffe://shop.internal/orders",
            )
        for segment in self.segments:
            if not _SEGMENT.fullmatch(segment) or segment in {".", ".."}:
                raise NameRefusedError(
                    f"SPIFFE ID path segment {quote_untrusted(segment)} is empty, a dot "
                    "segment, or holds "
                    "characters outside A-Z a-z 0-9 . _ - (SPIFFE-ID section 2.2)",
                    remedy="Write each segment with these characters only",
                )
        if len(str(self)) > _MAX_BYTES:
            raise NameRefusedError(
                f"SPIFFE ID of {len(str(self))} bytes is longer than {_MAX_BYTES} "
                "(SPIFFE-ID section 2.3)"
            )

    @classmethod
    def parse(cls, uri: str) -> SpiffeId:
        """Parse a URI such as ``spiffe://shop.internal/prod/orders``.

        The scheme and the trust domain must be in lower case; a query, fragment, port, user part,
        percent sign, empty segment, dot segment or trailing slash is refused.

        Raises:
            NameRefusedError: if the text is not exactly one workload's SPIFFE ID.
        """
        if len(uri) > _MAX_BYTES:
            raise NameRefusedError(
                f"SPIFFE ID {quote_untrusted(uri)} is longer than {_MAX_BYTES} bytes "
                "(SPIFFE-ID section 2.3)"
            )
        if not uri.startswith(_SCHEME):
            raise NameRefusedError(
                f"{quote_untrusted(uri)} is no SPIFFE ID: it does not begin with spiffe://",
                remedy="Write it as spiffe://TRUST-DOMAIN/PATH",
            )
        authority, slash, path = uri.removeprefix(_SCHEME).partition("/")
        domain = TrustDomain.parse(authority)
        return cls(domain, tuple(path.split("/")) if slash else ())

    @classmethod
    def of_path(cls, trust_domain: TrustDomain, path: str) -> SpiffeId:
        """Return the ID with a path, such as ``orders`` or ``prod/orders``, in a trust domain.

        Raises:
            NameRefusedError: if the path breaks SPIFFE-ID section 2.2.
        """
        return cls(trust_domain, tuple(path.split("/")))

    @classmethod
    def parse_name(cls, text: str, trust_domain: TrustDomain | None) -> SpiffeId:
        """Parse a workload's name as a person writes it: a path, or a whole SPIFFE ID.

        Args:
            text: a path such as ``orders`` or ``prod/orders``, or a URI. What holds ``://`` is
                parsed as a URI.
            trust_domain: the trust domain that a path belongs to. None accepts a URI only.

        Raises:
            NameRefusedError: if the text is neither.
        """
        if trust_domain is None or "://" in text:
            return cls.parse(text)
        return cls.of_path(trust_domain, text)

    @classmethod
    def of_ca(cls, trust_domain: TrustDomain) -> SpiffeId:
        """Return the name of a trust domain's CA: the one name that workloads accept as theirs."""
        return cls(trust_domain, ("handfast", "ca"))

    @property
    def path(self) -> str:
        """The path without its leading slash: ``prod/orders``."""
        return "/".join(self.segments)

    @property
    def is_reserved(self) -> bool:
        """Whether the ID is reserved for the CA itself: ``/handfast/...`` or ``/ca``."""
        return self.segments[0].lower() == "handfast" or self.path.lower() == "ca"

    def __eq__(self, other: object) -> bool:
        """Compare with another SPIFFE ID.

        Raises:
            TypeError: if the other is text.
        """
        if not isinstance(other, SpiffeId):
            return compare_with_other_kind(self, other)
        return (self.trust_domain, self.segments) == (other.trust_domain, other.segments)

    def __str__(self) -> str:
        """Return the URI."""
        return f"{_SCHEME}{self.trust_domain.name}/{self.path}"
