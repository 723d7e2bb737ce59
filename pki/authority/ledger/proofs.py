"""Tokens and used proofs in the ledger: each is good once, however many try at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection
from pki.authority.ledger.rows import to_moment, to_seconds


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An enrollment token.

    Args:
        id: hex.
        secret_hash: hex.
        spiffe_id: the workload that it enrolls.
        by_admin: whether an admin made it.
        created_at: when.
        created_by: by whom.
        expires_at: from when it is good no more.
        used_at: when it was used; None if it was not.
    """

    id: str
    secret_hash: str
    spiffe_id: str
    by_admin: bool
    created_at: datetime
    created_by: str
    expires_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UsedProof:
    """A proof that was used, and the certificate that was issued for it."""

    certificate_id: int
    used_at: datetime


class ProofRecords:
    """The part of a transaction that reads and writes tokens and used proofs."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection
        self._mac_key: bytes | None = None

    def mac_key(self) -> bytes:
        """Return the CA's key for MACs, by which it knows its own ids."""
        if self._mac_key is None:
            query = select(tables.ca_secrets.c.value).where(tables.ca_secrets.c.name == "mac")
            found = self._connection.read(query, of=tables.ca_secrets).scalars()
            self._mac_key = bytes(found.one())
        return self._mac_key

    def begin_service(self, *, at: datetime) -> bool:
        """Record that the CA is served; return whether that is for the first time."""
        table = tables.service
        if self._connection.scalar(select(table.c.first_served_at)) is not None:
            return False
        self._connection.execute(insert(table).values(id=1, first_served_at=to_seconds(at)))
        return True

    def set_addresses(self, authority: str, enrollment: str) -> None:
        """Record where workloads reach the CA that is served."""
        self._connection.execute(
            update(tables.service).values(
                authority_address=authority, enrollment_address=enrollment
            )
        )

    def enrollment_address(self) -> str | None:
        """Return where new workloads reach the CA; None if it was never served."""
        address: str | None = self._connection.scalar(select(tables.service.c.enrollment_address))
        return address

    def add_token(self, token: TokenRecord) -> None:
        """Record a new token."""
        self._connection.execute(
            insert(tables.tokens).values(
                id=token.id,
                secret_hash=token.secret_hash,
                spiffe_id=token.spiffe_id,
                by_admin=token.by_admin,
                created_at=to_seconds(token.created_at),
                created_by=token.created_by,
                expires_at=to_seconds(token.expires_at),
            )
        )

    def token(self, token_id: str) -> TokenRecord | None:
        """Return a token; None if there is none."""
        query = select(tables.tokens).where(tables.tokens.c.id == token_id)
        row = self._connection.execute(query).one_or_none()
        if row is None:
            return None
        return TokenRecord(
            row.id,
            row.secret_hash,
            row.spiffe_id,
            row.by_admin,
            to_moment(row.created_at),
            row.created_by,
            to_moment(row.expires_at),
            to_moment(row.used_at) if row.used_at is not None else None,
        )

    def use_token(self, token_id: str, *, at: datetime) -> bool:
        """Use a token; return whether this was its one use: of many who try, one is told yes."""
        changed = self._connection.execute(
            update(tables.tokens)
            .where(tables.tokens.c.id == token_id, tables.tokens.c.used_at.is_(None))
            .values(used_at=to_seconds(at))
        )
        return changed.rowcount == 1

    def delete_tokens_of(self, spiffe_id: str) -> int:
        """Delete the tokens of a workload that were not used; return how many there were."""
        deleted = self._connection.execute(
            delete(tables.tokens).where(
                tables.tokens.c.spiffe_id == spiffe_id, tables.tokens.c.used_at.is_(None)
            )
        )
        return int(deleted.rowcount)

    def delete_unused_tokens(self) -> int:
        """Delete all tokens that are not known to be used; return how many there were."""
        deleted = self._connection.execute(
            delete(tables.tokens).where(tables.tokens.c.used_at.is_(None))
        )
        return int(deleted.rowcount)

    def used(self, proof_id: str) -> UsedProof | None:
        """Return the use of a proof; None if it was not used."""
        table = tables.used_proofs
        row = self._connection.execute(select(table).where(table.c.id == proof_id)).one_or_none()
        return None if row is None else UsedProof(row.certificate_id, to_moment(row.used_at))

    def add_used(
        self, proof_id: str, certificate_id: int, *, at: datetime, kept_until: datetime
    ) -> None:
        """Record the use of a proof. A second use of it fails here, at its primary key.

        Args:
            proof_id: names the proof: its kind, and what is unique in it.
            certificate_id: what was issued for it.
            at: the time.
            kept_until: from when the proof is no good anyway, so that its use may be forgotten.
        """
        self._connection.execute(
            insert(tables.used_proofs).values(
                id=proof_id,
                certificate_id=certificate_id,
                used_at=to_seconds(at),
                kept_until=to_seconds(kept_until),
            )
        )

    def forget_used(self, *, now: datetime) -> None:
        """Forget the uses of proofs that are no good any more."""
        table = tables.used_proofs
        self._connection.execute(delete(table).where(table.c.kept_until < to_seconds(now)))
