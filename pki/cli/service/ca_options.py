"""The options of commands that work on the CA's folder or over the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.cli.options import parse_path

CaOption = Annotated[
    str | None,
    typer.Option(
        "--ca",
        envvar="HANDFAST_CA",
        metavar="ADDRESS",
        help="Ask the CA at this address (host:port) instead of the CA's folder.",
    ),
]
CredentialOption = Annotated[
    Path | None,
    typer.Option(
        "--credential",
        envvar="HANDFAST_CREDENTIAL",
        parser=parse_path,
        metavar="DIR",
        help="With --ca: the directory of the credential to ask with.",
    ),
]
