"""``handfast list``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from pki.authority import Authority
from pki.cli.inventory.filters import (
    AllOption,
    ExpiringOption,
    IssuerOption,
    LimitOption,
    OwnerOption,
    StateOption,
    facts_of,
    print_rows,
    selection_of,
    within,
)
from pki.cli.options import DEFAULT_DIR, DirOption, parse_lifetime
from pki.cli.output import JsonOption, print_result, print_table
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.state.authority import open_to_show
from pki.errors import counted

_STEPS = 24


def list_certificates(
    expiring: ExpiringOption = None,
    owner: OwnerOption = None,
    issuer: IssuerOption = None,
    state: StateOption = None,
    everything: AllOption = False,
    limit: LimitOption = None,
    issuers: Annotated[bool, typer.Option("--issuers", help="The CA's own certificates.")] = False,
    forecast: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_lifetime,
            metavar="TIME",
            help="How many are renewed and end within this time, in 24 steps: 24h.",
        ),
    ] = None,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """List the certificates that the CA issued."""
    filters = (expiring, owner, issuer, state, limit)
    if ca is not None:
        if any(item is not None for item in (*filters, forecast)) or issuers:
            raise typer.BadParameter("with --ca there are --all and --json alone")
        # Loaded here: most lists need no network.
        from pki.cli.service.remote_certificates import list_remotely  # noqa: PLC0415

        list_remotely(ca, credential, with_ended=everything, as_json=as_json)
        return
    if (issuers or forecast is not None) and any(item is not None for item in filters):
        raise typer.BadParameter("--issuers and --forecast are of the whole CA: leave out the rest")
    with open_to_show(directory) as authority:
        if issuers:
            _list_issuers(authority, as_json=as_json)
            return
        if forecast is not None:
            _forecast(authority, forecast, as_json=as_json)
            return
        selection = selection_of(
            authority,
            expiring=expiring,
            owner=owner,
            issuer=issuer,
            states=state or (),
            everything=everything,
            limit=limit,
        )
        rows, has_more = within(authority.inventory(selection), limit)
    if as_json:
        facts = {"certificates": list(map(facts_of, rows)), "more": has_more}
        print_result("list", facts, [], as_json=True)
        return
    print_rows(rows, authority.trust_domain.name, has_more=has_more)


def _forecast(authority: Authority, period: timedelta, *, as_json: bool) -> None:
    step = max(timedelta(seconds=1), timedelta(seconds=-(-period.total_seconds() // _STEPS)))
    coming = authority.forecast(period, step)
    if as_json:
        steps = [
            {"begins": item.begins, "renewals": item.renewals, "expiries": item.expiries}
            for item in coming.steps
        ]
        data = {"good": coming.good, "overdue": coming.overdue, "steps": steps}
        print_result("list --forecast", data, [], as_json=True)
        return
    late = f", {coming.overdue} of them overdue for renewal" if coming.overdue else ""
    print_table(
        f"{counted(coming.good, 'good certificate')}{late}",
        ("from (UTC)", "due for renewal", "expire unless renewed"),
        [
            (f"{item.begins:%Y-%m-%d %H:%M:%S}", str(item.renewals), str(item.expiries))
            for item in coming.steps
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
