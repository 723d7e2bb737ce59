"""Proofs of who a workload is, beside the CA's own: JWTs of OIDC issuers. Nothing here does I/O.

``pki.attestation.jwt`` needs ``handfast[oidc]``; the other modules do not.
"""

from pki.attestation.errors import TokenRefusedError
from pki.attestation.issuer_config import IssuerConfig
from pki.attestation.key_set import Algorithm, KeySet

__all__ = ["Algorithm", "IssuerConfig", "KeySet", "TokenRefusedError"]
