"""What a workload sends to recover."""

from __future__ import annotations

from dataclasses import dataclass

from pki.errors import NotPermittedError
from pki.identity import TrustDomain
from pki.proofs import RecoveryId, RecoveryStatement, check_recovery, read_recovery_key


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a workload sends to recover.

    Args:
        recovery_id: as it was handed out with the line's certificates.
        nonce: the CA's.
        request: the certificate signing request, DER, with a new key.
        binding: the signature that binds the request to the nonce.
        proof: the signature by the line's recovery key.
        next_key: the public key that replaces the recovery key, DER.
    """

    recovery_id: RecoveryId
    nonce: bytes
    request: bytes
    binding: bytes
    proof: bytes
    next_key: bytes

    def is_signed(self, trust_domain: TrustDomain, key: bytes) -> bool:
        """Return whether a recovery key, DER, made the proof."""
        made = RecoveryStatement(
            trust_domain, self.recovery_id, self.nonce, self.request, self.next_key
        )
        try:
            check_recovery(read_recovery_key(key), self.proof, made)
        except NotPermittedError:
            return False
        return True
