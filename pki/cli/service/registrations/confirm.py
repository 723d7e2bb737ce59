"""``handfast registration confirm``: let registrations of a restored backup count again."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.authority.enrollment.confirming import confirm_registrations, unconfirmed_registrations
from pki.cli.options import DEFAULT_DIR, DirOption, dir_option
from pki.cli.output import JsonOption, print_result
from pki.cli.service.operator import operator
from pki.cli.state.authority import open_authority
from pki.errors import counted
from pki.identity import SpiffeId


def confirm(
    names: Annotated[
        list[str] | None, typer.Argument(help="The workloads: paths, or SPIFFE IDs.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that wait, after you have looked at them.")
    ] = False,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Confirm registrations from a restored backup; without a name, list those that wait."""
    if names and everything:
        raise typer.BadParameter("name workloads, or give --all", param_hint="'--all'")
    confirmed: tuple[str, ...] = ()
    with open_authority(directory, read_only=True) as authority:
        if names or everything:
            chosen = [SpiffeId.parse_name(name, authority.trust_domain) for name in names or ()]
            confirmed = confirm_registrations(
                authority.context, operator(), None if everything else chosen
            )
        waiting = unconfirmed_registrations(authority.context)
    print_result(
        "registration confirm",
        {"confirmed": list(confirmed), "waiting": list(waiting)},
        [
            *(f"Confirmed {item}" for item in confirmed),
            *(f"Waits: {item}" for item in waiting),
            *_next(len(waiting), dir_option(directory)),
        ],
        as_json=as_json,
    )


def _next(waiting: int, option: str) -> list[str]:
    if not waiting:
        return ["No registration waits for a confirmation"]
    return [
        f"{counted(waiting, 'registration')} from the backup get no certificate yet",
        f"Next: look at them (handfast registration list{option}), delete what is no longer true, "
        f"and then: handfast registration confirm --all{option}",
    ]
