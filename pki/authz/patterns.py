"""The patterns in a policy file, parsed: names by type, and methods.

A wildcard matches one whole SPIFFE path segment, or one left-most DNS label, and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pki.authz.principal import Principal
from pki.errors import InputError, NameRefusedError, quote_untrusted
from pki.identity import DnsName, SpiffeId, Subject, TrustDomain

_STAR = "*"
# Replaces a wildcard while the rest of a SPIFFE ID is parsed by the rules of the standard.
_PLACEHOLDER = "wildcard"
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
    """A DNS name; with ``any_label``, every name with exactly one label before it."""

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
        InputError: if it is none of them, or has a wildcard where none is allowed.
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
            remedy="Write it like dns:*.shop.internal, with a star only for the first label",
        )
    return DnsPattern(DnsName.parse(rest), any_label)


def _parse_subject(text: str) -> SubjectPattern:
    # It would match a literal star, while the author means a wildcard.
    if _STAR in text:
        raise NameRefusedError(
            f"name {quote_untrusted(text)} holds a star, and subjects match as a whole, without "
            "wildcards",
            remedy=r"Write the whole subject; a literal star is written \2a",
        )
    return SubjectPattern(Subject.parse(text.removeprefix("subject:")))


def _parse_spiffe(text: str) -> SpiffePattern:
    authority, slash, path = text.removeprefix("spiffe://").partition("/")
    segments = path.split("/") if slash else []
    if _STAR in authority or any(_STAR in item and item != _STAR for item in segments):
        raise NameRefusedError(
            f"name {quote_untrusted(text)} holds a star that is not a whole path segment (and a "
            "trust domain can't hold a star)",
            remedy="Write it like spiffe://shop.internal/*/orders: one star for one segment",
        )
    plain = [_PLACEHOLDER if segment == _STAR else segment for segment in segments]
    parsed = SpiffeId.parse("spiffe://" + authority + slash + "/".join(plain))
    wild = tuple(
        None if segment == _STAR else kept
        for segment, kept in zip(segments, parsed.segments, strict=True)
    )
    return SpiffePattern(parsed.trust_domain, wild)


@dataclass(frozen=True, slots=True)
class MethodPattern:
    """A service and a method; None means every method of the service."""

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
        remedy="Begin with a slash, and write * only instead of a whole method name",
    )


def parse_method_path(path: str) -> MethodPattern | None:
    """Parse a call's path into the pattern of exactly that method; None if it is no method's path.

    Args:
        path: exactly as in the call.
    """
    parts = path.split("/", 3)
    plain = (
        len(parts) == 3
        and not parts[0]
        and _SERVICE.fullmatch(parts[1])
        and _METHOD.fullmatch(parts[2])
    )
    return MethodPattern(parts[1], parts[2]) if plain else None


def format_method(pattern: MethodPattern) -> str:
    """Return a method pattern as it is written in a policy file."""
    return f"/{pattern.service}/{pattern.method or _STAR}"


def parse_service(text: str) -> str:
    """Parse a service's full name, ``package.Service``.

    Raises:
        InputError: if it is not a service's name.
    """
    if not _SERVICE.fullmatch(text):
        raise InputError(f"service {quote_untrusted(text)} is not written package.Service")
    return text


def lookup_keys(principal: Principal, own: TrustDomain) -> list[object]:
    """Return the keys by which a principal's names are looked up in the table of exact names.

    DNS names and the subject are used only for principals of the policy's own trust domain.
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
