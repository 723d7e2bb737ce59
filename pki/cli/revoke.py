"""``handfast revoke``: revokes a certificate and all that was renewed from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authority import Authority, CertificateRecord
from pki.authority.revocation import REASONS
from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.authority import open_authority
from pki.cli.state.ledger_lookup import (
    find_record,
    find_record_of_key,
    other_valid_certificates,
    renewal_line,
    require_record,
    was_issued_here,
)
from pki.cli.state.trust_distribution import distribute
from pki.errors import CredentialError, LedgerError, PkiError, StateError, quote_untrusted
from pki.files import detect_layout, find_layout, read_partial_credential


def revoke(
    target: Annotated[str, typer.Argument(help="A serial number in hex, or a directory.")],
    reason: Annotated[str, typer.Option(help=", ".join(REASONS))] = "unspecified",
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Revoke a certificate and all that was renewed from it; this can't be undone."""
    if reason not in REASONS:
        raise typer.BadParameter(f"reason is one of {', '.join(REASONS)}")
    if not target:
        # As a path it would mean the current folder.
        raise typer.BadParameter("a serial number or a directory can't be empty")
    with _open(directory) as authority:
        serial = _find_serial(authority, target)
        revoked, not_published = _revoke(authority, serial, reason)
        distribution = distribute(authority, directory)
        others = other_valid_certificates(authority, revoked)
    if not_published is not None:
        distribution.failed.insert(0, (ca_directory(directory), not_published))
    crl_path = ca_directory(directory) / "crl.pem"
    print_result(
        "revoke",
        {
            "revoked": [
                {"serial": item.serial, "spiffe_id": item.spiffe_id, "at": item.revoked_at}
                for item in revoked
            ],
            "reason": reason,
            "crl": crl_path,
            **distribution.to_json(),
            "still_valid": [
                {"serial": item.serial, "spiffe_id": item.spiffe_id} for item in others
            ],
        },
        [
            *(f"Revoked {item.serial} of {item.spiffe_id}" for item in revoked),
            *(
                []
                if revoked
                else [f"Revoked {quote_untrusted(serial)}, which this older ledger does not hold"]
            ),
            f"The new list was brought to {len(distribution.updated)} credential directories "
            "here: servers that use them refuse the certificate within a second",
            *(
                f"Note: {item.serial} of {item.spiffe_id} is still valid; to revoke it too: "
                f"handfast revoke {item.serial}"
                for item in others
            ),
            f"Next: bring {quote_path(crl_path)} to every receiver elsewhere",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete("The certificate is revoked")


def _open(directory: Path) -> Authority:
    """Open the CA, also if its own CRL can't be written: that must not stop a revocation.

    Raises:
        PkiError: if it can't be opened.
    """
    try:
        return open_authority(directory)
    except LedgerError:
        raise
    except StateError:
        # Opened without publishing. After the revocation it is published again, or the error shown.
        return open_authority(directory, read_only=True)


def _find_serial(authority: Authority, target: str) -> str:
    """Return the serial number that is meant: the target itself, or the one in a directory.

    Raises:
        PkiError: if a directory holds no certificate of this CA.
    """
    path = Path(target)
    if not path.is_dir():
        return target
    layout_and_key = find_layout(path)
    layout, holds_key = (
        layout_and_key if layout_and_key is not None else (detect_layout(path), True)
    )
    contents = read_partial_credential(path, layout, holds_key=holds_key)
    record, of_key = find_record(authority, contents), find_record_of_key(authority, contents)
    if record is not None and of_key is not None and record.spiffe_id != of_key.spiffe_id:
        # Anybody who can write here could have another workload revoked, and keep this one valid.
        raise CredentialError(
            f"{quote_untrusted(path)} holds the certificate {record.serial} of {record.spiffe_id} "
            f"and the key of {of_key.serial} of {of_key.spiffe_id}: it is not clear which is meant",
            remedy="Nothing was revoked: revoke the one that is meant, or both, by their serial "
            "numbers",
        )
    if contents.leaf is not None and was_issued_here(authority, contents.leaf):
        # An older ledger may lack the certificate, but its serial number can still be revoked.
        return f"{contents.leaf.serial_number:x}"
    return require_record(authority, contents).serial


def _revoke(
    authority: Authority, serial: str, reason: str
) -> tuple[tuple[CertificateRecord, ...], PkiError | None]:
    """Revoke a certificate; return what was revoked, and the error if the CRL can't be published.

    Raises:
        PkiError: if nothing was revoked.
    """
    try:
        return authority.revoke(serial, reason=reason), None
    except PkiError as error:
        # The revocation may be recorded, and only its CRL not written: then go on with the rest.
        revoked = renewal_line(authority, serial)
        if not revoked or revoked[0].revoked_at is None:
            raise
        return revoked, error
