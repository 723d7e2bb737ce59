"""``handfast registration``: who may obtain which names, on the CA's folder or over the network."""

from __future__ import annotations

from typing import ClassVar

import typer

from pki.cli.lazy_group import LazyCommand, LazyGroup


class _RegistrationCommands(LazyGroup):
    lazy_commands: ClassVar = {
        "create": LazyCommand(
            "pki.cli.service.registrations.changes:create",
            "Example: handfast registration create orders --ttl 1h",
        ),
        "update": LazyCommand(
            "pki.cli.service.registrations.changes:update",
            "Example: handfast registration update orders --ttl 30m",
        ),
        "delete": LazyCommand(
            "pki.cli.service.registrations.changes:delete",
            "Example: handfast registration delete orders",
        ),
        "confirm": LazyCommand(
            "pki.cli.service.registrations.confirm:confirm",
            "Example: handfast registration confirm orders payments",
        ),
        "list": LazyCommand(
            "pki.cli.service.registrations.list:list_registrations",
            "Example: handfast registration list --under prod",
        ),
    }


app = typer.Typer(
    name="registration",
    cls=_RegistrationCommands,
    no_args_is_help=True,
    add_completion=False,
    help="Register workloads: who may obtain which names, and by which proof.",
)


@app.callback()
def _registration() -> None:
    """Make this a group: it has no options of its own."""
