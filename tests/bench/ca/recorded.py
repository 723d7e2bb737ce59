"""The floor of a ledger: the bare work, and its rows in a database, decided by nobody."""

from __future__ import annotations

import itertools
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from sqlalchemy import create_engine, insert, text, update

from pki.authority.ledger.tables import (
    audit_entries,
    certificates,
    commits,
    keys,
    ledger_state,
    lines,
    metadata,
)
from tests.bench.ca.bare import BareCa

# As long as the entry of an issued certificate.
_ENTRY = "x" * 450


class RecordedBareCa:
    """Signs what it is asked for, and records it in one commit, in the tables of a ledger.

    Args:
        file: where the database is made.
    """

    def __init__(self, file: Path) -> None:
        self._bare = BareCa()
        self._numbers = itertools.count(1)
        self._engine = create_engine(f"sqlite:///{file}")
        metadata.create_all(self._engine)
        with self._engine.begin() as connection:
            connection.execute(insert(ledger_state).values(id=1, ledger_id="bare", sequence=0))
        with self._engine.connect() as connection:
            connection.execute(text("PRAGMA journal_mode=WAL"))

    def issue(self, ders: list[bytes]) -> None:
        """Do the bare work for requests, DER, and commit once."""
        made = [
            (f"{number:032x}", number, self._bare.issue(der))
            for number, der in zip(self._numbers, ders, strict=False)
        ]
        with self._engine.begin() as connection:
            connection.execute(text("PRAGMA synchronous=FULL"))
            connection.execute(
                insert(lines),
                [
                    {"id": name, "spiffe_id": "bare", "proof": "bare", "started_at": 0}
                    for name, _, _ in made
                ],
            )
            connection.execute(
                insert(keys),
                [{"fingerprint": name, "secret": name, "spiffe_id": "bare"} for name, _, _ in made],
            )
            connection.execute(
                insert(certificates),
                [
                    {
                        "issuer_id": 1,
                        "serial": name,
                        "spiffe_id": "bare",
                        "profile": "bare",
                        "certificate": leaf.public_bytes(serialization.Encoding.DER),
                        "key_fingerprint": name,
                        "not_before": 0,
                        "not_after": number,
                        "issued_at": 0,
                        "line_id": name,
                    }
                    for name, number, leaf in made
                ],
            )
            connection.execute(
                insert(audit_entries),
                [{"position": number, "entry": _ENTRY, "serial": name} for name, number, _ in made],
            )
            connection.execute(
                insert(commits).values(sequence=made[-1][1], token=made[-1][0]),
            )
            connection.execute(update(ledger_state).values(sequence=made[-1][1]))

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()
