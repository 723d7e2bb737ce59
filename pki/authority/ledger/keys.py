"""Whose a key is, and whether it is known to have leaked.

1. A key belongs to the workload that it was first certified for, for good.
2. A key whose certificate was revoked for compromise of the key is refused for good.

Both hold for every public key that the same secret yields: an RSA modulus with another exponent, a
point of an elliptic curve and its mirror image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from pki.authority.ledger import tables
from pki.errors import NotPermittedError
from pki.keys import PublicKey, public_key_fingerprint, secret_fingerprint


def claim_key(connection: Connection, key: PublicKey, *, owner: str) -> None:
    """Return a key to a workload, for good.

    Raises:
        NotPermittedError: if it is another workload's, or is known to have leaked.
    """
    refuse_leaked_key(connection, key)
    rows = _rows(connection, key)
    other = next((row.spiffe_id for row in rows if row.spiffe_id != owner), None)
    if other is not None:
        raise NotPermittedError(
            f"the key belongs to {other}, and a key is certified for one workload alone",
            remedy=f"Make a new key for {owner}",
        )
    fingerprint = public_key_fingerprint(key)
    if fingerprint not in {row.fingerprint for row in rows}:
        connection.execute(
            insert(tables.keys).values(
                fingerprint=fingerprint, secret=secret_fingerprint(key), spiffe_id=owner
            )
        )


def refuse_leaked_key(connection: Connection, key: PublicKey) -> None:
    """Refuse a key that is known to have leaked.

    Raises:
        NotPermittedError: if a certificate of it was revoked for key-compromise.
    """
    if any(row.compromised_at is not None for row in _rows(connection, key)):
        raise NotPermittedError(
            "a certificate of this key was revoked for key-compromise: it is certified no more",
            remedy="Make a new key",
        )


def holds_key(connection: Connection, key: PublicKey) -> bool:
    """Return whether some leaf has, or had, this key."""
    return bool(_rows(connection, key))


def mark_compromised(connection: Connection, fingerprints: Iterable[str], *, at: datetime) -> None:
    """Record that keys have leaked, with all keys that the same secrets yield."""
    connection.execute(
        update(tables.keys)
        .where(tables.keys.c.secret.in_(_secrets(fingerprints)))
        .where(tables.keys.c.compromised_at.is_(None))
        .values(compromised_at=int(at.timestamp()))
    )


def same_keys(connection: Connection, fingerprints: Iterable[str]) -> frozenset[str]:
    """Return the fingerprints of all keys that the same secrets yield."""
    known = list(fingerprints)
    found = connection.scalars(
        select(tables.keys.c.fingerprint).where(tables.keys.c.secret.in_(_secrets(known)))
    )
    return frozenset([*known, *found])


def _rows(connection: Connection, key: PublicKey) -> Sequence[Row[Any]]:
    secret = secret_fingerprint(key)
    return connection.execute(select(tables.keys).where(tables.keys.c.secret == secret)).all()


def _secrets(fingerprints: Iterable[str]) -> Select[Any]:
    return select(tables.keys.c.secret).where(tables.keys.c.fingerprint.in_(list(fingerprints)))
