"""The keys in the ledger: which workload owns a key, and whether it has leaked.

1. A key belongs for good to the workload that it was first certified for.
2. A key whose certificate was revoked for key compromise is refused for good.

Both rules cover every public key that the same secret yields: an RSA modulus with another exponent,
or a point of an elliptic curve and its mirror image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select, update

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection
from pki.authority.ledger.batching.inserts import Inserts
from pki.authority.ledger.batching.lookups import Lookup, LookupQuery
from pki.errors import NotPermittedError
from pki.keys import IdentifiedKey

# Made once: each certificate runs them.
_OF_SECRET = LookupQuery(tables.keys, "secret")
_INSERTS = Inserts(tables.keys, ("fingerprint", "secret", "spiffe_id"), rank=0)


class KeyRecords:
    """The part of a transaction that reads and writes the public keys of leaves."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection
        self._of_secret = Lookup(connection, _OF_SECRET)

    def read_ahead(self, keys: Iterable[IdentifiedKey]) -> None:
        """Read what is known of keys, with one statement."""
        self._of_secret.read_ahead(key.secret for key in keys)

    def claim(self, key: IdentifiedKey, *, owner: str) -> None:
        """Assign a key to a workload for good.

        Raises:
            NotPermittedError: if it belongs to another workload or is known to have leaked.
        """
        rows = self._rows(key)
        if any(row.compromised_at is not None for row in rows):
            raise NotPermittedError(
                "a certificate of this key was revoked for key-compromise: it is never "
                "certified again",
                remedy="Make a new key",
            )
        other = next((row.spiffe_id for row in rows if row.spiffe_id != owner), None)
        if other is not None:
            raise NotPermittedError(
                f"the key belongs to {other}, and a key is certified for one workload only",
                remedy=f"Make a new key for {owner}",
            )
        if key.fingerprint not in {row.fingerprint for row in rows}:
            self._of_secret.forget(key.secret)
            self._connection.add(_INSERTS, (key.fingerprint, key.secret, owner))

    def contains(self, key: IdentifiedKey) -> bool:
        """Return whether a leaf has, or had, this key."""
        return bool(self._rows(key))

    def mark_compromised(self, fingerprints: Iterable[str], *, at: datetime) -> None:
        """Record that keys have leaked: none of them, or of the same secrets, is certified again.

        Args:
            fingerprints: of the public keys.
            at: the time.
        """
        self._connection.execute(
            update(tables.keys)
            .where(tables.keys.c.secret.in_(_secrets(fingerprints)))
            .where(tables.keys.c.compromised_at.is_(None))
            .values(compromised_at=int(at.timestamp()))
        )

    def of_same_secrets(self, fingerprints: Iterable[str]) -> frozenset[str]:
        """Return these fingerprints and those of all keys that the same secrets yield."""
        fingerprints = list(fingerprints)
        same = self._connection.scalars(
            select(tables.keys.c.fingerprint).where(
                tables.keys.c.secret.in_(_secrets(fingerprints))
            )
        )
        return frozenset([*fingerprints, *same])

    def _rows(self, key: IdentifiedKey) -> Sequence[Row[Any]]:
        return self._of_secret.of(key.secret)


def _secrets(fingerprints: Iterable[str]) -> Select[Any]:
    return select(tables.keys.c.secret).where(tables.keys.c.fingerprint.in_(list(fingerprints)))
