"""``handfast ca root sign``: sign a request where the roots' keys are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pki.authority.directory import AuthorityDirectory
from pki.authority.rotation.requests import MAX_REQUEST_BYTES, RootRequest
from pki.authority.rotation.root import (
    RootKeys,
    check_request,
    describe_request,
    key_id_of_root,
    missing_keys,
    sign_request,
)
from pki.cli.ca.root.options import KeysOption
from pki.cli.options import parse_path
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.key_access import ca_passphrase, passphrase_remedy
from pki.clock import system_clock
from pki.errors import StateError, quote_untrusted
from pki.files import read_bounded, write_durably
from pki.files.open_folder import PUBLIC


def sign(
    request: Annotated[
        Path, typer.Argument(parser=parse_path, metavar="REQUEST", help="The file from the CA.")
    ],
    keys: KeysOption,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write the answer."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Only show what the request asks for.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a request asks of the roots, and sign it with the keys in FOLDER.

    Works where the roots are kept, without any network.
    """
    if show == (out is not None):
        raise typer.BadParameter("give either --show or --out")
    parsed = RootRequest.read(_read(request))
    check_request(parsed)
    held = _read_keys(keys)
    missing = missing_keys(parsed, held)
    lines = describe_request(parsed)
    if out is not None:
        answer = sign_request(parsed, held, now=system_clock())
        write_durably(out, answer.encode() + b"\n", mode=PUBLIC)
        lines.append(f"Signed. Next: take {quote_path(out)} back to the CA, and there:")
        lines.append(f"  handfast ca root import {quote_path(Path(out.name))}")
    if missing:
        names = " and ".join(key_id_of_root(root) for root in missing)
        lines.append(
            f"Note: the key of root {names} is not in {quote_path(keys)}, and is needed too. Sign "
            "the same request with it, and import both answers at once"
        )
    print_result(
        "ca root sign",
        {
            "request": parsed.digest,
            "purpose": parsed.purpose.value,
            "asks_for": describe_request(parsed),
            "answer": out,
            "missing_keys": [key_id_of_root(root) for root in missing],
        },
        lines,
        as_json=as_json,
    )


def _read_keys(folder: Path) -> RootKeys:
    """Read the roots' keys in a folder.

    Raises:
        StateError: if there is none, or others may read one.
    """
    directory = AuthorityDirectory(folder, passphrase_remedy=passphrase_remedy())
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise StateError(f"{quote_untrusted(folder)} can't be listed: {error.strerror}") from error
    paths = [
        folder / name for name in names if name.startswith("root") and name.endswith(".key.pem")
    ]
    if not paths:
        raise StateError(
            f"{quote_untrusted(folder)} holds no key of a root: no root*.key.pem",
            remedy="Name the folder with root.key.pem, or make a root: handfast ca root new",
        )
    passphrase = ca_passphrase()
    return RootKeys.of(
        *(directory.read_key(path, passphrase, what="the root's key") for path in paths)
    )


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, max_bytes=MAX_REQUEST_BYTES)[0]
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
