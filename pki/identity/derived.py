"""What a SPIFFE ID gives besides itself: a DNS name and a subject.

Workload ``orders`` in ``shop.internal`` is ``orders.shop.internal`` and
``CN=orders,O=shop.internal``. Several path segments reverse into DNS labels: ``/prod/orders`` gives
``orders.prod.shop.internal`` and is whole in the CN. What does not fit is left out, never cut: a
cut name could be another's. Without a CN the subject is empty, because ``O=shop.internal`` alone
would be shared by many.

A path of one segment with a dot in it gives no CN either. It reads as a host name, and where a leaf
has no DNS SAN, OpenSSL and its users take such a CN for one: ``orders.v1`` would break the issuing
CA's name constraints, and ``/orders.shop.internal`` would pass for the host of ``/orders``.

The mapping to DNS names is injective within a trust domain. A segment with a dot, an upper-case
letter or an underscore derives no DNS name, because two IDs could share it or it is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
    """The names that follow from a SPIFFE ID; ``dns`` is None where the path is no DNS name."""

    dns: DnsName | None
    subject: Subject


def derive_names(spiffe_id: SpiffeId) -> DerivedNames:
    """Derive DNS name and subject of a workload."""
    return DerivedNames(_derive_dns(spiffe_id), _derive_subject(spiffe_id))


def spiffe_id_of_dns_name(name: DnsName, trust_domain: TrustDomain) -> SpiffeId | None:
    """Return the one SPIFFE ID that derives this DNS name in this trust domain, if there is one."""
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
