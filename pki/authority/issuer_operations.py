"""What a CA does with its issuing CAs: make, activate, distrust."""

from __future__ import annotations

from datetime import timedelta

from pki.authority import rotation
from pki.authority.ledger import IssuerRecord
from pki.authority.lifetimes import DEFAULT_ISSUING
from pki.authority.reader import AuthorityReader
from pki.keys import KeyType


class IssuerOperations(AuthorityReader):
    """The operations of :class:`pki.authority.Authority` on its issuing CAs."""

    def prepare_issuer(
        self, *, key_type: KeyType = KeyType.ECDSA_P256, lifetime: timedelta = DEFAULT_ISSUING
    ) -> IssuerRecord:
        """Make the next issuing CA and publish its CRL; it signs no leaf yet.

        Raises:
            StateError: if the root's key is not there.
        """
        record = rotation.prepare_issuer(self._context, key_type=key_type, lifetime=lifetime)
        self._context.publish()
        return record

    def activate_issuer(self) -> IssuerRecord:
        """Make the prepared issuing CA the one that signs leaves.

        Raises:
            StateError: if none is prepared.
        """
        return rotation.activate_issuer(self._context)

    def rotate(
        self, *, key_type: KeyType = KeyType.ECDSA_P256, lifetime: timedelta = DEFAULT_ISSUING
    ) -> IssuerRecord:
        """Make a new issuing CA and activate it at once.

        Raises:
            StateError: if the root's key is not there.
        """
        self.prepare_issuer(key_type=key_type, lifetime=lifetime)
        return self.activate_issuer()

    def distrust(self, key_id: str) -> IssuerRecord:
        """Distrust an issuing CA with all certificates that it signed, and publish the root's CRL.

        Args:
            key_id: the issuing CA's key id, or a prefix of it that fits no other.

        Raises:
            InputError: if the key id names none.
            StateError: if the root's key is not there, and no CRL was signed ahead for this case.
        """
        record = rotation.distrust_issuer(self._context, key_id)
        self._context.publish()
        return record
