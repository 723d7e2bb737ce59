"""Where the commands find things: the state folder, the CA in it, and the words of options."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pki.authority import Authority
from pki.authz.schema import parse_duration
from pki.cli.output import complain
from pki.errors import InputError, PkiError, StateError, shown
from pki.files import Layout, detect_layout, load_credential, read_bounded, save_trust
from pki.files.layouts import LAYOUTS, layout_named
from pki.identity import DnsName
from pki.x509 import IpAddress, RevocationLists
from pki.x509.profiles.authority import IpNetwork
from pki.x509.readers import MAX_LISTS_BYTES

_MAX_PASSPHRASE_FILE = 4096
_Value = TypeVar("_Value")

DirOption = Annotated[
    Path,
    typer.Option(
        "--dir", envvar="HANDFAST_DIR", help="Where the CA (DIR/ca) and the credentials lie."
    ),
]
DEFAULT_DIR = Path("certs")


def _option(parse: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Make a parser into an option's: a bad word is wrong usage, exit code 2."""

    def convert(text: str) -> _Value:
        try:
            return parse(text)
        except (PkiError, ValueError) as error:
            raise typer.BadParameter(str(error)) from None

    return convert


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
        StateError: if there is none.
    """
    authority = Authority.open(ca_home(state), passphrase=ca_passphrase(), read_only=read_only)
    for warning in authority.migration_warnings():
        complain(f"mind: {warning}")
    return authority


def ca_passphrase() -> bytes | None:
    """Read the passphrase of the CA's keys, if one is set."""
    named = os.environ.get("HANDFAST_CA_PASSPHRASE_FILE")
    if not named:
        return None
    passphrase = read_passphrase(Path(named))
    if not passphrase:
        raise InputError(
            f"passphrase file {shown(named)} begins with an empty line",
            remedy="Its first line is the passphrase",
        )
    return passphrase


def read_passphrase(path: Path) -> bytes:
    """Read a passphrase: the first line of a file.

    Raises:
        StateError: if it can't be read, is no regular file, or is larger than any passphrase.
    """
    try:
        data, _ = read_bounded(path, max_bytes=_MAX_PASSPHRASE_FILE)
    except FileNotFoundError:
        raise StateError(f"passphrase file {shown(path)} is not there") from None
    return data.split(b"\n", 1)[0].removesuffix(b"\r")


def distribute(authority: Authority, state: Path) -> list[Path]:
    """Bring trust bundle and lists to every credential of this CA in the state folder.

    Returns:
        The directories that hold one.
    """
    for found in lists_below(state):
        # A list that is ahead shows that the whole CA was put back from a backup.
        authority.take_in(found)
    bundle, lists = authority.trust()
    reached = []
    # A workload's path may have several segments, and its folder lies as deep.
    for folder in sorted(item for item in state.rglob("*") if item.is_dir()):
        try:
            layout = detect_layout(folder)
            leaf = load_credential(folder, layout=layout).credential.leaf
        except PkiError:
            continue
        record = authority.certificate(leaf.serial_number)
        if record is not None and record.certificate == leaf:
            save_trust(bundle, lists, folder, layout=layout)
            reached.append(folder)
    return reached


def lists_below(state: Path) -> Iterator[RevocationLists]:
    """Read all revocation lists in credential directories here; what is no list is passed over."""
    names = {layout.lists for layout in LAYOUTS.values()}
    seen: set[bytes] = set()
    for path in sorted(state.rglob("*")):
        if path.name not in names:
            continue
        try:
            data, _ = read_bounded(path, max_bytes=MAX_LISTS_BYTES)
            if data not in seen:
                seen.add(data)
                yield RevocationLists.read(data)
        except (PkiError, OSError):
            continue
