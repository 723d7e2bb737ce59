"""Which workload each name belongs to, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, or_, select

from pki.authority.ledger import tables
from pki.authority.ledger.databases.upserts import upsert
from pki.authority.ledger.records import NameClaim
from pki.authority.ledger.rows import to_moment, to_seconds
from pki.errors import NotPermittedError, quote_untrusted

_SELECT_NAME = select(tables.names).where(
    tables.names.c.kind == bindparam("kind"), tables.names.c.value == bindparam("value")
)
# It changes no row where another workload still holds the name.
_CLAIM_NAME = upsert(
    tables.names,
    index=["kind", "value"],
    values=lambda new: {
        "spiffe_id": new.spiffe_id,
        "held_until": case(
            (
                (tables.names.c.spiffe_id == new.spiffe_id)
                & (tables.names.c.held_until > new.held_until),
                tables.names.c.held_until,
            ),
            else_=new.held_until,
        ),
    },
    where=lambda new: or_(
        tables.names.c.spiffe_id == new.spiffe_id,
        tables.names.c.held_until < bindparam("now"),
    ),
)


class NameRecords:
    """The part of a transaction that reads and writes names."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def claim(self, claims: Sequence[NameClaim], *, now: datetime) -> None:
        """Reserve names for workloads, each until its last certificate with that name has ended.

        Raises:
            NotPermittedError: if another workload holds one of them.
        """
        claimed = self._connection.execute(
            _CLAIM_NAME[self._connection.dialect.name],
            [
                {
                    "kind": claim.kind.value,
                    "value": claim.value,
                    "spiffe_id": claim.owner,
                    "held_until": to_seconds(claim.until),
                    "now": to_seconds(now),
                }
                for claim in claims
            ],
        )
        if claimed.rowcount == len(claims):
            return
        held = next(
            row
            for claim in claims
            for row in self._connection.execute(
                _SELECT_NAME, {"kind": claim.kind.value, "value": claim.value}
            )
            if row.spiffe_id != claim.owner
        )
        raise NotPermittedError(
            f"the {held.kind} name {quote_untrusted(held.value)} belongs to "
            f"{held.spiffe_id} until "
            f"{to_moment(held.held_until):%Y-%m-%d %H:%M:%S} UTC",
            remedy="Choose another name, or wait until its last certificate has ended",
        )
