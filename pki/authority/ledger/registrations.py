"""Registrations in the ledger: who may obtain which names, and by which proof."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, delete, false, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from pki.authority.ledger import tables
from pki.authority.ledger.batching.connection import LedgerConnection
from pki.authority.ledger.rows import to_moment, to_seconds
from pki.authority.registrations.registration import (
    OidcRule,
    Proof,
    RecoveryRule,
    Registration,
    Revision,
)
from pki.identity import DnsName, SpiffeId
from pki.x509.profiles import LEAF_PROFILES

_SELECT = select(tables.registrations).where(
    tables.registrations.c.spiffe_id == bindparam("spiffe_id")
)
_SELECT_MANY = select(tables.registrations).where(
    tables.registrations.c.spiffe_id.in_(bindparam("values", expanding=True))
)


class RegistrationRecords:
    """The part of a transaction that reads and writes registrations."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection
        # Each certificate asks several times.
        self._known: dict[str, tuple[Registration, Revision] | None] = {}
        connection.forget_by(self._known.clear)

    def read_ahead(self, spiffe_ids: Iterable[str]) -> None:
        """Read the registrations of workloads, with one statement."""
        missing = list({item: None for item in spiffe_ids if item not in self._known})
        if not missing:
            return
        rows = self._connection.read(_SELECT_MANY, {"values": missing}, of=tables.registrations)
        found = {row.spiffe_id: _of_row(row) for row in rows}
        self._known.update({item: found.get(item) for item in missing})

    def get(self, spiffe_id: SpiffeId) -> tuple[Registration, Revision] | None:
        """Return a workload's registration; None if it is not registered."""
        name = str(spiffe_id)
        if name not in self._known:
            wanted = {"spiffe_id": name}
            row = self._connection.read(_SELECT, wanted, of=tables.registrations).one_or_none()
            self._known[name] = None if row is None else _of_row(row)
        return self._known[name]

    def add(
        self, registration: Registration, *, by: str, by_admin: bool, at: datetime
    ) -> Revision | None:
        """Record a new registration; return None if there is one for this workload already."""
        revision = Revision(1, by_admin, at, by)
        try:
            with self._connection.begin_nested():
                self._connection.execute(
                    insert(tables.registrations).values(
                        spiffe_id=str(registration.spiffe_id),
                        revision=revision.number,
                        by_admin=by_admin,
                        created_at=to_seconds(at),
                        created_by=by,
                        **_values(registration),
                    )
                )
        except IntegrityError:
            return None
        return revision

    def replace(self, registration: Registration, *, revision: int, by_admin: bool) -> bool:
        """Replace a registration; return False if its revision is another one by now."""
        table = tables.registrations
        changed = self._connection.execute(
            update(table)
            .where(table.c.spiffe_id == str(registration.spiffe_id), table.c.revision == revision)
            .values(revision=revision + 1, by_admin=by_admin, **_values(registration))
        )
        return changed.rowcount == 1

    def delete(self, spiffe_id: SpiffeId) -> bool:
        """Delete a registration; return False if there is none."""
        table = tables.registrations
        deleted = self._connection.execute(delete(table).where(table.c.spiffe_id == str(spiffe_id)))
        return deleted.rowcount == 1

    def unconfirm(self, *, at: datetime) -> None:
        """Let every registration wait for an admin's confirmation."""
        self._connection.execute(
            update(tables.registrations).values(unconfirmed_since=to_seconds(at))
        )

    def unconfirmed(self) -> tuple[str, ...]:
        """Return the SPIFFE IDs of the registrations that wait for a confirmation."""
        column = tables.registrations.c
        query = select(column.spiffe_id).where(column.unconfirmed_since.is_not(None))
        return tuple(self._connection.scalars(query.order_by(column.spiffe_id)))

    def confirm(self, spiffe_ids: Collection[str]) -> None:
        """Confirm registrations."""
        table = tables.registrations
        for spiffe_id in spiffe_ids:
            self._connection.execute(
                update(table).where(table.c.spiffe_id == spiffe_id).values(unconfirmed_since=None)
            )

    def page(
        self, *, after: str, most: int, within: Sequence[Collection[str]]
    ) -> tuple[tuple[Registration, Revision], ...]:
        """Return registrations by SPIFFE ID.

        Args:
            after: only those whose SPIFFE ID comes after this text.
            most: how many at most.
            within: for each of these sets, only those that are at or below one of its SPIFFE IDs,
                by whole segments.
        """
        table = tables.registrations
        column = table.c.spiffe_id
        query = select(table).where(column > after).order_by(column)
        for prefixes in within:
            below = [column.startswith(f"{item}/", autoescape=True) for item in prefixes]
            query = query.where(or_(false(), column.in_(prefixes), *below))
        return tuple(_of_row(row) for row in self._connection.execute(query.limit(most)))


def _values(registration: Registration) -> dict[str, object]:
    oidc, recovery = registration.oidc, registration.recovery
    return {
        "dns_names": json.dumps([name.name for name in registration.dns_names]),
        "ip_addresses": json.dumps([str(address) for address in registration.ip_addresses]),
        "lifetime_seconds": int(registration.lifetime.total_seconds()),
        "profile": registration.profile.name,
        "proofs": json.dumps(sorted(proof.value for proof in registration.proofs)),
        "oidc_issuer": oidc.issuer if oidc else None,
        "oidc_claims": json.dumps(dict(oidc.claims), sort_keys=True) if oidc else None,
        "recovery_times": recovery.times,
        "recovery_seconds": int(recovery.within.total_seconds()),
        "max_sleep_seconds": int(recovery.max_sleep.total_seconds()),
    }


def _of_row(row: Row[Any]) -> tuple[Registration, Revision]:
    oidc = None
    if row.oidc_issuer is not None:
        oidc = OidcRule(row.oidc_issuer, tuple(sorted(json.loads(row.oidc_claims).items())))
    registration = Registration(
        SpiffeId.parse(row.spiffe_id),
        tuple(DnsName(name) for name in json.loads(row.dns_names)),
        tuple(ipaddress.ip_address(text) for text in json.loads(row.ip_addresses)),
        timedelta(seconds=row.lifetime_seconds),
        LEAF_PROFILES[row.profile],
        frozenset(Proof(proof) for proof in json.loads(row.proofs)),
        oidc,
        RecoveryRule(
            row.recovery_times,
            timedelta(seconds=row.recovery_seconds),
            timedelta(seconds=row.max_sleep_seconds),
        ),
    )
    since = row.unconfirmed_since
    revision = Revision(
        row.revision,
        row.by_admin,
        to_moment(row.created_at),
        row.created_by,
        None if since is None else to_moment(since),
    )
    return registration, revision
