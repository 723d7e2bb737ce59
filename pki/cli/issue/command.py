"""``handfast issue``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from pki.authority import Authority, NamedOrder
from pki.cli.issue.many import issue_many
from pki.cli.issue.orders_file import Defaults, PlacedOrder, read_orders
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
from pki.files import LAYOUTS, Layout, writer_lock
from pki.files.overwrite import CredentialOwner, refuse_overwrite
from pki.files.writer import require_chain_file
from pki.identity import DnsName, SpiffeId
from pki.keys import KeyType
from pki.x509.profiles import LEAF_PROFILES


def issue(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="The workloads: orders, prod/orders, spiffe://..."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            parser=parse_path,
            metavar="FILE",
            help="JSON lines or CSV with the workloads, and what each needs; - is standard input.",
        ),
    ] = None,
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
    """Issue certificates to workloads; write each with its key, trust bundle and CRLs."""
    addresses = parse_each(parse_ip, ip, option="--ip")
    further = tuple(dns or ())
    kind = LEAF_PROFILES[profile]
    if source is None and names and len(names) == 1:
        order = NamedOrder(names[0], further, addresses, ttl, key_type, kind)
        place = _Place(directory, out, LAYOUTS[layout])
        request = (csr, read_request_file(csr)) if csr is not None else None
        with open_authority(directory, passphrase_file=passphrase_file) as authority:
            facts, lines = _issue_one(authority, order, place, request)
        print_result("issue", facts, lines, as_json=as_json)
        return
    if not names and source is None:
        raise typer.BadParameter("name a workload, or with --from a file of workloads")
    for option, value in (("--out", out), ("--csr", csr), ("--dns", dns), ("--ip", ip)):
        if value:
            raise typer.BadParameter(f"{option} goes with one name alone; a file has fields for it")
    orders = [
        PlacedOrder(NamedOrder(name, lifetime=ttl, key_type=key_type, profile=kind))
        for name in names or ()
    ]
    if source is not None:
        orders += read_orders(source, Defaults(ttl, key_type, kind))
    with open_authority(directory, passphrase_file=passphrase_file) as authority:
        issue_many(authority, orders, LAYOUTS[layout], directory, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one certificate is written.

    Args:
        state: the state folder.
        out: the directory; None for the one of the workload's path in the state folder.
        layout: how.
    """

    state: Path
    out: Path | None
    layout: Layout


def _issue_one(
    authority: Authority, order: NamedOrder, place: _Place, request: tuple[Path, bytes] | None
) -> tuple[dict[str, object], list[str]]:
    workload = SpiffeId.parse_name(order.name, authority.trust_domain)
    folder = place.out or place.state / workload.path
    import_crls(authority, place.state)
    refuse_ca_folder(folder, ca_directory(place.state))
    if request is not None:
        # Checked here, and not only after the certificate is issued.
        require_chain_file(place.layout)
    # From the check of what is there to the last file, nobody else writes there.
    with writer_lock(folder, layout=place.layout):
        refuse_overwrite(
            folder,
            CredentialOwner.of_workload(workload),
            layout=place.layout,
            ca_certificates=issuer_certificates(authority),
            request_key=parse_request(request[1], request[0]) if request is not None else None,
        )
        if request is None:
            issued = authority.issue(
                order.name,
                dns=order.dns,
                ip=order.ip,
                lifetime=order.lifetime,
                key_type=order.key_type,
                profile=order.profile,
            )
        else:
            issued = authority.issue_request(
                order.name,
                request[1],
                dns=order.dns,
                ip=order.ip,
                lifetime=order.lifetime,
                profile=order.profile,
            )
        save_issued(issued, folder, place.layout)
    return report_issued("issue", issued, folder, place.layout, place.state)
