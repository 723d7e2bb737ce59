"""Profiles: what each kind of certificate must and may contain, for building and for checking.

The check runs before a certificate leaves the CA and again at the receiver, because the libraries
accept much that RFC 5280 and the SPIFFE X509-SVID standard forbid.
"""

from pki.x509.profiles.ca import IssuingProfile, NameLimits, RootProfile
from pki.x509.profiles.leaf import (
    CLIENT,
    LEAF_PROFILES,
    SERVER,
    WORKLOAD,
    LeafNames,
    LeafProfile,
    Purpose,
)

__all__ = [
    "CLIENT",
    "LEAF_PROFILES",
    "SERVER",
    "WORKLOAD",
    "IssuingProfile",
    "LeafNames",
    "LeafProfile",
    "NameLimits",
    "Purpose",
    "RootProfile",
]
