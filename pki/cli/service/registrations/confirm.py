"""``handfast registration confirm``: let registrations of a restored backup count again."""

from __future__ import annotations

from typing import Annotated

import typer

from pki._proto.handfast.ca.v1 import registrations_pb2 as messages
from pki.authority.enrollment.confirming import AT_ONCE
from pki.cli.options import DEFAULT_DIR, DirOption, dir_option
from pki.cli.output import JsonOption, print_result
from pki.cli.service.ca_options import CaOption, CredentialOption, remote_options
from pki.cli.service.registrar import Registrar, registrar
from pki.errors import counted


def confirm(
    names: Annotated[
        list[str] | None, typer.Argument(help="The workloads: paths, or SPIFFE IDs.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that wait, after you have looked at them.")
    ] = False,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Confirm registrations from a restored backup; without a name, list those that wait.

    Works on the folder, or with --ca over the network.
    """
    if names and everything:
        raise typer.BadParameter("name workloads, or give --all", param_hint="'--all'")
    with registrar(ca, credential, directory, publishes=False) as desk:
        confirmed = _confirm_all(desk) if everything else _confirm(desk, names or [])
        waiting = _waiting(desk)
    print_result(
        "registration confirm",
        {"confirmed": confirmed, "waiting": waiting},
        [
            *(f"Confirmed {item}" for item in confirmed),
            *(f"Waits: {item}" for item in waiting),
            *_next(
                len(waiting),
                remote_options(ca, credential) if ca is not None else dir_option(directory),
            ),
        ],
        as_json=as_json,
    )


def _confirm(desk: Registrar, names: list[str]) -> list[str]:
    chosen = [desk.spiffe_id(name) for name in names]
    confirmed: list[str] = []
    for start in range(0, len(chosen), AT_ONCE):
        request = messages.ConfirmRegistrationsRequest(spiffe_ids=chosen[start : start + AT_ONCE])
        confirmed += desk.confirm(request).confirmed
    return confirmed


def _confirm_all(desk: Registrar) -> list[str]:
    confirmed: list[str] = []
    while answer := desk.confirm(messages.ConfirmRegistrationsRequest(next=True)).confirmed:
        confirmed += answer
    return confirmed


def _waiting(desk: Registrar) -> list[str]:
    request = messages.ConfirmRegistrationsRequest()
    waiting: list[str] = []
    while True:
        page = desk.confirm(request)
        waiting += page.waiting
        if not page.next_page_token:
            return waiting
        request.page_token = page.next_page_token


def _next(waiting: int, option: str) -> list[str]:
    if not waiting:
        return ["No registration waits for a confirmation"]
    return [
        f"{counted(waiting, 'registration')} from the backup get no certificate yet",
        f"Next: look at them (handfast registration list{option}), delete what is no longer true, "
        f"and then: handfast registration confirm --all{option}",
    ]
