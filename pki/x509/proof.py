"""Remember an accepted path, so that it can be checked against new CRLs without building it again.

Building a path takes about a millisecond; looking up a serial number in a CRL takes about a
microsecond. A server with thousands of peers gets a new CRL every few minutes, and has to
disconnect a revoked peer within a second. So it can't build every path again.
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

# Peers have the same few issuers, so that one object of each is enough.
_MAX_SHARED = 256


@dataclass(frozen=True, slots=True)
class PathLink:
    """One certificate below the root, in the form in which its issuer's CRL is searched for it.

    Args:
        serial: the certificate's serial number.
        issuer_id: the issuer, as the certificate names it.
        issuer: the CA above it on the path.
    """

    serial: int
    issuer_id: IssuerId
    issuer: x509.Certificate


@dataclass(frozen=True, slots=True)
class PathProof:
    """The parts of an accepted path that are needed to verify it again.

    Args:
        links: the certificates below the root, the leaf first.
        issuers: the CAs above the leaf, the root last.
        names: of the leaf.
        trust_domain: of the leaf's SPIFFE ID, whose roots are trust anchors; None if all roots are.
        lifetime: of the leaf.
        begin: the time from which all certificates of the path are valid.
        end: the time from which the first of them is no longer valid.
    """

    links: tuple[PathLink, ...]
    issuers: tuple[x509.Certificate, ...]
    names: CertificateNames
    trust_domain: TrustDomain | None
    lifetime: timedelta
    begin: datetime
    end: datetime

    @classmethod
    def of(cls, path: tuple[x509.Certificate, ...], names: CertificateNames) -> PathProof:
        """Return the proof of a path, which runs from the leaf to the root."""
        leaf, spiffe_id = path[0], names.spiffe_id
        return cls(
            path_links(path),
            tuple(map(_shared, path[1:])),
            names,
            None if spiffe_id is None else spiffe_id.trust_domain,
            leaf.not_valid_after_utc - leaf.not_valid_before_utc,
            max(item.not_valid_before_utc for item in path),
            # The second of notAfter itself is still within the validity.
            add_or_max(min(item.not_valid_after_utc for item in path), timedelta(seconds=1)),
        )


def path_links(path: tuple[x509.Certificate, ...]) -> tuple[PathLink, ...]:
    """Return the links of a path from the leaf to the root."""
    return tuple(
        PathLink(item.serial_number, _shared_id(IssuerId.of(item)), _shared(issuer))
        for item, issuer in pairwise(path)
    )


def add_or_max(moment: datetime, span: timedelta) -> datetime:
    """Return the sum of a time and a span; the latest time if it overflows.

    A certificate without an end has the latest time as its ``notAfter`` (RFC 5280 §4.1.2.5).
    """
    try:
        return moment + span
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


@lru_cache(maxsize=_MAX_SHARED)
def _shared(certificate: x509.Certificate) -> x509.Certificate:
    return certificate


@lru_cache(maxsize=_MAX_SHARED)
def _shared_id(issuer: IssuerId) -> IssuerId:
    return issuer
