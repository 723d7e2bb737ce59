"""What ``handfast issue`` and ``handfast renew`` share: reading requests, writing credentials."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.authority import Issued
from pki.cli.options import dir_option
from pki.cli.output import quote_path
from pki.errors import PkiError, StateError, quote_untrusted
from pki.files import Layout, read_bounded
from pki.files.credential_files import error_context
from pki.files.layouts import path_exists
from pki.keys import PublicKey
from pki.x509 import read_names, read_request
from pki.x509.profiles.rules import find
from pki.x509.request import MAX_REQUEST_BYTES


def read_request_file(path: Path) -> bytes:
    """Read the file of a request (CSR).

    Raises:
        StateError: if the file can't be read.
    """
    try:
        return read_bounded(path, max_bytes=MAX_REQUEST_BYTES)[0]
    except FileNotFoundError:
        raise StateError(f"request {quote_untrusted(path)} is not there") from None


def parse_request(data: bytes, path: Path | None) -> PublicKey:
    """Return the public key of a request.

    Raises:
        InputError: if it is malformed, or does not prove possession of the key.
    """
    with error_context(path or Path("-")):
        return read_request(data).public_key


def refuse_ca_folder(folder: Path, ca_folder: Path) -> None:
    """Refuse to put a credential into a CA's own folder, or into one within it.

    Raises:
        StateError: if the folder is a CA's.
    """
    # Not Path.resolve, which raises another error for a loop of links.
    real, own = Path(os.path.realpath(folder)), Path(os.path.realpath(ca_folder))
    if own in (real, *real.parents) or (path_exists(folder) and path_exists(folder / "ledger.db")):
        raise StateError(
            f"{quote_untrusted(folder)} is the folder of a CA",
            remedy="Choose another folder with --out",
        )


def save_issued(issued: Issued, folder: Path, layout: Layout) -> None:
    """Write what was issued; an error says that the ledger holds the certificate nevertheless.

    Raises:
        StateError: if a file can't be written.
    """
    try:
        issued.save(folder, layout=layout)
    except PkiError as error:
        remedy = (
            "A credential that was there still works; repair this and run the command again"
            if issued.key is not None
            else "Repair this and run the command again with the same request"
        )
        raise StateError(
            f"certificate {issued.leaf.serial_number:x} is issued and recorded, but not in place: "
            f"{error.message}",
            remedy=remedy,
        ) from error


def report_issued(
    command: str, issued: Issued, folder: Path, layout: Layout, state: Path
) -> tuple[dict[str, object], list[str]]:
    """Return what was issued: the facts for scripts, and the lines for people.

    Args:
        command: its name, ``issue`` or ``renew``.
        issued: what was issued.
        folder: where it was written.
        layout: how.
        state: the state folder, which the next command needs too.
    """
    leaf = issued.leaf
    names = read_names(leaf)
    files = [layout.chain or layout.key, layout.bundle, layout.crls]
    if issued.key is not None:
        files.insert(0, layout.key)
    facts = {
        "renewed": command == "renew",
        "spiffe_id": str(issued.spiffe_id),
        "serial": f"{leaf.serial_number:x}",
        "dns": [name.name for name in names.dns_names],
        "ip": [str(address) for address in names.ip_addresses],
        "not_before": leaf.not_valid_before_utc,
        "not_after": leaf.not_valid_after_utc,
        "directory": folder,
        "files": sorted(set(files)),
        "notes": list(issued.notes),
    }
    lines = [
        f"{'Renewed' if command == 'renew' else 'Issued'} {issued.spiffe_id}",
        f"  serial    {leaf.serial_number:x}",
        f"  names     {', '.join(name.name for name in names.dns_names) or 'no DNS name'}",
        f"  until     {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC",
        f"  in        {folder}: {', '.join(sorted(set(files)))}",
        *(f"Note: {note}" for note in issued.notes),
        _next_line(issued, folder, layout, state),
    ]
    return facts, lines


def _next_line(issued: Issued, folder: Path, layout: Layout, state: Path) -> str:
    path = quote_path(folder)
    renew = f"handfast renew {path}{dir_option(state)}"
    # The sender of a request may keep the key in the same directory.
    if issued.key is not None or path_exists(folder / layout.key):
        usage = _verify_options(issued)
        return f"Next: handfast verify {path} {usage}; and a timer for: {renew}"
    return (
        "Next: bring the chain to whoever holds the key. Past half of its life, take a request for "
        f"a new key from there: {renew} --csr FILE"
    )


def _verify_options(issued: Issued) -> str:
    """Return the options of ``verify`` that fit the certificate's usages."""
    extension = find(issued.leaf, x509.ExtendedKeyUsage)
    usages = extension.value if extension is not None else ()
    sides = [
        f"--as {side}"
        for side, usage in (
            ("server", ExtendedKeyUsageOID.SERVER_AUTH),
            ("client", ExtendedKeyUsageOID.CLIENT_AUTH),
        )
        if usage in usages
    ]
    # A semicolon ends a command, so that what stands before it works as printed.
    return "; or ".join(sides)
