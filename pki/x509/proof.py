"""What is kept of a path that was accepted, so that new lists can be asked about it alone.

Building a path costs about a millisecond, and asking a list for a serial number about a
microsecond. A receiver with thousands of peers gets a new list every few minutes, and has to part
with a revoked peer within a second: it can't build every path anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise

from cryptography import x509

from pki.identity import TrustDomain
from pki.x509.names import CertificateNames
from pki.x509.revocation import IssuerId

# Peers share their issuers: one object for each, however many peers there are.
_MOST_SHARED = 256


@dataclass(frozen=True, slots=True)
class Link:
    """One certificate below the root, as the list of its issuer knows it.

    Args:
        serial: its serial number.
        issuer_id: what it names its issuer by.
        issuer: the CA above it on the path.
    """

    serial: int
    issuer_id: IssuerId
    issuer: x509.Certificate


@dataclass(frozen=True, slots=True)
class PathProof:
    """A path that was accepted by a verifier.

    Args:
        links: the certificates below the root, the leaf first.
        issuers: the CAs above the leaf, the root last.
        names: those of the leaf.
        trust_domain: that of the leaf's SPIFFE ID, whose roots count; None where all do.
        lifetime: the leaf's whole life.
        begin: all certificates of the path are valid from this time.
        end: and until just before this one.
    """

    links: tuple[Link, ...]
    issuers: tuple[x509.Certificate, ...]
    names: CertificateNames
    trust_domain: TrustDomain | None
    lifetime: timedelta
    begin: datetime
    end: datetime

    @classmethod
    def of(cls, path: tuple[x509.Certificate, ...], names: CertificateNames) -> PathProof:
        """Return what is to be kept of a path from the leaf to the root."""
        leaf, spiffe_id = path[0], names.spiffe_id
        return cls(
            links_of(path),
            tuple(map(_shared, path[1:])),
            names,
            None if spiffe_id is None else spiffe_id.trust_domain,
            leaf.not_valid_after_utc - leaf.not_valid_before_utc,
            max(item.not_valid_before_utc for item in path),
            # notAfter itself still counts, to its last second.
            later(min(item.not_valid_after_utc for item in path), timedelta(seconds=1)),
        )


def links_of(path: tuple[x509.Certificate, ...]) -> tuple[Link, ...]:
    """Return the links of a path from the leaf to the root."""
    return tuple(
        Link(item.serial_number, _shared_id(IssuerId.of(item)), _shared(issuer))
        for item, issuer in pairwise(path)
    )


def later(moment: datetime, by: timedelta) -> datetime:
    """Return a time and a span added; "no end" (RFC 5280 §4.1.2.5) stays the last of all times."""
    try:
        return moment + by
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


@lru_cache(maxsize=_MOST_SHARED)
def _shared(certificate: x509.Certificate) -> x509.Certificate:
    return certificate


@lru_cache(maxsize=_MOST_SHARED)
def _shared_id(issuer: IssuerId) -> IssuerId:
    return issuer
