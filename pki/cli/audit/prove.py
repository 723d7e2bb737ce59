"""``handfast audit prove``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authority import Authority
from pki.authority.revocation import parse_serial_prefix
from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.authority import open_to_show
from pki.errors import InputError, quote_untrusted
from pki.files import write_durably
from pki.files.open_folder import PUBLIC
from pki.transparency.checkpoint import Checkpoint
from pki.transparency.proof_file import SUFFIX


def prove(
    serial: Annotated[
        str | None,
        typer.Argument(help="The serial number of a certificate, or its beginning."),
    ] = None,
    entry: Annotated[
        int | None,
        typer.Option("--entry", min=0, metavar="N", help="Prove entry N instead: see audit show."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Where to write it.", show_default="SERIAL.tlog-proof"
        ),
    ] = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Write a proof that the audit log holds the entry which issued a certificate."""
    if (serial is None) == (entry is None):
        raise typer.BadParameter("give a serial number, or --entry N")
    with open_to_show(directory) as authority:
        whole = _whole_serial(authority, serial) if serial is not None else None
        proof = authority.prove_audit_entry(serial=whole, index=entry)
    path = out or Path(f"{whole or f'entry-{entry}'}{SUFFIX}")
    write_durably(path, proof.to_bytes(), mode=PUBLIC)
    checkpoint = Checkpoint.parse(proof.checkpoint.text)
    vkey = ca_directory(directory) / "audit.vkey"
    print_result(
        "audit prove",
        {
            "file": path,
            "index": proof.index,
            "entry": proof.extra.decode(),
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "verifier_key_file": vkey,
        },
        [
            f"Wrote the proof of entry {proof.index} of {checkpoint.size} to {quote_path(path)}",
            f"  the entry: {proof.extra.decode()}",
            f"Any tool for C2SP logs verifies it with the log's key: {quote_path(vkey)}",
        ],
        as_json=as_json,
    )


def _whole_serial(authority: Authority, text: str) -> str:
    """Return the serial number that begins so."""
    digits, _ = parse_serial_prefix(text)
    known = {item.serial for item in authority.certificates_with_serial(digits)} | {
        serial
        for item in authority.issuers()
        if (serial := f"{item.certificate.serial_number:x}").startswith(digits)
    }
    if not digits or len(known) != 1:
        raise InputError(
            f"{quote_untrusted(text)} is the beginning of {len(known) or 'no'} serial numbers"
            if digits
            else f"{quote_untrusted(text)} is no serial number",
            remedy="See them with: handfast list --all, handfast audit show",
        )
    return known.pop()
