"""Certificates as values: profiles, requests, verification, trust bundles and CRLs."""

from pki.fault import Fault
from pki.x509.bundle import TrustBundle
from pki.x509.credential import Credential
from pki.x509.names import CertificateNames, IpAddress, canonical_name, decode_name, read_names
from pki.x509.profiles import CLIENT, SERVER, WORKLOAD, LeafProfile, NameLimits, Purpose
from pki.x509.readers import read_certificate, read_chain
from pki.x509.request import Request, read_request
from pki.x509.revocation import Crl, CrlSet, IssuerId
from pki.x509.verify import ChainVerifier, RevocationMode, VerifiedChain

__all__ = [
    "CLIENT",
    "SERVER",
    "WORKLOAD",
    "CertificateNames",
    "ChainVerifier",
    "Credential",
    "Crl",
    "CrlSet",
    "Fault",
    "IpAddress",
    "IssuerId",
    "LeafProfile",
    "NameLimits",
    "Purpose",
    "Request",
    "RevocationMode",
    "TrustBundle",
    "VerifiedChain",
    "canonical_name",
    "decode_name",
    "read_certificate",
    "read_chain",
    "read_names",
    "read_request",
]
