"""The keys of OIDC issuers: fetched from their configured address, and cached."""

from pki.oidc.fetch import IssuerUnreachableError, fetch
from pki.oidc.issuer_keys import IssuerKeys

__all__ = ["IssuerKeys", "IssuerUnreachableError", "fetch"]
