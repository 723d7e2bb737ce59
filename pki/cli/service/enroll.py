"""``handfast enroll``: obtain a workload's first certificate from the CA, with a token."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pki.ca_client.calls import enroll as ask_ca
from pki.ca_client.store import IdentityStore
from pki.cli.options import parse_path
from pki.cli.output import JsonOption, print_result, quote_path
from pki.clock import system_clock
from pki.errors import StateError, quote_untrusted
from pki.files import read_bounded
from pki.proofs import EnrollmentToken

_MOST_BYTES = 4096


def enroll(
    out: Annotated[
        Path,
        typer.Option(parser=parse_path, metavar="DIR", help="The directory for the identity."),
    ],
    token: Annotated[
        str | None,
        typer.Argument(help="The token; - reads it from stdin. Others can see arguments."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(parser=parse_path, metavar="FILE", help="Read the token from a file."),
    ] = None,
    recovery: Annotated[
        bool,
        typer.Option(
            help="Make a recovery key too, so that the workload comes back after a long sleep."
        ),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Enroll a workload: verify the CA first, make the key here, and bring the certificate."""
    parsed = EnrollmentToken.parse(_read(token, token_file))
    store = IdentityStore(out)
    if store.is_enrolled:
        raise StateError(
            f"{quote_path(out)} is enrolled already",
            remedy=f"Keep it fresh: handfast agent {quote_path(out)}; or choose another directory",
        )
    received = ask_ca(parsed, store.keys(with_recovery=recovery), now=system_clock())
    store.save(received, new_recovery_key=recovery)
    leaf = received.credential.leaf
    print_result(
        "enroll",
        {
            "spiffe_id": str(received.spiffe_id),
            "directory": out,
            "serial": f"{leaf.serial_number:x}",
            "not_after": leaf.not_valid_after_utc,
            "ca": received.authority_address,
            "recoveries": received.recoveries_left,
            "notes": list(received.notes),
        },
        [
            f"Enrolled {received.spiffe_id} in {quote_path(out)}, until "
            f"{leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC",
            *(f"Note: {quote_untrusted(note)}" for note in received.notes),
            f"Next: handfast agent {quote_path(out)} keeps it fresh for any program; a Python "
            f"service does so itself: pki.Workload.from_ca({str(out)!r})",
        ],
        as_json=as_json,
    )


def _read(token: str | None, token_file: Path | None) -> str:
    if (token is None) == (token_file is None):
        raise typer.BadParameter("give the token, or --token-file FILE, or - for stdin")
    if token_file is not None:
        try:
            data, _ = read_bounded(token_file, max_bytes=_MOST_BYTES)
        except FileNotFoundError:
            raise StateError(f"token file {quote_path(token_file)} is not there") from None
        return data.decode("ascii", "replace")
    assert token is not None
    return sys.stdin.read(_MOST_BYTES) if token == "-" else token  # noqa: S105 - a dash
