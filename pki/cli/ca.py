"""``handfast ca``: make a CA, rotate its issuing CA, distrust one."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.authority.ledger import IssuerStatus
from pki.cli.ca_recover import recover, status
from pki.cli.distribution import distribute
from pki.cli.output import JsonOption, path_word, tell
from pki.cli.state import (
    DEFAULT_DIR,
    DirOption,
    ca_home,
    ca_passphrase,
    open_authority,
    parse_dns,
    parse_lifetime,
    parse_network,
)
from pki.identity import TrustDomain
from pki.keys import KeyType

app = typer.Typer(no_args_is_help=True, help="Make and look after the CA.")
app.command(epilog="Example: handfast ca status --json")(status)
app.command(epilog="Example: handfast ca recover --list /mnt/orders/crl.pem")(recover)


@app.command(epilog="Example: handfast ca init --trust-domain shop.internal --permit-dns localhost")
def init(
    trust_domain: Annotated[
        str, typer.Option(help="The namespace of this CA: a DNS name such as shop.internal.")
    ],
    permit_dns: Annotated[
        list[str] | None,
        typer.Option(help="A further DNS name that it may give out, with all below it."),
    ] = None,
    permit_ip: Annotated[
        list[str] | None, typer.Option(help="An address range that it may give out: 10.0.0.0/8.")
    ] = None,
    key_type: Annotated[
        KeyType, typer.Option(help="Of the root's and the issuing CA's key.")
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
    home = ca_home(directory)
    with Authority.create(home, plan, passphrase=ca_passphrase()) as authority:
        root, issuing = authority.issuers()
    root_key = home / "root.key.pem"
    tell(
        "ca init",
        {
            "trust_domain": trust_domain,
            "ca": home,
            "bundle": home / "bundle.pem",
            "root_key": root_key,
            "issuing_ca": issuing.key_id,
            "root_not_after": root.certificate.not_valid_after_utc,
            "issuing_not_after": issuing.certificate.not_valid_after_utc,
        },
        [
            f"Made a CA for {trust_domain} in {path_word(home)}",
            f"  root           until {root.certificate.not_valid_after_utc:%Y-%m-%d}, "
            f"trusted through {path_word(home / 'bundle.pem')}",
            f"  issuing CA     {issuing.key_id}, until "
            f"{issuing.certificate.not_valid_after_utc:%Y-%m-%d}",
            f"Take the root's key away from this machine now: {path_word(root_key)}",
            "  It is needed again only to rotate the issuing CA.",
            "Next: handfast issue NAME",
        ],
        as_json=as_json,
    )


@app.command(epilog="Example: handfast ca rotate --prepare; later: handfast ca rotate --activate")
def rotate(
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Make the next one and publish its list; no more.")
    ] = False,
    activate: Annotated[
        bool, typer.Option("--activate", help="Bring the prepared one into use.")
    ] = False,
    key_type: Annotated[KeyType, typer.Option(help="Of the new key.")] = KeyType.ECDSA_P256,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a new issuing CA, bring its list to every credential here, and bring it into use."""
    if prepare and activate:
        raise typer.BadParameter("--prepare and --activate are two steps: give one of them")
    with open_authority(directory) as authority:
        if activate:
            record = authority.activate_issuer()
        else:
            record = authority.prepare_issuer(key_type=key_type)
        spread = distribute(authority, directory)
        # Whoever has not got its list would refuse everything that it signs.
        if not prepare and not activate and not spread.left:
            record = authority.activate_issuer()
    tell(
        "ca rotate",
        {
            "issuing_ca": record.key_id,
            "status": record.status.value,
            "not_after": record.certificate.not_valid_after_utc,
            **spread.to_json(),
        },
        [
            f"Issuing CA {record.key_id} is {record.status.value}, until "
            f"{record.certificate.not_valid_after_utc:%Y-%m-%d}",
            f"Its revocation list was brought to {len(spread.reached)} credential directories here",
            "Next, once every receiver has the lists: handfast ca rotate --activate"
            if record.status is IssuerStatus.PREPARED
            else "Certificates of the one before stay good until they end; renewals come from "
            "the new one",
        ],
        as_json=as_json,
    )
    spread.finish(f"Issuing CA {record.key_id} is {record.status.value}")


@app.command(epilog="Example: handfast ca distrust 3d3ca8d8")
def distrust(
    key_id: Annotated[str, typer.Argument(help="The issuing CA's key id, or its beginning.")],
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Distrust an issuing CA whose key leaked, and all that it signed. Works without the root."""
    with open_authority(directory) as authority:
        record = authority.distrust(key_id)
        spread = distribute(authority, directory)
        active = [item for item in authority.issuers() if item.status.value == "active"]
    without = len(active) < 2
    tell(
        "ca distrust",
        {
            "issuing_ca": record.key_id,
            "status": record.status.value,
            **spread.to_json(),
            "needs_rotation": without,
        },
        [
            f"Issuing CA {record.key_id} is distrusted, with every certificate that it signed",
            f"The root's list was brought to {len(spread.reached)} credential directories here; "
            f"bring {path_word(ca_home(directory) / 'crl.pem')} to all others",
            "Next: bring the root's key back, then handfast ca rotate, and issue anew"
            if without
            else "Next: issue anew what it had signed",
        ],
        as_json=as_json,
    )
    spread.finish("It is distrusted")
