"""``handfast issue``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pki.authority import Issued
from pki.cli.distribution import take_in_crls
from pki.cli.output import JsonOption, path_word, tell
from pki.cli.state import (
    DEFAULT_DIR,
    DirOption,
    ca_home,
    open_authority,
    parse_dns,
    parse_ip,
    parse_layout,
    parse_lifetime,
    parse_path,
)
from pki.errors import PkiError, StateError, quote_untrusted
from pki.files import Layout, read_bounded, writer_lock
from pki.files.credential_files import error_context
from pki.files.layouts import path_exists
from pki.files.overwrite import CredentialOwner, refuse_overwrite
from pki.files.writer import require_chain_file
from pki.identity import SpiffeId
from pki.keys import KeyType, PublicKey
from pki.x509 import read_names, read_request
from pki.x509.profiles import LEAF_PROFILES
from pki.x509.request import MAX_REQUEST_BYTES

COULD_NOT_TELL = 3


def issue(
    name: Annotated[str, typer.Argument(help="The workload: orders, prod/orders, spiffe://...")],
    out: Annotated[
        Path | None,
        typer.Option(parser=parse_path, metavar="DIR", help="Where to; DIR/NAME if not given."),
    ] = None,
    layout: Annotated[
        str, typer.Option(help="handfast, kubernetes, spiffe-helper, spire, certbot, spiffe-files.")
    ] = "handfast",
    ttl: Annotated[str, typer.Option(help="Lifetime: 30m, 1h; at most 24h.")] = "1h",
    dns: Annotated[list[str] | None, typer.Option(help="A further DNS name.")] = None,
    ip: Annotated[list[str] | None, typer.Option(help="An IP address.")] = None,
    csr: Annotated[
        Path | None, typer.Option(help="A request to answer; its maker keeps the key.")
    ] = None,
    key_type: Annotated[KeyType, typer.Option(help="Not ed25519.")] = KeyType.ECDSA_P256,
    profile: Annotated[str, typer.Option(help="workload, server or client.")] = "workload",
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Issue a certificate to a workload, and write it down with its key, trust and lists."""
    used = parse_layout(layout)
    if profile not in LEAF_PROFILES:
        raise typer.BadParameter(f"profile is one of {', '.join(LEAF_PROFILES)}")
    names = tuple(parse_dns(item) for item in dns or ())
    addresses = tuple(parse_ip(item) for item in ip or ())
    lifetime = parse_lifetime(ttl)
    request = read_request_file(csr) if csr is not None else None
    with open_authority(directory) as authority:
        workload = SpiffeId.parse_name(name, authority.trust_domain)
        folder = out or directory / workload.path
        take_in_crls(authority, directory)
        refuse_ca_folder(folder, ca_home(directory))
        if request is not None:
            # Here, and not after the certificate is issued.
            require_chain_file(used)
        # From the look at what lies there to the last file nobody else writes there.
        with writer_lock(folder, layout=used):
            refuse_overwrite(
                folder,
                CredentialOwner.of_workload(workload),
                layout=used,
                request_key=parse_request(request, csr) if request is not None else None,
            )
            if request is None:
                issued = authority.issue(
                    name,
                    dns=names,
                    ip=addresses,
                    lifetime=lifetime,
                    key_type=key_type,
                    profile=LEAF_PROFILES[profile],
                )
            else:
                issued = authority.issue_request(
                    name,
                    request,
                    dns=names,
                    ip=addresses,
                    lifetime=lifetime,
                    profile=LEAF_PROFILES[profile],
                )
            save_issued(issued, folder, used)
    tell_issued("issue", issued, folder, used, as_json=as_json)


class CouldNotTellError(Exception):
    """A question of yes or no that has no answer: exit code 3."""

    def __init__(self, cause: PkiError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def read_request_file(path: Path) -> bytes:
    """Read the file of a request (CSR).

    Raises:
        StateError: if it can't be read.
    """
    try:
        return read_bounded(path, max_bytes=MAX_REQUEST_BYTES)[0]
    except FileNotFoundError:
        raise StateError(f"request {quote_untrusted(path)} is not there") from None


def parse_request(data: bytes, path: Path | None) -> PublicKey:
    """Return the public key of a request.

    Raises:
        InputError: if it is malformed or proves no possession.
    """
    with error_context(path or Path("-")):
        return read_request(data).public_key


def refuse_ca_folder(folder: Path, home: Path) -> None:
    """Refuse to put a credential into a CA's own folder.

    Raises:
        StateError: if it is one.
    """
    # Not Path.resolve, which raises something of its own at a loop of links.
    is_home = os.path.realpath(folder) == os.path.realpath(home)
    if is_home or (path_exists(folder) and path_exists(folder / "ledger.db")):
        raise StateError(
            f"{quote_untrusted(folder)} is the folder of a CA",
            remedy="Choose another folder with --out",
        )


def save_issued(issued: Issued, folder: Path, layout: Layout) -> None:
    """Write what was issued; where that fails, say that the ledger holds it all the same.

    Raises:
        StateError: if a file can't be written.
    """
    try:
        issued.save(folder, layout=layout)
    except PkiError as error:
        remedy = (
            "A credential that was there still works; mend that and run the command again"
            if issued.key is not None
            else "Mend that and run the command again with the same request"
        )
        raise StateError(
            f"certificate {issued.leaf.serial_number:x} is issued and recorded, but not in place: "
            f"{error.message}",
            remedy=remedy,
        ) from error


def tell_issued(
    command: str, issued: Issued, folder: Path, layout: Layout, *, as_json: bool
) -> None:
    """Say what was issued."""
    leaf = issued.leaf
    names = read_names(leaf)
    word = path_word(folder)
    files = [layout.chain or layout.key, layout.bundle, layout.crls]
    if issued.key is not None:
        files.insert(0, layout.key)
    tell(
        command,
        {
            "renewed": command == "renew",
            "spiffe_id": str(issued.spiffe_id),
            "serial": f"{leaf.serial_number:x}",
            "dns": [name.name for name in names.dns_names],
            "ip": [str(address) for address in names.ip_addresses],
            "not_before": leaf.not_valid_before_utc,
            "not_after": leaf.not_valid_after_utc,
            "directory": folder,
            "files": sorted(set(files)),
            "notes": list(issued.notes),
        },
        [
            f"{'Renewed' if command == 'renew' else 'Issued'} {issued.spiffe_id}",
            f"  serial    {leaf.serial_number:x}",
            f"  names     {', '.join(name.name for name in names.dns_names) or 'no DNS name'}",
            f"  until     {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC",
            f"  in        {folder}: {', '.join(sorted(set(files)))}",
            *(f"Mind: {note}" for note in issued.notes),
            f"Next: handfast verify {word} --as server; and a timer for: handfast renew {word}"
            if issued.key is not None
            else "Next: bring the chain to whoever holds the key; before half of its life: "
            f"handfast renew {word} --csr FILE",
        ],
        as_json=as_json,
    )
