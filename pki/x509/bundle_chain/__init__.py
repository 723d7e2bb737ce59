"""Signed, numbered trust bundles: each one is vouched for by a root of the bundle before it."""

from pki.x509.bundle_chain.content import BundleContent
from pki.x509.bundle_chain.follow import begin, follow
from pki.x509.bundle_chain.refusal import BundleFault, BundleRefusedError
from pki.x509.bundle_chain.signed import SignedBundle, sign_bundle

__all__ = [
    "BundleContent",
    "BundleFault",
    "BundleRefusedError",
    "SignedBundle",
    "begin",
    "follow",
    "sign_bundle",
]
