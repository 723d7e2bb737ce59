"""``handfast list``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from pki.authority import Authority
from pki.cli.options import DEFAULT_DIR, DirOption, parse_lifetime
from pki.cli.output import JsonOption, print_result, print_table
from pki.cli.state.authority import open_authority


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
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """List the certificates that the CA issued."""
    with open_authority(directory, read_only=True) as authority:
        if issuers:
            _list_issuers(authority, as_json=as_json)
            return
        now = authority.now()
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
            else ("expired" if item.not_after < now else "good"),
            "revoked_at": item.revoked_at,
            "reason": item.reason,
        }
        for item in records
    ]
    if as_json:
        print_result("list", {"certificates": rows}, [], as_json=True)
        return
    print_table(
        f"{len(rows)} certificates",
        ("workload", "serial", "profile", "until (UTC)", "status"),
        [
            (
                str(row["spiffe_id"]),
                str(row["serial"]),
                str(row["profile"]),
                f"{row['not_after']:%Y-%m-%d %H:%M:%S}",
                str(row["status"]),
            )
            for row in rows
        ],
    )


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
