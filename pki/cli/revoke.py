"""``handfast revoke`` and ``handfast crl``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authority import Authority, CertificateRecord
from pki.authority.revocation import REASONS
from pki.cli.ca_directory import ca_home, open_authority
from pki.cli.ledger_lookup import (
    line_of,
    need_record,
    others_of,
    record_of,
    record_of_key,
    was_issued_here,
)
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.trust_distribution import Distribution, distribute
from pki.errors import CredentialError, LedgerError, PkiError, StateError, quote_untrusted
from pki.files import detect_layout, find_layout, read_contents


def revoke(
    target: Annotated[str, typer.Argument(help="A serial number in hex, or a directory.")],
    reason: Annotated[str, typer.Option(help=", ".join(REASONS))] = "unspecified",
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Revoke a certificate and all that was renewed from it; nothing undoes it."""
    if reason not in REASONS:
        raise typer.BadParameter(f"reason is one of {', '.join(REASONS)}")
    if not target:
        # As a path it would mean the folder that one stands in.
        raise typer.BadParameter("a serial number or a directory can't be empty")
    with _open(directory) as authority:
        serial = _serial_of(authority, target)
        hit, not_published = _revoke(authority, serial, reason)
        spread = distribute(authority, directory)
        others = others_of(authority, hit)
    if not_published is not None:
        spread.left.insert(0, (ca_home(directory), not_published))
    crl_path = ca_home(directory) / "crl.pem"
    print_result(
        "revoke",
        {
            "revoked": [
                {"serial": item.serial, "spiffe_id": item.spiffe_id, "at": item.revoked_at}
                for item in hit
            ],
            "reason": reason,
            "crl": crl_path,
            **spread.to_json(),
            "others": [{"serial": item.serial, "spiffe_id": item.spiffe_id} for item in others],
        },
        [
            *(f"Revoked {item.serial} of {item.spiffe_id}" for item in hit),
            *(
                []
                if hit
                else [f"Revoked {quote_untrusted(serial)}, which this older ledger does not hold"]
            ),
            _reached_words(spread) + ": servers that use them refuse it within a second",
            *(
                f"Mind: {item.serial} of {item.spiffe_id} is still good; to revoke it too: "
                f"handfast revoke {item.serial}"
                for item in others
            ),
            f"Next: bring {quote_path(crl_path)} to every receiver elsewhere",
        ],
        as_json=as_json,
    )
    spread.finish("It is revoked")


def _open(directory: Path) -> Authority:
    """Open the CA; where only its own list can't be written, a revocation is not held up by that.

    Raises:
        PkiError: if it can't be opened.
    """
    try:
        return open_authority(directory)
    except LedgerError:
        raise
    except StateError:
        # Opened without publishing. Publishing is tried again once it is revoked, and told.
        return open_authority(directory, read_only=True)


def _serial_of(authority: Authority, target: str) -> str:
    """Return the serial number that is meant: itself, or that of a directory's certificate.

    Raises:
        PkiError: if a directory holds no certificate of this CA.
    """
    path = Path(target)
    if not path.is_dir():
        return target
    found = find_layout(path)
    layout, holds_key = found if found is not None else (detect_layout(path), True)
    contents = read_contents(path, layout, holds_key=holds_key)
    record, of_key = record_of(authority, contents), record_of_key(authority, contents)
    if record is not None and of_key is not None and record.spiffe_id != of_key.spiffe_id:
        # Whoever can write here could have another workload revoked, and keep this one's alive.
        raise CredentialError(
            f"{quote_untrusted(path)} holds the certificate {record.serial} of "
            f"{record.spiffe_id} and the "
            f"key of {of_key.serial} of {of_key.spiffe_id}: which is meant can't be told",
            remedy="Nothing was revoked: revoke the one that is meant, or both, by their serial "
            "numbers",
        )
    if contents.leaf is not None and was_issued_here(authority, contents.leaf):
        # An older ledger may not hold it; its number can be revoked all the same.
        return f"{contents.leaf.serial_number:x}"
    return need_record(authority, contents).serial


def _revoke(
    authority: Authority, serial: str, reason: str
) -> tuple[tuple[CertificateRecord, ...], PkiError | None]:
    """Revoke; where the new list can't be published, return what was revoked, and why.

    Raises:
        PkiError: if nothing was revoked.
    """
    try:
        return authority.revoke(serial, reason=reason), None
    except PkiError as error:
        # It may be recorded, and only its list not written: then the rest is done all the same.
        hit = line_of(authority, serial)
        if not hit or hit[0].revoked_at is None:
            raise
        return hit, error


def _reached_words(spread: Distribution) -> str:
    return f"The new list was brought to {len(spread.reached)} credential directories here"
