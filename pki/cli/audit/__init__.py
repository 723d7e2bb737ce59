"""``handfast audit``: verify the CA's audit log, show it, prove an entry, acknowledge a restore."""

from __future__ import annotations

from typing import ClassVar

import typer

from pki.cli.lazy_group import LazyCommand, LazyGroup


class _AuditCommands(LazyGroup):
    lazy_commands: ClassVar = {
        "verify": LazyCommand(
            "pki.cli.audit.verify:verify",
            "Example: handfast audit verify --against /mnt/backup/audit.checkpoint",
        ),
        "show": LazyCommand(
            "pki.cli.audit.show:show", "Example: handfast audit show --action revoke --since 24h"
        ),
        "acknowledge": LazyCommand(
            "pki.cli.audit.acknowledge:acknowledge", "Example: handfast audit acknowledge"
        ),
        "prove": LazyCommand("pki.cli.audit.prove:prove", "Example: handfast audit prove 17392cb5"),
    }


app = typer.Typer(
    name="audit",
    cls=_AuditCommands,
    no_args_is_help=True,
    add_completion=False,
    help="The log of all that the CA decided: verify it, show it, prove an entry.",
)


@app.callback()
def _audit() -> None:
    """Make this a group: it has no options of its own."""
