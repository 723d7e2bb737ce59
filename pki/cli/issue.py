"""``handfast issue``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from pki.cli.options import (
    DEFAULT_DIR,
    DirOption,
    ca_directory,
    choose,
    complete,
    parse_dns,
    parse_each,
    parse_ip,
    parse_lifetime,
    parse_path,
)
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.cli.state.issuing import (
    parse_request,
    read_request_file,
    refuse_ca_folder,
    report_issued,
    save_issued,
)
from pki.cli.state.key_access import PassphraseFileOption
from pki.cli.state.trust_distribution import import_crls, issuer_certificates
from pki.files import LAYOUTS, writer_lock
from pki.files.overwrite import CredentialOwner, refuse_overwrite
from pki.files.writer import require_chain_file
from pki.identity import DnsName, SpiffeId
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
        str,
        typer.Option(
            parser=choose(LAYOUTS, "layout"),
            metavar="LAYOUT",
            autocompletion=complete(LAYOUTS),
            help=", ".join(LAYOUTS),
        ),
    ] = "handfast",
    ttl: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_lifetime,
            metavar="TIME",
            help="Lifetime: 30m, 12h; 1h by default, 24h at most.",
        ),
    ] = None,
    dns: Annotated[
        list[DnsName] | None,
        typer.Option(parser=parse_dns, metavar="NAME", help="A further DNS name."),
    ] = None,
    ip: Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="An IP address.")] = None,
    csr: Annotated[
        Path | None,
        typer.Option(help="A certificate signing request (CSR); its sender keeps the private key."),
    ] = None,
    key_type: Annotated[
        KeyType, typer.Option(help="The kind of key; ed25519 is for CAs only.")
    ] = KeyType.ECDSA_P256,
    profile: Annotated[
        str,
        typer.Option(
            parser=choose(LEAF_PROFILES, "profile"),
            metavar="PROFILE",
            autocompletion=complete(LEAF_PROFILES),
            help=", ".join(LEAF_PROFILES),
        ),
    ] = "workload",
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Issue a certificate to a workload, and write it with its key, trust bundle and CRLs."""
    addresses = parse_each(parse_ip, ip, option="--ip")
    file_layout = LAYOUTS[layout]
    request = read_request_file(csr) if csr is not None else None
    with open_authority(directory, passphrase_file=passphrase_file) as authority:
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
                ca_certificates=issuer_certificates(authority),
                request_key=parse_request(request, csr) if request is not None else None,
            )
            if request is None:
                issued = authority.issue(
                    name,
                    dns=tuple(dns or ()),
                    ip=addresses,
                    lifetime=ttl,
                    key_type=key_type,
                    profile=LEAF_PROFILES[profile],
                )
            else:
                issued = authority.issue_request(
                    name,
                    request,
                    dns=tuple(dns or ()),
                    ip=addresses,
                    lifetime=ttl,
                    profile=LEAF_PROFILES[profile],
                )
            save_issued(issued, folder, file_layout)
    facts, lines = report_issued("issue", issued, folder, file_layout, directory)
    print_result("issue", facts, lines, as_json=as_json)
