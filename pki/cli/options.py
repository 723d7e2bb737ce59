"""Options that several commands share, and the parsers of their values."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pki.durations import parse_duration
from pki.errors import PkiError, printable, quote_untrusted
from pki.identity import DnsName
from pki.x509 import IpAddress
from pki.x509.profiles.ca import IpNetwork

_Value = TypeVar("_Value")

DEFAULT_DIR = Path("certs")


def as_option(parse: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Turn a parser into one for options: a bad value is wrong usage, exit code 2."""

    def convert(text: str | _Value) -> _Value:
        if not isinstance(text, str):
            # A default, which is a value already.
            return text
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


parse_path: Callable[[str], Path] = as_option(_path)
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
parse_lifetime: Callable[[str], timedelta] = as_option(parse_duration)
parse_dns: Callable[[str], DnsName] = as_option(DnsName.parse)
parse_ip: Callable[[str], IpAddress] = as_option(ip_address)
parse_network: Callable[[str], IpNetwork] = as_option(ip_network)


def parse_each(
    parse: Callable[[str], _Value], texts: Iterable[str] | None, *, option: str
) -> tuple[_Value, ...]:
    """Parse the values of an option that may be given several times.

    The parser of such an option is not given to typer, which takes no unions for a list's items.
    """
    try:
        return tuple(parse(text) for text in texts or ())
    except typer.BadParameter as error:
        raise typer.BadParameter(error.message, param_hint=f"'{option}'") from None


def choose(names: Iterable[str], what: str) -> Callable[[str], str]:
    """Return the parser of an option that takes one of several names."""
    known = tuple(names)

    def parse(text: str) -> str:
        if text not in known:
            raise typer.BadParameter(
                f"{quote_untrusted(text)} is no {what}: use one of {', '.join(known)}"
            )
        return text

    return parse


def complete(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes such an option on the command line."""
    known = tuple(names)

    def matching(incomplete: str) -> list[str]:
        return [name for name in known if name.startswith(incomplete)]

    return matching


def dir_option(state: Path) -> str:
    """Return the option that a printed command needs to find this state folder; empty if none."""
    if str(state) == os.environ.get("HANDFAST_DIR", str(DEFAULT_DIR)):
        return ""
    return f" --dir {printable(shlex.quote(str(state)))}"


def ca_directory(state: Path) -> Path:
    """Return the folder of the CA in a state folder."""
    return state / "ca"
