"""Options that several commands share, and the parsers of their values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pki.authz.durations import parse_duration
from pki.errors import PkiError
from pki.files import Layout
from pki.files.layouts import layout_named
from pki.identity import DnsName
from pki.x509 import IpAddress
from pki.x509.profiles.ca import IpNetwork

_Value = TypeVar("_Value")

DEFAULT_DIR = Path("certs")


def _option(parse: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Turn a parser into one for options: a bad value is wrong usage, exit code 2."""

    def convert(text: str) -> _Value:
        try:
            return parse(text)
        except (PkiError, ValueError) as error:
            raise typer.BadParameter(str(error)) from None

    return convert


def _path(text: str) -> Path:
    if not text:
        # Most often an unset variable; it must not mean the current folder.
        raise ValueError("a path can't be empty")
    return Path(text)


parse_path: Callable[[str], Path] = _option(_path)
DirOption = Annotated[
    Path,
    typer.Option(
        "--dir",
        envvar="HANDFAST_DIR",
        parser=parse_path,
        metavar="DIR",
        help="The state folder, with the CA (DIR/ca) and the credentials.",
    ),
]
parse_lifetime: Callable[[str], timedelta] = _option(parse_duration)
parse_dns: Callable[[str], DnsName] = _option(DnsName.parse)
parse_ip: Callable[[str], IpAddress] = _option(ip_address)
parse_network: Callable[[str], IpNetwork] = _option(ip_network)
parse_layout: Callable[[str], Layout] = _option(layout_named)


def ca_directory(state: Path) -> Path:
    """Return the folder of the CA in a state folder."""
    return state / "ca"
