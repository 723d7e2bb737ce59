"""Options that the commands for roots share."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from pki.cli.options import parse_lifetime, parse_path

KeysOption = Annotated[
    Path,
    typer.Option(
        "--keys", parser=parse_path, metavar="FOLDER", help="The folder with the roots' keys."
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Where to write a request that a root must sign first; by default into DIR.",
    ),
]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Do it even if it strands workloads; each one is recorded."),
]
RootLifetimeOption = Annotated[
    timedelta,
    typer.Option(
        "--lifetime",
        parser=parse_lifetime,
        metavar="TIME",
        show_default="3650d",
        help="The root's lifetime.",
    ),
]
IssuingLifetimeOption = Annotated[
    timedelta,
    typer.Option(
        "--issuing-lifetime",
        parser=parse_lifetime,
        metavar="TIME",
        show_default="365d",
        help="The lifetime of its issuing CAs.",
    ),
]
