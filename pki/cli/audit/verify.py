"""``handfast audit verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.cli.exit_codes import FAILED
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_to_show
from pki.errors import StateError, quote_untrusted
from pki.files import read_bounded
from pki.transparency import TransparencyFormatError, VerifierKey
from pki.transparency.note import MAX_NOTE_BYTES

_MOST_SHOWN = 20
_MAX_KEY_BYTES = 4096


def verify(
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against",
            metavar="CHECKPOINT",
            help="An audit.checkpoint that was kept elsewhere: the log must extend it.",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="VKEY", help="The audit.vkey that was kept elsewhere."),
    ] = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Compute the audit log anew from its entries, and compare it with all that the CA holds."""
    checkpoints = [(quote_untrusted(path), _read(path, MAX_NOTE_BYTES)) for path in against or ()]
    verifier_key = _read_key(key) if key is not None else None
    with open_to_show(directory) as authority:
        result = authority.verify_audit_log(checkpoints, verifier_key=verifier_key)
    findings = result.findings
    lines = [f"{item.text[:1].upper()}{item.text[1:]}" for item in findings[:_MOST_SHOWN]]
    if len(findings) > _MOST_SHOWN:
        lines.append(f"... and {len(findings) - _MOST_SHOWN} more: see --json")
    if findings:
        lines.append(
            "Keep this ledger and its checkpoints as they are, and find out who changed it"
        )
    else:
        lines = [
            f"The audit log holds {result.size} entries, and they are whole",
            f"  root hash {result.root.hex()}",
            "Each certificate and each revocation in the ledger has its entry, and the other way "
            "round",
            *(f"It extends {name}" for name, _ in checkpoints),
        ]
    print_result(
        "audit verify",
        {
            "verified": not findings,
            "size": result.size,
            "root": result.root.hex(),
            "verifier_key": result.verifier_key,
            "findings": [{"kind": item.kind, "text": item.text} for item in findings],
            "notes": list(result.notes),
        },
        [*lines, *(f"Note: {note}" for note in result.notes)],
        as_json=as_json,
    )
    if findings:
        raise typer.Exit(FAILED)


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        return read_bounded(path, max_bytes=max_bytes)[0]
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None


def _read_key(path: Path) -> str:
    try:
        text = _read(path, _MAX_KEY_BYTES).decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    try:
        return str(VerifierKey.parse(text))
    except TransparencyFormatError as error:
        error.remedy = f"{quote_untrusted(path)} must hold one line, as audit.vkey does"
        raise
