"""Names: trust domains, SPIFFE IDs, DNS names and subjects, and their derivation."""

from pki.identity.derived import DerivedNames, derive_names, spiffe_id_of_dns_name
from pki.identity.dns_name import DnsName
from pki.identity.spiffe_id import SpiffeId
from pki.identity.subject import Subject
from pki.identity.trust_domain import TrustDomain

__all__ = [
    "DerivedNames",
    "DnsName",
    "SpiffeId",
    "Subject",
    "TrustDomain",
    "derive_names",
    "spiffe_id_of_dns_name",
]
