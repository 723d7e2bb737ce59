"""``handfast ca rotate``: replace the issuing CA; ``rotate status`` shows where rotations stand."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar

import typer

from pki.authority.ledger import IssuerStatus
from pki.authority.lifetimes import DEFAULT_ISSUING
from pki.cli.ca.root.options import OutOption
from pki.cli.lazy_group import LazyCommand, LazyGroup
from pki.cli.options import DEFAULT_DIR, DirOption, dir_option, parse_lifetime
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.cli.state.key_access import KeyOption, ModuleOption, PassphraseFileOption
from pki.cli.state.root_requests import next_lines, save_request
from pki.cli.state.trust_distribution import distribute
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
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a new issuing CA, bring its CRL to every credential here, and start to use it."""
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    if prepare and activate:
        raise typer.BadParameter("--prepare and --activate are two steps: give one of them")
    if force and not activate:
        raise typer.BadParameter("--force goes with --activate alone")
    with open_authority(directory, passphrase_file=passphrase_file, module=module) as authority:
        if prepare:
            prepared = authority.request_issuer(key_type=key_type, lifetime=lifetime, place=key)
            if prepared.request is not None:
                path = save_request(prepared.request, out, directory)
                print_result(
                    "ca rotate",
                    {"status": "requested", "request": path, "digest": prepared.request.digest},
                    next_lines(prepared.request, path, directory),
                    as_json=as_json,
                )
                return
            record = prepared.issuer
        elif activate:
            record = None
        else:
            record = authority.prepare_issuer(key_type=key_type, lifetime=lifetime, place=key)
        distribution = distribute(authority, directory)
        # A receiver without its CRL would refuse everything that it signs.
        if not prepare and (not distribution.failed or force):
            record = authority.activate_issuer()
        place = authority.key_place(record) if record is not None else None
    if record is None:
        distribution.exit_if_incomplete("The issuing CA is not activated")
    assert record is not None
    print_result(
        "ca rotate",
        {
            "issuing_ca": record.key_id,
            "status": record.status.value,
            "key_place": place,
            "not_after": record.certificate.not_valid_after_utc,
            **distribution.to_json(),
        },
        [
            f"Issuing CA {record.key_id} is {record.status.value}; it expires on "
            f"{record.certificate.not_valid_after_utc:%Y-%m-%d}",
            f"Its revocation list was brought to {len(distribution.updated)} credential "
            "directories here",
            "Next, once every receiver has the CRLs: handfast ca rotate --activate"
            + dir_option(directory)
            if record.status is IssuerStatus.PREPARED
            else "Certificates of the previous one stay valid until they end; renewals come from "
            "the new one",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete(f"Issuing CA {record.key_id} is {record.status.value}")


def _refuse_options(context: typer.Context) -> None:
    """Refuse options before a subcommand, which would have no effect there.

    Raises:
        BadParameter: if there is one.
    """
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"no option goes before {context.invoked_subcommand}")
