"""Whether the other side proved that it holds the key of the certificate that it presented.

In a handshake each side signs with its key, and the other verifies the signature with the first
certificate of the chain. The signature fails where certificate and key were not made together, and
where the chain does not begin with the leaf.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from pki.diagnosis.checks.certificates.issuer_path import is_ca, quote_name
from pki.diagnosis.report import Finding, failed
from pki.errors import CertificateError
from pki.x509.decoding import UNREADABLE

# OpenSSL's reasons for a signature of the handshake that does not fit (ssl/sslerr.h).
_BAD_SIGNATURE, _WRONG_TYPE = "bad signature", "wrong signature type"
LEAF_FIRST = "Write the leaf first into the chain's file, then its issuer, and so on"


def move_leaf_to_front(chain: tuple[x509.Certificate, ...]) -> tuple[x509.Certificate, ...]:
    """Return a chain that begins with a CA in the order that was meant: its only leaf first."""
    try:
        leaves = [item for item in chain if not is_ca(item)]
    except (CertificateError, *UNREADABLE):
        return chain
    if len(leaves) != 1 or not is_ca(chain[0]):
        return chain
    return (leaves[0], *(item for item in chain if item != leaves[0]))


def examine_key_proof(whose: str, chain: Sequence[x509.Certificate], reason: str) -> list[Finding]:
    """Examine why a handshake failed over the signature of the side that presented a chain.

    Args:
        whose: for the name of the checks: ``server certificate`` or ``the caller's certificate``.
        chain: the certificates, in the order in which they were presented.
        reason: OpenSSL's reason for the failure of the handshake.

    Returns:
        The cause; empty if the handshake failed for another reason.
    """
    if not chain or not (_BAD_SIGNATURE in reason or _WRONG_TYPE in reason):
        return []
    if move_leaf_to_front(tuple(chain)) != tuple(chain):
        leaf = next(item for item in chain if not is_ca(item))
        message = (
            f"the leaf {quote_name(leaf.subject)} does not come first, but "
            f"{quote_name(chain[0].subject)}, a CA: the handshake is verified with the first "
            "certificate, and fails"
        )
        return [failed(f"{whose}: chain", "chain-order", message, remedy=LEAF_FIRST)]
    first = quote_name(chain[0].subject)
    message = (
        f"the handshake was signed with another key than that of {first}: the key and the "
        f"certificate do not belong together ({reason})"
    )
    check = f"{whose}: key"
    if _WRONG_TYPE not in reason:
        return [failed(check, "key-mismatch", message)]
    other = f"the handshake was signed in a way that the key of {first} does not allow ({reason})"
    return [
        failed(check, "key-mismatch", message, likelihood=80),
        failed(check, "unsupported-key", other, likelihood=40),
    ]
