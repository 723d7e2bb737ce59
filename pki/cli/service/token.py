"""``handfast token create``: a token with which a workload enrolls once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, ClassVar

import typer
from cryptography.hazmat.primitives import hashes

from pki._proto.handfast.ca.v1 import authority_pb2
from pki.authority.enrollment import create_token
from pki.authority.ledger.hierarchy import active_root
from pki.ca_client.rpc_errors import call
from pki.cli.lazy_group import LazyCommand, LazyGroup
from pki.cli.options import DEFAULT_DIR, DirOption, parse_lifetime
from pki.cli.output import JsonOption, print_result
from pki.cli.service.ca_options import CaOption, CredentialOption, parse_address
from pki.cli.service.operator import operator
from pki.cli.service.remote import SECONDS, remote_ca
from pki.cli.state.authority import open_authority
from pki.errors import StateError
from pki.identity import SpiffeId
from pki.proofs import EnrollmentToken


class _TokenCommands(LazyGroup):
    lazy_commands: ClassVar = {
        "create": LazyCommand(
            "pki.cli.service.token:create", "Example: handfast token create orders --ttl 10m"
        )
    }


app = typer.Typer(
    name="token",
    cls=_TokenCommands,
    no_args_is_help=True,
    add_completion=False,
    help="Make enrollment tokens.",
)


@app.callback()
def _token() -> None:
    """Make this a group: it has no options of its own."""


def create(
    name: Annotated[
        str, typer.Argument(help="The workload, which is registered: a path, or a SPIFFE ID.")
    ],
    ttl: Annotated[
        timedelta,
        typer.Option(
            parser=parse_lifetime,
            metavar="TIME",
            show_default="10m",
            help="How long the token is good; at most 24h.",
        ),
    ] = timedelta(minutes=10),
    address: Annotated[
        str | None,
        typer.Option(
            parser=parse_address,
            metavar="ADDRESS",
            help="Where the workload reaches the port for enrollments, if not as it is served.",
        ),
    ] = None,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a token: one string for handfast enroll, good once. Works on the folder or with --ca."""
    if ca is None:
        token, expires_at = _on_folder(name, ttl, address, directory)
    else:
        if address is not None:
            raise typer.BadParameter(
                "--address is for the CA's folder: with --ca, the CA names its address itself, by "
                "handfast ca serve --enroll-advertise"
            )
        token, expires_at = _over_network(name, ttl, ca, credential)
    # The token alone on stdout, so that a script can take it.
    print_result(
        "token create",
        {"token": token, "expires_at": expires_at},
        [token],
        as_json=as_json,
    )


def _on_folder(
    name: str, ttl: timedelta, address: str | None, directory: Path
) -> tuple[str, datetime]:
    with open_authority(directory, read_only=True) as authority:
        spiffe_id = SpiffeId.parse_name(name, authority.trust_domain)
        with authority.context.ledger.transaction() as transaction:
            served_at = transaction.proofs.enrollment_address()
        address = address or served_at
        if address is None:
            raise StateError(
                "this CA was never served, so the token can't say where it is",
                remedy="Start it: handfast ca serve; or give --address HOST:PORT",
            )
        made = create_token(authority.context, operator(), spiffe_id, ttl)
        # The CA serves with a certificate under the active root.
        root = active_root(authority.issuers()).certificate
        token = EnrollmentToken(
            address, authority.trust_domain, root.fingerprint(hashes.SHA256()), made.credential
        )
        return str(token), made.expires_at


def _over_network(
    name: str, ttl: timedelta, ca: str, credential: Path | None
) -> tuple[str, datetime]:
    with remote_ca(ca, credential) as remote:
        spiffe_id = SpiffeId.parse_name(name, remote.own_id.trust_domain)
        request = authority_pb2.CreateTokenRequest(
            spiffe_id=str(spiffe_id), lifetime_seconds=int(ttl.total_seconds())
        )
        answer = call(lambda: remote.authority.CreateToken(request, timeout=SECONDS))
        return answer.token, answer.expires_at.ToDatetime(tzinfo=UTC)
