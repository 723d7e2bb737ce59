"""The names that workloads hold, each until its last certificate with that name has ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, bindparam, case, or_, select

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection, Values
from pki.authority.ledger.batching.inserts import Prepared
from pki.authority.ledger.databases.upserts import insert_or_update
from pki.authority.ledger.records import NameClaim, NameKind
from pki.authority.ledger.rows import to_moment, to_seconds
from pki.errors import LedgerError, NotPermittedError, quote_untrusted

_COLUMNS = ("kind", "value", "spiffe_id", "held_until", "now")
_SELECT = select(tables.names).where(
    tables.names.c.kind == bindparam("kind"), tables.names.c.value == bindparam("value")
)
_KINDS = tuple(item.value for item in NameKind)
_SELECT_MANY = select(tables.names).where(
    tables.names.c.value.in_(bindparam("values", expanding=True)),
    tables.names.c.kind.in_(_KINDS),
)
_Key = tuple[str, str]


class ConflictError(LedgerError):
    """What is written together conflicts with what another transaction has recorded."""


class _Claims:
    """Writes claims. One that another workload holds by now changes no row."""

    table, rank = tables.names, 0

    def write(self, connection: Connection, rows: Sequence[Values]) -> None:
        # Each name once: a statement may not change one row twice in every database.
        # The last claim is the latest, because no other is added.
        latest = {row[:2]: row for row in rows}
        claimed = _claim_of(connection.dialect.name).execute(connection, list(latest.values()))
        if claimed != len(latest):
            raise ConflictError("a name was given to another workload meanwhile")


@cache
def _claim_of(dialect: str) -> Prepared:
    new = insert_or_update(dialect, tables.names).values(
        kind=bindparam("kind"),
        value=bindparam("value"),
        spiffe_id=bindparam("spiffe_id"),
        held_until=bindparam("held_until"),
    )
    names = tables.names.c
    held_longer = (names.spiffe_id == new.excluded.spiffe_id) & (
        names.held_until > new.excluded.held_until
    )
    claim = new.on_conflict_do_update(
        index_elements=["kind", "value"],
        set_={
            "spiffe_id": new.excluded.spiffe_id,
            "held_until": case((held_longer, names.held_until), else_=new.excluded.held_until),
        },
        where=or_(names.spiffe_id == new.excluded.spiffe_id, names.held_until < bindparam("now")),
    )
    return Prepared(claim, _COLUMNS)


_CLAIMS = _Claims()


class NameRecords:
    """The part of a transaction for the names that workloads hold."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection
        # Who holds a name, and until when; None if nobody does.
        self._holders: dict[_Key, tuple[str, int] | None] = {}
        connection.forget_by(self._holders.clear)

    def read_ahead(self, values: Iterable[str]) -> None:
        """Read who holds names of any kind, with one statement."""
        wanted = list(dict.fromkeys(values))
        if not wanted:
            return
        found = {
            (row.kind, row.value): (row.spiffe_id, row.held_until)
            for row in self._connection.read(_SELECT_MANY, {"values": wanted}, of=tables.names)
        }
        for value in wanted:
            for kind in _KINDS:
                self._holders.setdefault((kind, value), found.get((kind, value)))

    def claim(self, claims: Sequence[NameClaim], *, now: datetime) -> None:
        """Reserve names for workloads, each until its last certificate with that name has ended.

        Raises:
            NotPermittedError: if another workload holds one of them.
        """
        present = to_seconds(now)
        for claim in claims:
            key, until = (claim.kind.value, claim.value), to_seconds(claim.until)
            holder = self._holder(key)
            if holder is not None and holder[0] != claim.owner and holder[1] >= present:
                raise NotPermittedError(
                    f"the {key[0]} name {quote_untrusted(claim.value)} belongs to {holder[0]} "
                    f"until {to_moment(holder[1]):%Y-%m-%d %H:%M:%S} UTC",
                    remedy="Choose another name, or wait until its last certificate has ended",
                )
            if holder is not None and holder[0] == claim.owner and holder[1] >= until:
                continue
            self._holders[key] = (claim.owner, until)
            self._connection.add(_CLAIMS, (*key, claim.owner, until, present))

    def _holder(self, key: _Key) -> tuple[str, int] | None:
        if key not in self._holders:
            kind, value = key
            wanted = {"kind": kind, "value": value}
            row = self._connection.read(_SELECT, wanted, of=tables.names).one_or_none()
            self._holders[key] = None if row is None else (row.spiffe_id, row.held_until)
        return self._holders[key]
