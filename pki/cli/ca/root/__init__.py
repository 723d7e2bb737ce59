"""``handfast ca root``: replace the CA's root, whose key is kept elsewhere."""

from __future__ import annotations

from typing import ClassVar

import typer

from pki.cli.lazy_group import LazyCommand, LazyGroup


class _RootCommands(LazyGroup):
    lazy_commands: ClassVar = {
        "new": LazyCommand(
            "pki.cli.ca.root.new:new",
            "Example, where roots are kept: handfast ca root new --trust-domain shop.internal "
            "--keys /media/roots",
        ),
        "prepare": LazyCommand(
            "pki.cli.ca.root.prepare:prepare",
            "Example: handfast ca root prepare --root root-3d3ca8d8a7f6b5c4.pem",
        ),
        "request": LazyCommand(
            "pki.cli.ca.root.request:export_request",
            "Example: handfast ca root request --out root-request.json",
        ),
        "sign": LazyCommand(
            "pki.cli.ca.root.sign:sign",
            "Example, where roots are kept: handfast ca root sign root-request.json --keys "
            "/media/roots --out answer.json",
        ),
        "import": LazyCommand(
            "pki.cli.ca.root.import_answers:import_answers",
            "Example: handfast ca root import answer.json",
        ),
        "distribute": LazyCommand(
            "pki.cli.ca.root.distribute:distribute_root", "Example: handfast ca root distribute"
        ),
        "activate": LazyCommand(
            "pki.cli.ca.root.activate:activate", "Example: handfast ca root activate"
        ),
        "withdraw": LazyCommand(
            "pki.cli.ca.root.withdraw:withdraw", "Example: handfast ca root withdraw"
        ),
        "crl": LazyCommand("pki.cli.ca.root.crl:crl", "Example: handfast ca root crl"),
    }


app = typer.Typer(
    name="root",
    cls=_RootCommands,
    no_args_is_help=True,
    add_completion=False,
    help="Replace the root: new, prepare, sign, import, distribute, activate, withdraw.",
)


@app.callback()
def _root() -> None:
    """Make this a group: it has no options of its own."""
