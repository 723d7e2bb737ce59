"""Where the commands find things: the state folder, the CA in it, and the words of options."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pki.authority import Authority
from pki.authz.schema import parse_duration
from pki.cli.output import complain
from pki.errors import InputError, PkiError, StateError, quote_untrusted
from pki.files import Layout
from pki.files.access import check_directory_access, distrust_reason, trusted_owners
from pki.files.atomic import read_with_status
from pki.files.layouts import layout_named
from pki.identity import DnsName
from pki.x509 import IpAddress
from pki.x509.profiles.ca import IpNetwork

_Value = TypeVar("_Value")
_MAX_PASSPHRASE_FILE = 64 * 1024

DEFAULT_DIR = Path("certs")


def _option(parse: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Make a parser into an option's: a bad word is wrong usage, exit code 2."""

    def convert(text: str) -> _Value:
        try:
            return parse(text)
        except (PkiError, ValueError) as error:
            raise typer.BadParameter(str(error)) from None

    return convert


def _path(text: str) -> Path:
    if not text:
        # Most often a variable that was not set; it must not mean the folder that one stands in.
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
        help="Where the CA (DIR/ca) and the credentials lie.",
    ),
]
parse_lifetime: Callable[[str], timedelta] = _option(parse_duration)
parse_dns: Callable[[str], DnsName] = _option(DnsName.parse)
parse_ip: Callable[[str], IpAddress] = _option(ip_address)
parse_network: Callable[[str], IpNetwork] = _option(ip_network)
parse_layout: Callable[[str], Layout] = _option(layout_named)


def ca_home(state: Path) -> Path:
    """Say where the CA lies."""
    return state / "ca"


def open_authority(state: Path, *, read_only: bool = False) -> Authority:
    """Open the CA of a state folder; to look only, without publishing anything.

    The passphrase of its keys, if they have one, is read from the file that
    ``HANDFAST_CA_PASSPHRASE_FILE`` names.

    Raises:
        StateError: if there is none, or a stranger can change it or put another in its place.
    """
    if state.is_dir():
        check_directory_access(state)
    authority = Authority.open(ca_home(state), passphrase=ca_passphrase(), read_only=read_only)
    for warning in authority.migration_warnings():
        complain(f"mind: {warning}")
    return authority


def ca_passphrase() -> bytes | None:
    """Read the passphrase of the CA's keys, if one is set.

    It is the file's first line: all bytes before the first line feed, without a carriage return
    right before it. Further lines are not read.

    Raises:
        PkiError: if it can't be read, is no regular file, a stranger can change it, or that line is
            empty.
    """
    named = os.environ.get("HANDFAST_CA_PASSPHRASE_FILE")
    if not named:
        return None
    path = Path(named)
    first, status = _first_line(path)
    try:
        why = distrust_reason(status, trusted_owners(path.parent.stat()))
    except OSError as error:
        raise StateError(f"passphrase file {quote_untrusted(path)}: {error.strerror}") from error
    if why:
        raise StateError(
            f"passphrase file {quote_untrusted(path)} {why}",
            remedy="Give it to this user or to root, writable for them alone",
        )
    if not first:
        raise InputError(
            f"the first line of passphrase file {quote_untrusted(path)} is empty",
            remedy="Put the passphrase there, and nothing before it",
        )
    return first


def read_passphrase(path: Path) -> bytes:
    """Read a passphrase: the first line of a file.

    Raises:
        StateError: if it can't be read, is no regular file, or is larger than any passphrase.
    """
    return _first_line(path)[0]


def _first_line(path: Path) -> tuple[bytes, os.stat_result]:
    try:
        data, status = read_with_status(path, max_bytes=_MAX_PASSPHRASE_FILE)
    except FileNotFoundError:
        raise StateError(f"passphrase file {quote_untrusted(path)} is not there") from None
    # As other tools read one: an editor ends the line, and what comes after it may be a comment.
    return data.split(b"\n", 1)[0].removesuffix(b"\r"), status
