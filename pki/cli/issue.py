"""``handfast issue``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.cli.options import (
    DEFAULT_DIR,
    DirOption,
    ca_directory,
    parse_dns,
    parse_ip,
    parse_layout,
    parse_lifetime,
    parse_path,
)
from pki.cli.output import JsonOption
from pki.cli.state.authority import open_authority
from pki.cli.state.issuing import (
    parse_request,
    print_issued,
    read_request_file,
    refuse_ca_folder,
    save_issued,
)
from pki.cli.state.trust_distribution import import_crls
from pki.files import writer_lock
from pki.files.overwrite import CredentialOwner, refuse_overwrite
from pki.files.writer import require_chain_file
from pki.identity import SpiffeId
from pki.keys import KeyType
from pki.x509.profiles import LEAF_PROFILES


def issue(
    name: Annotated[str, typer.Argument(help="The workload: orders, prod/orders, spiffe://...")],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path, metavar="DIR", help="The directory to write to; DIR/NAME by default."
        ),
    ] = None,
    layout: Annotated[
        str, typer.Option(help="handfast, kubernetes, spiffe-helper, spire, certbot, spiffe-files.")
    ] = "handfast",
    ttl: Annotated[str, typer.Option(help="Lifetime: 30m, 1h; at most 24h.")] = "1h",
    dns: Annotated[list[str] | None, typer.Option(help="A further DNS name.")] = None,
    ip: Annotated[list[str] | None, typer.Option(help="An IP address.")] = None,
    csr: Annotated[
        Path | None,
        typer.Option(help="A certificate signing request (CSR); its sender keeps the private key."),
    ] = None,
    key_type: Annotated[
        KeyType, typer.Option(help="The kind of key; ed25519 is for CAs only.")
    ] = KeyType.ECDSA_P256,
    profile: Annotated[str, typer.Option(help="workload, server or client.")] = "workload",
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Issue a certificate to a workload, and write it with its key, trust bundle and CRLs."""
    file_layout = parse_layout(layout)
    if profile not in LEAF_PROFILES:
        raise typer.BadParameter(f"profile is one of {', '.join(LEAF_PROFILES)}")
    names = tuple(parse_dns(item) for item in dns or ())
    addresses = tuple(parse_ip(item) for item in ip or ())
    lifetime = parse_lifetime(ttl)
    request = read_request_file(csr) if csr is not None else None
    with open_authority(directory) as authority:
        workload = SpiffeId.parse_name(name, authority.trust_domain)
        folder = out or directory / workload.path
        import_crls(authority, directory)
        refuse_ca_folder(folder, ca_directory(directory))
        if request is not None:
            # Checked here, and not only after the certificate is issued.
            require_chain_file(file_layout)
        # From the check of what is there to the last file, nobody else writes there.
        with writer_lock(folder, layout=file_layout):
            refuse_overwrite(
                folder,
                CredentialOwner.of_workload(workload),
                layout=file_layout,
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
            save_issued(issued, folder, file_layout)
    print_issued("issue", issued, folder, file_layout, as_json=as_json)
