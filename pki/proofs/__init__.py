"""What a workload shows to the CA instead of a certificate: tokens, and signatures over requests.

Both sides use it: the workload makes a proof, and the CA checks it. Formats: docs/ca-protocol.md.
"""

from pki.proofs.binding import Purpose, bind_request, check_binding
from pki.proofs.recovery import (
    RecoveryId,
    RecoveryStatement,
    check_recovery,
    encode_recovery_key,
    read_recovery_key,
    sign_recovery,
)
from pki.proofs.token import EnrollmentToken, TokenCredential

__all__ = [
    "EnrollmentToken",
    "Purpose",
    "RecoveryId",
    "RecoveryStatement",
    "TokenCredential",
    "bind_request",
    "check_binding",
    "check_recovery",
    "encode_recovery_key",
    "read_recovery_key",
    "sign_recovery",
]
