"""``handfast probe``: ask a server for its health with mutual TLS; the exit code is the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.cli.options import parse_path
from pki.cli.output import JsonOption, print_result
from pki.cli.service.probing import (
    DEFAULT_SECONDS,
    LEAST_SECONDS,
    MOST_SECONDS,
    Probe,
    as_data,
    as_line,
    check_health,
)


def probe(
    address: Annotated[str, typer.Argument(help="The server, host:port.")],
    credential: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path,
            metavar="DIR",
            envvar="HANDFAST_CREDENTIAL",
            help="The credential to ask with: the server's own will do.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path,
            metavar="FILE",
            help="Ask a CA at its port for enrollment, which wants no certificate: its roots.",
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Who must be there; without it, the owner of the credential."
        ),
    ] = "",
    service: Annotated[str, typer.Option(help="One service; empty for the whole server.")] = "",
    timeout: Annotated[
        float, typer.Option(help="Seconds.", min=LEAST_SECONDS, max=MOST_SECONDS)
    ] = DEFAULT_SECONDS,
    as_json: JsonOption = False,
) -> None:
    """Check a server's health: exit code 0 if it serves, 1 if not, 3 if that can't be told."""
    if bundle is not None:
        # The variable may be set for other commands.
        credential = None
    if credential is None and bundle is None:
        raise typer.BadParameter("give --credential DIR, or --bundle FILE for a CA")
    asked = Probe(address, credential, bundle, name, service, timeout)
    health = check_health(asked)
    print_result("probe", as_data(asked, health), [as_line(asked, health)], as_json=as_json)
    if health.exit_code:
        raise typer.Exit(health.exit_code)
