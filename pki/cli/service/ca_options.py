"""The options of commands that work on the CA's folder or over the network."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from pki.cli.options import as_option, parse_path
from pki.cli.output import quote_path
from pki.errors import InputError, printable, quote_untrusted
from pki.tls.target import Target


def _with_port(text: str) -> str:
    target = Target.parse(text)
    if target.hosts and not text.endswith(f":{target.hosts[-1][1]}"):
        # gRPC would take 443, which is neither port of a CA unless it was made so.
        raise InputError(
            f"{quote_untrusted(text)} has no port",
            remedy="Write HOST:PORT: a CA has 8443 for mutual TLS and 8444 for enrollment, unless "
            "it was told others",
        )
    return text


parse_address = as_option(_with_port)


def _unless_dir(context: typer.Context, address: str | None) -> str | None:
    """Leave out the address of a variable if ``--dir`` was written: what is written wins."""
    sources = [context.get_parameter_source(name) for name in ("ca", "directory")]
    names = [source.name if source is not None else "" for source in sources]
    return None if names == ["ENVIRONMENT", "COMMANDLINE"] else address


def remote_options(address: str, credential: Path | None) -> str:
    """Return the options with which a printed command asks this CA again."""
    options = ""
    if address != os.environ.get("HANDFAST_CA"):
        options += f" --ca {printable(shlex.quote(address))}"
    if credential and str(credential) != os.environ.get("HANDFAST_CREDENTIAL"):
        options += f" --credential {quote_path(credential)}"
    return options


CaOption = Annotated[
    str | None,
    typer.Option(
        "--ca",
        envvar="HANDFAST_CA",
        parser=parse_address,
        callback=_unless_dir,
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
