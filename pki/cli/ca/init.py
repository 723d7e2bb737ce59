"""``handfast ca init``: make a CA."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.authority.lifetimes import DEFAULT_BACKDATE
from pki.authority.signers.new_key import IN_FILE, KeyPlace
from pki.cli.options import (
    DEFAULT_DIR,
    DirOption,
    ca_directory,
    dir_option,
    parse_dns,
    parse_each,
    parse_lifetime,
    parse_network,
)
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.key_access import (
    KeyOption,
    ModuleOption,
    PassphraseFileOption,
    ca_passphrase,
    new_passphrase,
    parse_key_place,
    token_access,
)
from pki.cli.state.ledger_place import LedgerOption
from pki.identity import DnsName, TrustDomain
from pki.keys import KeyType


def init(
    trust_domain: Annotated[
        str, typer.Option(help="The trust domain of this CA: a DNS name such as shop.internal.")
    ],
    permit_dns: Annotated[
        list[DnsName] | None,
        typer.Option(
            parser=parse_dns,
            metavar="NAME",
            help="A further DNS name that it may issue, with all names below it.",
        ),
    ] = None,
    permit_ip: Annotated[
        list[str] | None,
        typer.Option(metavar="RANGE", help="An address range that it may issue: 10.0.0.0/8."),
    ] = None,
    key_type: Annotated[
        KeyType, typer.Option(help="The kind of the root's and the issuing CA's key.")
    ] = KeyType.ECDSA_P256,
    backdate: Annotated[
        timedelta,
        typer.Option(
            parser=parse_lifetime,
            metavar="TIME",
            show_default="1m",
            help="How far notBefore is set back, for clocks that differ.",
        ),
    ] = DEFAULT_BACKDATE,
    key: KeyOption = None,
    root_key: Annotated[
        KeyPlace | None,
        typer.Option(
            parser=parse_key_place,
            metavar="PLACE",
            help="Where the root's key lives: file, or pkcs11:token=NAME.",
        ),
    ] = None,
    module: ModuleOption = None,
    encrypt: Annotated[
        bool,
        typer.Option("--encrypt", help="Encrypt the keys in files; ask for a passphrase."),
    ] = False,
    passphrase_file: PassphraseFileOption = None,
    ledger: LedgerOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a CA: a root, an issuing CA, their revocation lists, and a ledger."""
    plan = AuthorityPlan(
        TrustDomain.parse(trust_domain),
        tuple(permit_dns or ()),
        parse_each(parse_network, permit_ip, option="--permit-ip"),
        key_type,
        backdate,
        root_key=root_key or IN_FILE,
        issuing_key=key or IN_FILE,
    )
    ca_folder = ca_directory(directory)
    passphrase = new_passphrase(passphrase_file) if encrypt else ca_passphrase(passphrase_file)
    tokens = token_access(module)
    with Authority.create(
        ca_folder, plan, passphrase=passphrase, tokens=tokens, ledger=ledger
    ) as authority:
        root, issuing = authority.issuers()
        root_place, place = authority.key_place(root), authority.key_place(issuing)
    root_file = ca_folder / ("root.key.pem" if root_place == "file" else "root.key.toml")
    print_result(
        "ca init",
        {
            "trust_domain": trust_domain,
            "ca": ca_folder,
            "bundle": ca_folder / "bundle.pem",
            "root_key": root_file,
            "root_key_place": root_place,
            "issuing_ca": issuing.key_id,
            "issuing_key_place": place,
            "root_not_after": root.certificate.not_valid_after_utc,
            "issuing_not_after": issuing.certificate.not_valid_after_utc,
        },
        [
            f"Made a CA for {trust_domain} in {quote_path(ca_folder)}",
            f"  root           until {root.certificate.not_valid_after_utc:%Y-%m-%d}, trusted "
            f"through {quote_path(ca_folder / 'bundle.pem')}",
            f"  issuing CA     {issuing.key_id}, until "
            f"{issuing.certificate.not_valid_after_utc:%Y-%m-%d}",
            *([f"  its key        {place}"] if place != "file" else []),
            f"Take the root's key away from this machine now: {quote_path(root_file)}"
            if root_place == "file"
            else f"Take the token of the root's key away from this machine now: {root_place}",
            "  It is needed again only to rotate the issuing CA.",
            f"Next: handfast issue NAME{dir_option(directory)}",
            f"Or serve it to workloads that enroll: handfast ca serve{dir_option(directory)}",
        ],
        as_json=as_json,
    )
