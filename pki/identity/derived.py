"""Derive a DNS name and a subject from a SPIFFE ID.

Workload ``orders`` in ``shop.internal`` has the DNS name ``orders.shop.internal`` and the subject
``CN=orders,O=shop.internal``. Path segments become DNS labels in reverse order: ``/prod/orders``
has the DNS name ``orders.prod.shop.internal``, and its whole path is the CN. A name that is too
long is left out, never cut, because the cut name could be another workload's. Without a CN the
subject is empty, because many workloads would share ``O=shop.internal``.

A path of one segment with a dot gives no CN either, because it looks like a host name. If a leaf
has no DNS SAN, OpenSSL and its users treat such a CN as a DNS name: ``orders.v1`` would break the
issuing CA's name constraints, and ``/orders.shop.internal`` would be accepted as ``/orders``.

Within a trust domain, no two SPIFFE IDs have the same DNS name. So a segment with a dot, an
upper-case letter or an underscore gives no DNS name: it would not be unique or not be valid.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509

from pki.errors import NameRefusedError
from pki.identity.dns_name import DnsName
from pki.identity.spiffe_id import SpiffeId
from pki.identity.subject import Subject
from pki.identity.trust_domain import TrustDomain

_LABEL_SEGMENT = re.compile(r"[a-z0-9-]+", re.ASCII)
_UB_COMMON_NAME = 64  # RFC 5280 appendix A.1
_UB_ORGANIZATION = 64  # RFC 5280 appendix A.1


@dataclass(frozen=True, slots=True)
class DerivedNames:
    """The names derived from a SPIFFE ID; ``dns`` is None if the path gives no DNS name."""

    dns: DnsName | None
    subject: Subject


# Both are values, and a certificate's way through a CA asks for them a dozen times.
@lru_cache(maxsize=4096)
def derive_names(spiffe_id: SpiffeId) -> DerivedNames:
    """Derive DNS name and subject of a workload."""
    return DerivedNames(_derive_dns(spiffe_id), _derive_subject(spiffe_id))


def spiffe_id_of_dns_name(name: DnsName, trust_domain: TrustDomain) -> SpiffeId | None:
    """Return the SPIFFE ID in a trust domain that gives this DNS name; None if there is none."""
    suffix = "." + trust_domain.name
    if not name.name.endswith(suffix):
        return None
    labels = name.name.removesuffix(suffix).split(".")
    candidate = SpiffeId(trust_domain, tuple(reversed(labels)))
    return candidate if _derive_dns(candidate) == name else None


def _derive_dns(spiffe_id: SpiffeId) -> DnsName | None:
    if not all(_LABEL_SEGMENT.fullmatch(segment) for segment in spiffe_id.segments):
        return None
    try:
        return DnsName(".".join([*reversed(spiffe_id.segments), spiffe_id.trust_domain.name]))
    except NameRefusedError:
        return None


def _derive_subject(spiffe_id: SpiffeId) -> Subject:
    host_like = len(spiffe_id.segments) == 1 and "." in spiffe_id.path
    if host_like or len(spiffe_id.path) > _UB_COMMON_NAME:
        return Subject(())
    rdns = []
    if len(spiffe_id.trust_domain.name) <= _UB_ORGANIZATION:
        organization = x509.NameOID.ORGANIZATION_NAME.dotted_string
        rdns.append(frozenset({(organization, spiffe_id.trust_domain.name)}))
    common_name = x509.NameOID.COMMON_NAME.dotted_string
    rdns.append(frozenset({(common_name, spiffe_id.path)}))
    return Subject(tuple(rdns))
