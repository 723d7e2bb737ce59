"""``handfast ca``: make a CA, rotate issuing CAs and roots, distrust one, recover the ledger."""

from __future__ import annotations

from typing import ClassVar

import typer

from pki.cli.lazy_group import LazyCommand, LazyGroup


class _CaCommands(LazyGroup):
    lazy_commands: ClassVar = {
        "status": LazyCommand("pki.cli.ca.status:status", "Example: handfast ca status --json"),
        "serve": LazyCommand(
            "pki.cli.service.serve:serve", "Example: handfast ca serve --listen 0.0.0.0:8443"
        ),
        "admin": LazyCommand("pki.cli.service.admin:admin", "Example: handfast ca admin ops"),
        "join": LazyCommand(
            "pki.cli.ca.join:join",
            "Example: handfast ca join --ledger postgresql://handfast@db.internal/ca",
        ),
        "recover": LazyCommand(
            "pki.cli.ca.recover:recover", "Example: handfast ca recover --crl /mnt/orders/crl.pem"
        ),
        "backup": LazyCommand(
            "pki.cli.ca.backup:backup", "Example: handfast ca backup --out /mnt/backups/ca.backup"
        ),
        "restore": LazyCommand(
            "pki.cli.ca.restore:restore",
            "Example: handfast ca restore /mnt/backups/ca.backup --dir restored",
        ),
        "prune": LazyCommand("pki.cli.ca.prune:prune", "Example: handfast ca prune --keep 30d"),
        "init": LazyCommand(
            "pki.cli.ca.init:init",
            "Example: handfast ca init --trust-domain shop.internal --permit-dns localhost",
        ),
        "rotate": LazyCommand("pki.cli.ca.rotate:app"),
        "root": LazyCommand("pki.cli.ca.root:app"),
        "distrust": LazyCommand(
            "pki.cli.ca.distrust:distrust", "Example: handfast ca distrust 3d3ca8d8"
        ),
    }


app = typer.Typer(
    name="ca",
    cls=_CaCommands,
    no_args_is_help=True,
    add_completion=False,
    help="Make and look after the CA.",
)


@app.callback()
def _ca() -> None:
    """Make this a group: it has no options of its own."""
