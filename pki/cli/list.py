"""``handfast list``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from pki.authority import Authority
from pki.authority.ledger.hierarchy import is_usable
from pki.cli.options import DEFAULT_DIR, DirOption, parse_lifetime
from pki.cli.output import JsonOption, print_result, print_table, table_fits
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.state.authority import open_authority
from pki.errors import counted

_SHORTEST = 12


def list_certificates(
    expiring: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_lifetime, metavar="TIME", help="Only those that end within this time: 24h."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that have expired.")
    ] = False,
    issuers: Annotated[bool, typer.Option("--issuers", help="The CA's own certificates.")] = False,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """List the certificates that the CA issued."""
    if ca is not None:
        if expiring is not None or issuers:
            raise typer.BadParameter("--expiring and --issuers work on the CA's folder alone")
        # Loaded here: most lists need no network.
        from pki.cli.service.remote_certificates import list_remotely  # noqa: PLC0415

        list_remotely(ca, credential, with_ended=everything, as_json=as_json)
        return
    with open_authority(directory, read_only=True) as authority:
        if issuers:
            _list_issuers(authority, as_json=as_json)
            return
        # What an issuing CA has signed that is distrusted or withdrawn, nobody accepts.
        ended = {
            item.id: f"issuer {item.status.value}"
            for item in authority.issuers()
            if not is_usable(item)
        }
        now, trust_domain = authority.now(), authority.trust_domain.name
        records = authority.certificates(
            ends_before=now + expiring if expiring is not None else None, with_ended=everything
        )
    rows = [
        {
            "spiffe_id": item.spiffe_id,
            "serial": item.serial,
            "profile": item.profile,
            "not_after": item.not_after,
            "status": "revoked"
            if item.revoked_at
            else ("expired" if item.not_after < now else ended.get(item.issuer_id, "good")),
            "revoked_at": item.revoked_at,
            "reason": item.reason,
        }
        for item in records
    ]
    if as_json:
        print_result("list", {"certificates": rows}, [], as_json=True)
        return
    cells = [
        (
            str(row["spiffe_id"]),
            str(row["serial"]),
            str(row["profile"]),
            f"{row['not_after']:%Y-%m-%d %H:%M:%S}",
            str(row["status"]),
        )
        for row in rows
    ]
    headings = ("workload", "serial", "profile", "until (UTC)", "status")
    title = counted(len(rows), "certificate")
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
    print_table(title, headings, cells)


def shorten(serials: Sequence[str]) -> list[str]:
    """Return the beginnings of serial numbers, just so long that each means one of them."""
    length = _SHORTEST
    while len({item[:length] for item in serials}) < len(set(serials)):
        length += 1
    return [item[:length] for item in serials]


def _list_issuers(authority: Authority, *, as_json: bool) -> None:
    rows = [
        {
            "kind": item.kind.value,
            "key_id": item.key_id,
            "status": item.status.value,
            "not_after": item.certificate.not_valid_after_utc,
        }
        for item in authority.issuers()
    ]
    if as_json:
        print_result("list --issuers", {"issuers": rows}, [], as_json=True)
        return
    print_table(
        "CA certificates",
        ("kind", "key id", "status", "until (UTC)"),
        [
            (
                str(row["kind"]),
                str(row["key_id"]),
                str(row["status"]),
                f"{row['not_after']:%Y-%m-%d}",
            )
            for row in rows
        ],
    )
