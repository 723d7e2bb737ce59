"""Choose certificates of the ledger: by workload, issuer, state, time, or a text in their names.

Rows are read a thousand at a time, without their certificates, so that a ledger of a million is
listed as fast as its rows can be printed. What is searched for is found by indexes; a part of a
name is looked for in the names alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from cryptography import x509
from sqlalchemy import ColumnElement, Select, and_, or_, select, union

from pki.authority.ledger import Transaction, tables
from pki.authority.ledger.hierarchy import is_usable
from pki.authority.ledger.rows import in_parts, to_moment, to_seconds
from pki.errors import InputError, quote_untrusted
from pki.identity import SpiffeId
from pki.x509 import read_names

_READ_AT_ONCE = 1000
_LEAST_HEX = 4  # of a serial number or a fingerprint; less would fit thousands
_HEX = frozenset("0123456789abcdef")
_table = tables.certificates
_COLUMNS = (
    _table.c.id,
    _table.c.issuer_id,
    _table.c.serial,
    _table.c.spiffe_id,
    _table.c.profile,
    _table.c.key_fingerprint,
    _table.c.not_before,
    _table.c.not_after,
    _table.c.issued_at,
    _table.c.revoked_at,
    _table.c.reason,
)


class CertificateState(StrEnum):
    """Whether receivers accept a certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    EXPIRED = "expired"
    ISSUER_ENDED = "issuer-ended"
    """Its issuing CA was distrusted, or its root withdrawn."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which certificates; each condition that is set must hold.

    Args:
        text: a part of the SPIFFE ID or of a DNS name or address that the workload holds, or the
            beginning of the serial number or of the key's fingerprint, in hex, 4 digits at least.
        owner: the workload.
        issuer: the beginning of the key id of the issuing CA.
        states: one of these states; empty for all.
        ends_after: ends at this time or later.
        ends_before: ends before this time.
        newest_first: the order; else the oldest comes first.
        most: how many at most; None for all.
    """

    text: str = ""
    owner: SpiffeId | None = None
    issuer: str = ""
    states: frozenset[CertificateState] = frozenset()
    ends_after: datetime | None = None
    ends_before: datetime | None = None
    newest_first: bool = False
    most: int | None = None


ALL = Selection()


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """A certificate of the inventory.

    Args:
        spiffe_id: of the workload that it belongs to.
        serial: its serial number, lower-case hex.
        profile: the kind of leaf.
        issuer: the key id of the issuing CA.
        issuer_status: the status of the issuing CA.
        key_fingerprint: SHA-256 of its public key, hex.
        not_before: when it begins.
        not_after: when it ends.
        issued_at: when it was issued.
        state: whether receivers accept it.
        revoked_at: when it was revoked; None if it was not.
        reason: why.
        names: its DNS names and addresses; empty unless they were asked for.
    """

    spiffe_id: str
    serial: str
    profile: str
    issuer: str
    issuer_status: str
    key_fingerprint: str
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    state: CertificateState
    revoked_at: datetime | None
    reason: str | None
    names: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """The state in words: why the issuer's end makes it worthless is named."""
        if self.state is CertificateState.ISSUER_ENDED:
            return f"issuer {self.issuer_status}"
        return self.state.value


def select_certificates(
    transaction: Transaction, selection: Selection, *, now: datetime, with_names: bool = False
) -> Iterator[InventoryRow]:
    """Yield the certificates of a selection.

    Args:
        transaction: of the ledger; open until the last one was read.
        selection: which, and in which order.
        now: the time, for the state.
        with_names: read their DNS names and addresses, which takes longer.

    Raises:
        InputError: if there is no such issuing CA.
    """
    issuers = {item.id: item for item in transaction.issuers()}
    ended = [item.id for item in issuers.values() if not is_usable(item)]
    columns = (*_COLUMNS, _table.c.certificate) if with_names else _COLUMNS
    query = select(*columns)
    query = _where(query, selection, transaction, ended, now)
    key = _table.c.id
    query = query.order_by(key.desc() if selection.newest_first else key).limit(selection.most)
    seconds = to_seconds(now)
    for row in in_parts(transaction.connection, query, _READ_AT_ONCE):
        issuer = issuers[row.issuer_id]
        if row.revoked_at is not None:
            state = CertificateState.REVOKED
        elif row.not_after < seconds:
            state = CertificateState.EXPIRED
        elif row.issuer_id in ended:
            state = CertificateState.ISSUER_ENDED
        else:
            state = CertificateState.GOOD
        yield InventoryRow(
            row.spiffe_id,
            row.serial,
            row.profile,
            issuer.key_id,
            issuer.status.value,
            row.key_fingerprint,
            to_moment(row.not_before),
            to_moment(row.not_after),
            to_moment(row.issued_at),
            state,
            to_moment(row.revoked_at) if row.revoked_at is not None else None,
            row.reason,
            _names_of(row.certificate) if with_names else (),
        )


def _where(
    query: Select[Any],
    selection: Selection,
    transaction: Transaction,
    ended: list[int],
    now: datetime,
) -> Select[Any]:
    if selection.text:
        query = query.where(_holds(selection.text))
    if selection.owner is not None:
        query = query.where(_table.c.spiffe_id == str(selection.owner))
    if selection.issuer:
        chosen = [
            item.id for item in transaction.issuers() if item.key_id.startswith(selection.issuer)
        ]
        if not chosen:
            begin = quote_untrusted(selection.issuer)
            raise InputError(
                f"no issuing CA here has a key id that begins with {begin}",
                remedy="See them with: handfast list --issuers",
            )
        query = query.where(_table.c.issuer_id.in_(chosen))
    if selection.states:
        query = query.where(or_(*(_is(state, ended, now) for state in selection.states)))
    if selection.ends_after is not None:
        query = query.where(_table.c.not_after >= to_seconds(selection.ends_after))
    if selection.ends_before is not None:
        query = query.where(_table.c.not_after < to_seconds(selection.ends_before))
    return query


def _is(state: CertificateState, ended: list[int], now: datetime) -> ColumnElement[bool]:
    lives = and_(_table.c.revoked_at.is_(None), _table.c.not_after >= to_seconds(now))
    match state:
        case CertificateState.REVOKED:
            return _table.c.revoked_at.is_not(None)
        case CertificateState.EXPIRED:
            return and_(_table.c.revoked_at.is_(None), _table.c.not_after < to_seconds(now))
        case CertificateState.ISSUER_ENDED:
            return and_(lives, _table.c.issuer_id.in_(ended))
        case CertificateState.GOOD:
            return and_(lives, _table.c.issuer_id.not_in(ended))


def _holds(text: str) -> ColumnElement[bool]:
    """Return the condition that a text is a part of a name, or begins a number."""
    owners = union(
        select(_table.c.spiffe_id)
        .where(_table.c.spiffe_id.contains(text, autoescape=True))
        .distinct(),
        select(tables.names.c.spiffe_id).where(
            tables.names.c.value.contains(text, autoescape=True)
        ),
    )
    found: list[ColumnElement[bool]] = [_table.c.spiffe_id.in_(owners.subquery().select())]
    digits = text.lower()
    if len(digits) >= _LEAST_HEX and set(digits) <= _HEX:
        # A range of the index: "g" is behind each digit.
        found += [
            and_(column >= digits, column < f"{digits}g")
            for column in (_table.c.serial, _table.c.key_fingerprint)
        ]
    return or_(*found)


def _names_of(der: bytes) -> tuple[str, ...]:
    names = read_names(x509.load_der_x509_certificate(der))
    return (
        *(name.name for name in names.dns_names),
        *(str(address) for address in names.ip_addresses),
    )
