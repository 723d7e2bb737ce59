"""The options that choose certificates, and what is told of each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Annotated

import typer

from pki.authority import Authority
from pki.authority.inventory import CertificateState, InventoryRow, Selection
from pki.cli.options import parse_lifetime
from pki.cli.output import print_error, print_table, table_fits
from pki.errors import counted
from pki.identity import SpiffeId

ExpiringOption = Annotated[
    timedelta | None,
    typer.Option(
        parser=parse_lifetime, metavar="TIME", help="Only those that end within this time: 24h."
    ),
]
OwnerOption = Annotated[
    str | None,
    typer.Option("--owner", metavar="WORKLOAD", help="Only those of this workload."),
]
IssuerOption = Annotated[
    str | None,
    typer.Option("--issuer", metavar="KEYID", help="Only those of this issuing CA."),
]
StateOption = Annotated[
    list[CertificateState] | None,
    typer.Option("--state", help="Only those in this state; may be repeated."),
]
AllOption = Annotated[bool, typer.Option("--all", help="Also those that have expired.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="Only the newest, so many at most.")
]

_SHORTEST = 12
_HEADINGS = ("workload", "serial", "profile", "until (UTC)", "status")


def selection_of(
    authority: Authority,
    *,
    text: str = "",
    expiring: timedelta | None = None,
    owner: str | None = None,
    issuer: str | None = None,
    states: Iterable[CertificateState] = (),
    everything: bool = False,
    limit: int | None = None,
) -> Selection:
    """Return the certificates that the options choose.

    Raises:
        InputError: if the owner is no workload's name.
    """
    now, chosen = authority.now(), frozenset(states)
    # A state that is named is shown, whether or not those have ended.
    with_ended = everything or bool(chosen)
    return Selection(
        text,
        SpiffeId.parse_name(owner, authority.trust_domain) if owner is not None else None,
        (issuer or "").lower(),
        chosen,
        None if with_ended else now,
        now + expiring if expiring is not None else None,
        newest_first=limit is not None,
        # One more, to see whether there are more.
        most=limit + 1 if limit is not None else None,
    )


def within(rows: Iterable[InventoryRow], limit: int | None) -> tuple[list[InventoryRow], bool]:
    """Return the rows of a selection with a limit, the oldest first, and whether there are more."""
    selected = list(rows)
    if limit is None:
        return selected, False
    return selected[:limit][::-1], len(selected) > limit


def note_local() -> None:
    """Say that a command asks the CA's folder alone, where the environment names a served CA."""
    if os.environ.get("HANDFAST_CA"):
        print_error("note: this is the inventory of the CA's folder here; HANDFAST_CA is not asked")


def facts_of(row: InventoryRow) -> dict[str, object]:
    """Return what scripts read of a certificate."""
    return {
        "spiffe_id": row.spiffe_id,
        "serial": row.serial,
        "profile": row.profile,
        "issuer": row.issuer,
        "issued_at": row.issued_at,
        "not_after": row.not_after,
        "status": row.status,
        "revoked_at": row.revoked_at,
        "reason": row.reason,
    }


def print_rows(rows: Sequence[InventoryRow], trust_domain: str, *, has_more: bool) -> None:
    """Print certificates as a table; on a narrow terminal with shorter names and numbers.

    Args:
        rows: the certificates.
        trust_domain: its name.
        has_more: whether there are older ones that a limit left out.
    """
    headings, title = _HEADINGS, counted(len(rows), "certificate")
    cells = [
        (row.spiffe_id, row.serial, row.profile, f"{row.not_after:%Y-%m-%d %H:%M:%S}", row.status)
        for row in rows
    ]
    if not table_fits(headings, cells):
        # What the commands take as well: a path in this trust domain, and a beginning that no
        # other serial number here has.
        serials = shorten([row[1] for row in cells])
        domain = f"spiffe://{trust_domain}/"
        cells = [
            (row[0].removeprefix(domain), serial, *row[2:])
            for row, serial in zip(cells, serials, strict=True)
        ]
        headings = ("workload", "serial begins", *headings[2:])
        title = f"{title} of {trust_domain}"
    if has_more:
        title = f"The newest {title} (--limit shows more)"
    print_table(title, headings, cells)


def shorten(serials: Sequence[str]) -> list[str]:
    """Return the beginnings of serial numbers, just so long that each means one of them."""
    length = _SHORTEST
    while len({item[:length] for item in serials}) < len(set(serials)):
        length += 1
    return [item[:length] for item in serials]
