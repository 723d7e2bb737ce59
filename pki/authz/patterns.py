"""The patterns of a policy file, parsed: names by type, and methods.

A wildcard stands for one whole SPIFFE path segment or one left-most DNS label, and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pki.authz.principal import Principal
from pki.errors import InputError, NameRefusedError, quote_untrusted
from pki.identity import DnsName, SpiffeId, Subject, TrustDomain

_STAR = "*"
# What stands for a wildcard while the rest of a SPIFFE ID is parsed by the standard's rules.
_STAND_IN = "wildcard"
_SERVICE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
_METHOD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class SpiffePattern:
    """A SPIFFE ID; a segment that is None matches any one segment."""

    trust_domain: TrustDomain
    segments: tuple[str | None, ...]

    @property
    def exact(self) -> SpiffeId | None:
        """The one ID that it matches, if it has no wildcard."""
        whole = tuple(item for item in self.segments if item is not None)
        return SpiffeId(self.trust_domain, whole) if len(whole) == len(self.segments) else None


@dataclass(frozen=True, slots=True)
class DnsPattern:
    """A DNS name, or with ``any_label`` every name of one label more below it."""

    name: DnsName
    any_label: bool = False


@dataclass(frozen=True, slots=True)
class SubjectPattern:
    """A whole distinguished name."""

    subject: Subject


NamePattern = SpiffePattern | DnsPattern | SubjectPattern


def parse_name_pattern(text: str) -> NamePattern:
    """Parse ``spiffe://...``, ``dns:...`` or ``subject:...``.

    Raises:
        InputError: if it is none of them, or has a wildcard where none may stand.
    """
    if text.startswith("spiffe://"):
        return _parse_spiffe(text)
    if text.startswith("dns:"):
        return _parse_dns(text)
    if text.startswith("subject:"):
        return _parse_subject(text)
    raise NameRefusedError(
        f"name {quote_untrusted(text)} begins with none of spiffe://, dns: and subject:",
        remedy="Write spiffe://TRUST-DOMAIN/PATH, dns:HOST or subject:CN=...,O=...",
    )


def _parse_dns(text: str) -> DnsPattern:
    name = text.removeprefix("dns:")
    any_label = name.startswith("*.")
    rest = name.removeprefix("*.") if any_label else name
    if _STAR in rest:
        raise NameRefusedError(
            f"name {quote_untrusted(text)} holds a star that is not the whole first label "
            "of a DNS name",
            remedy="Write it like dns:*.shop.internal: one star, for the first label alone",
        )
    return DnsPattern(DnsName.parse(rest), any_label)


def _parse_subject(text: str) -> SubjectPattern:
    # A star would stand for itself, and who writes one means a wildcard.
    if _STAR in text:
        raise NameRefusedError(
            f"name {quote_untrusted(text)} holds a star, and subjects match whole, without "
            "wildcards",
            remedy=r"Write the whole subject; a star that is meant as such is \2a",
        )
    return SubjectPattern(Subject.parse(text.removeprefix("subject:")))


def _parse_spiffe(text: str) -> SpiffePattern:
    authority, slash, path = text.removeprefix("spiffe://").partition("/")
    segments = path.split("/") if slash else []
    if _STAR in authority or any(_STAR in item and item != _STAR for item in segments):
        raise NameRefusedError(
            f"name {quote_untrusted(text)} holds a star that is no whole path segment (a "
            "trust domain takes "
            "no star at all)",
            remedy="Write it like spiffe://shop.internal/*/orders: one star for one segment",
        )
    plain = [_STAND_IN if segment == _STAR else segment for segment in segments]
    parsed = SpiffeId.parse("spiffe://" + authority + slash + "/".join(plain))
    wild = tuple(
        None if segment == _STAR else kept
        for segment, kept in zip(segments, parsed.segments, strict=True)
    )
    return SpiffePattern(parsed.trust_domain, wild)


@dataclass(frozen=True, slots=True)
class MethodPattern:
    """A method's service and name; a name of None means every method of the service."""

    service: str
    method: str | None


def parse_method_pattern(text: str) -> MethodPattern:
    """Parse ``/pkg.Service/Method`` or ``/pkg.Service/*``.

    Raises:
        InputError: if it is neither.
    """
    parts = text.split("/")
    if len(parts) == 3 and not parts[0] and _SERVICE.fullmatch(parts[1]):
        if parts[2] == _STAR:
            return MethodPattern(parts[1], None)
        if _METHOD.fullmatch(parts[2]):
            return MethodPattern(parts[1], parts[2])
    raise InputError(
        f"method {quote_untrusted(text)} is not written /package.Service/Method or "
        "/package.Service/*",
        remedy="Begin with a slash, and let * stand for a whole method name alone",
    )


def parse_method_path(path: str) -> MethodPattern | None:
    """Read a call's path as the one method that a pattern could name; None if none could.

    Args:
        path: just as the call gave it.
    """
    parts = path.split("/", 3)
    plain = (
        len(parts) == 3
        and not parts[0]
        and _SERVICE.fullmatch(parts[1])
        and _METHOD.fullmatch(parts[2])
    )
    return MethodPattern(parts[1], parts[2]) if plain else None


def written_method(pattern: MethodPattern) -> str:
    """Write a method pattern as a policy file does."""
    return f"/{pattern.service}/{pattern.method or _STAR}"


def parse_service(text: str) -> str:
    """Parse a service's full name, ``package.Service``.

    Raises:
        InputError: if it is none.
    """
    if not _SERVICE.fullmatch(text):
        raise InputError(f"service {quote_untrusted(text)} is not written package.Service")
    return text


def keys_of(principal: Principal, own: TrustDomain) -> list[object]:
    """Return the keys under which a principal's exact names may stand in a table.

    ``dns:`` and ``subject:`` count only for leaves of the policy's own trust domain.
    """
    keys: list[object] = []
    if principal.spiffe_id is None:
        return keys
    keys.append(principal.spiffe_id)
    if principal.spiffe_id.trust_domain == own:
        for name in principal.dns_names:
            keys.append(DnsPattern(name))
            _, dot, parent = name.name.partition(".")
            if dot:
                keys.append(DnsPattern(DnsName(parent), any_label=True))
        if principal.subject is not None and principal.subject.rdns:
            keys.append(SubjectPattern(principal.subject))
    return keys
