"""The nonces of recoveries: each is good once, for one line and for a minute."""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime, timedelta

from pki.proofs import RecoveryId
from pki.proofs.statement import statement

NONCE_LIFETIME = timedelta(minutes=1)
_RANDOM_BYTES, _TIME_BYTES, _MAC_BYTES = 16, 8, 16


class Nonces:
    """The CA's nonces for recoveries. They are kept nowhere until they are used.

    Args:
        mac_key: the CA's key for MACs.
    """

    def __init__(self, mac_key: bytes) -> None:
        self._key = mac_key

    def make(self, recovery_id: RecoveryId, *, now: datetime) -> bytes:
        """Make a nonce for one recovery of one line, good for a minute."""
        body = secrets.token_bytes(_RANDOM_BYTES) + int(now.timestamp()).to_bytes(_TIME_BYTES)
        return body + self._mac(recovery_id, body)

    def made_at(self, nonce: bytes, recovery_id: RecoveryId) -> datetime | None:
        """Return when a nonce was made for this line; None if it was not."""
        body, mac = nonce[:-_MAC_BYTES], nonce[-_MAC_BYTES:]
        if len(body) != _RANDOM_BYTES + _TIME_BYTES or not hmac.compare_digest(
            mac, self._mac(recovery_id, body)
        ):
            return None
        return datetime.fromtimestamp(int.from_bytes(body[_RANDOM_BYTES:]), tz=UTC)

    def _mac(self, recovery_id: RecoveryId, body: bytes) -> bytes:
        signed = statement("nonce", recovery_id.id, body)
        return hmac.digest(self._key, signed, "sha256")[:_MAC_BYTES]
