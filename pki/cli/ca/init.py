"""``handfast ca init``: make a CA."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.cli.options import (
    DEFAULT_DIR,
    DirOption,
    ca_directory,
    parse_dns,
    parse_lifetime,
    parse_network,
)
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.authority import ca_passphrase
from pki.identity import TrustDomain
from pki.keys import KeyType


def init(
    trust_domain: Annotated[
        str, typer.Option(help="The trust domain of this CA: a DNS name such as shop.internal.")
    ],
    permit_dns: Annotated[
        list[str] | None,
        typer.Option(help="A further DNS name that it may issue, with all names below it."),
    ] = None,
    permit_ip: Annotated[
        list[str] | None, typer.Option(help="An address range that it may issue: 10.0.0.0/8.")
    ] = None,
    key_type: Annotated[
        KeyType, typer.Option(help="The kind of the root's and the issuing CA's key.")
    ] = KeyType.ECDSA_P256,
    backdate: Annotated[
        str, typer.Option(help="How far notBefore is set back, for clocks that differ.")
    ] = "1m",
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a CA: a root, an issuing CA, their revocation lists, and a ledger."""
    plan = AuthorityPlan(
        TrustDomain.parse(trust_domain),
        tuple(parse_dns(name) for name in permit_dns or ()),
        tuple(parse_network(network) for network in permit_ip or ()),
        key_type,
        parse_lifetime(backdate),
    )
    ca_folder = ca_directory(directory)
    with Authority.create(ca_folder, plan, passphrase=ca_passphrase()) as authority:
        root, issuing = authority.issuers()
    root_key = ca_folder / "root.key.pem"
    print_result(
        "ca init",
        {
            "trust_domain": trust_domain,
            "ca": ca_folder,
            "bundle": ca_folder / "bundle.pem",
            "root_key": root_key,
            "issuing_ca": issuing.key_id,
            "root_not_after": root.certificate.not_valid_after_utc,
            "issuing_not_after": issuing.certificate.not_valid_after_utc,
        },
        [
            f"Made a CA for {trust_domain} in {quote_path(ca_folder)}",
            f"  root           until {root.certificate.not_valid_after_utc:%Y-%m-%d}, trusted "
            f"through {quote_path(ca_folder / 'bundle.pem')}",
            f"  issuing CA     {issuing.key_id}, until "
            f"{issuing.certificate.not_valid_after_utc:%Y-%m-%d}",
            f"Take the root's key away from this machine now: {quote_path(root_key)}",
            "  It is needed again only to rotate the issuing CA.",
            "Next: handfast issue NAME",
        ],
        as_json=as_json,
    )
