"""``handfast ca rotate``: replace the issuing CA; ``rotate status`` shows where rotations stand."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar

import typer

from pki._proto.handfast.ca.v1 import rotation_pb2 as messages
from pki.authority.ledger import IssuerStatus
from pki.authority.lifetimes import DEFAULT_ISSUING
from pki.ca_client.received import read_moment
from pki.cli.ca.root.options import OutOption
from pki.cli.lazy_group import LazyCommand, LazyGroup
from pki.cli.options import DEFAULT_DIR, DirOption, parse_lifetime
from pki.cli.output import JsonOption, print_result
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.rotation.desk import rotation_desk
from pki.cli.state.key_access import KeyOption, ModuleOption, PassphraseFileOption
from pki.cli.state.root_requests import print_request
from pki.daemon.messages import duration_message
from pki.keys import KeyType


class _RotateCommands(LazyGroup):
    lazy_commands: ClassVar = {
        "status": LazyCommand(
            "pki.cli.ca.rotate_status:rotate_status", "Example: handfast ca rotate status"
        )
    }


app = typer.Typer(
    name="rotate",
    cls=_RotateCommands,
    add_completion=False,
    epilog="Example: handfast ca rotate --prepare; later: handfast ca rotate --activate",
)


@app.callback(invoke_without_command=True)
def rotate(
    context: typer.Context,
    prepare: Annotated[
        bool,
        typer.Option(
            "--prepare",
            help="Only make the next issuing CA, and publish its CRL. Without the root's key, "
            "write a request for it.",
        ),
    ] = False,
    activate: Annotated[
        bool, typer.Option("--activate", help="Start to use the prepared issuing CA.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="With --activate: even if a directory here did not get its revocation list.",
        ),
    ] = False,
    lifetime: Annotated[
        timedelta,
        typer.Option(
            parser=parse_lifetime,
            metavar="TIME",
            show_default="365d",
            help="The new issuing CA's lifetime: 6d or more.",
        ),
    ] = DEFAULT_ISSUING,
    key_type: Annotated[
        KeyType, typer.Option(help="The kind of the new key.")
    ] = KeyType.ECDSA_P256,
    key: KeyOption = None,
    module: ModuleOption = None,
    passphrase_file: PassphraseFileOption = None,
    out: OutOption = None,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a new issuing CA, bring its CRL to every credential here, and start to use it.

    Works on the folder, or with --ca over the network.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    if prepare and activate:
        raise typer.BadParameter("--prepare and --activate are two steps: give one of them")
    if force and not activate:
        raise typer.BadParameter("--force goes with --activate alone")
    if force and ca is not None:
        raise typer.BadParameter("--force is for directories beside the CA: leave it out with --ca")
    how = rotation_desk(ca, credential, directory, passphrase_file=passphrase_file, module=module)
    with how as desk:
        record = None
        if not activate:
            request = messages.PrepareIssuerRequest(
                key_type=key_type.value, lifetime=duration_message(lifetime), at_once=not prepare
            )
            prepared = desk.prepare_issuer(request, key)
            if prepared.request:
                print_request(
                    "ca rotate",
                    prepared.request,
                    desk.request_path(out),
                    desk.options(),
                    as_json=as_json,
                    waited=desk.waited,
                )
                return
            record = prepared.issuing_ca
        desk.distribute()
        distribution = desk.distribution
        # A receiver without its CRL would refuse everything that it signs.
        if not prepare and (not distribution.failed or force):
            record = desk.activate_issuer(record.key_id if record is not None else "")
    if record is None:
        distribution.exit_if_incomplete("The issuing CA is not activated")
    assert record is not None
    not_after = read_moment(record.not_after)
    print_result(
        "ca rotate",
        {
            "issuing_ca": record.key_id,
            "status": record.status,
            "key_place": record.key_place,
            "not_after": not_after,
            **distribution.to_json(),
        },
        [
            f"Issuing CA {record.key_id} is {record.status}; it expires on {not_after:%Y-%m-%d}",
            desk.reached("Its revocation list"),
            "Next, once every receiver has the CRLs: handfast ca rotate --activate" + desk.options()
            if record.status == IssuerStatus.PREPARED
            else "Certificates of the previous one stay valid until they end; renewals come from "
            "the new one",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete(f"Issuing CA {record.key_id} is {record.status}")


def _refuse_options(context: typer.Context) -> None:
    """Refuse options before a subcommand, which would have no effect there.

    Raises:
        BadParameter: if there is one.
    """
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"no option goes before {context.invoked_subcommand}")
