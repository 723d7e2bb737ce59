"""``handfast revoke``: revokes for good, and brings the CRLs to all credentials here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pki.authority import Authority, CertificateRecord
from pki.authority.ledger.databases.access import LedgerAccess
from pki.authority.pending.file import PENDING
from pki.authority.revocation import REASONS, parse_reason
from pki.cli.exit_codes import PARTLY
from pki.cli.options import DEFAULT_DIR, DirOption, as_option, ca_directory, complete, dir_option
from pki.cli.output import JsonOption, print_error, print_result, quote_path
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.state.authority import URGENT, open_authority, open_urgently
from pki.cli.state.key_access import PassphraseFileOption
from pki.cli.state.ledger_lookup import other_valid_certificates, renewal_line
from pki.cli.state.revocation_target import RevocationTarget, find_target
from pki.cli.state.trust_distribution import Distribution, distribute
from pki.errors import (
    LedgerError,
    OlderLedgerError,
    PkiError,
    StateError,
    join_first,
    quote_untrusted,
)
from pki.files import hurried

_MOST_SHOWN = 5


def _reason_name(text: str) -> str:
    reason = parse_reason(text)
    return next(name for name, item in REASONS.items() if item is reason)


def revoke(
    target: Annotated[
        str,
        typer.Argument(
            help="A directory, a workload (orders, spiffe://...), or a serial number's beginning."
        ),
    ],
    reason: Annotated[
        str,
        typer.Option(
            parser=as_option(_reason_name),
            metavar="REASON",
            autocompletion=complete(REASONS),
            help=", ".join(REASONS),
        ),
    ] = "unspecified",
    ca: CaOption = None,
    credential: CredentialOption = None,
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Revoke a directory's certificates, all of a workload, or one by number; can't be undone."""
    if not target:
        # As a path it would mean the current folder.
        raise typer.BadParameter("a directory, workload or serial number can't be empty")
    if ca is not None:
        # Loaded here: most revocations need no network.
        from pki.cli.service.remote_certificates import revoke_remotely  # noqa: PLC0415

        revoke_remotely(target, reason, ca, credential, as_json=as_json)
        return
    with hurried(URGENT.wait_seconds), _open(directory, passphrase_file) as authority:
        revocation_target = find_target(authority, target)
        before = {
            item.serial
            for item in authority.certificates(with_ended=True)
            if item.revoked_at is not None
        }
        revoked, not_published = _revoke(authority, revocation_target, reason)
        distribution = _distribute(authority, directory)
        others = other_valid_certificates(authority, revoked)
        pending = authority.pending_revocations()
        is_kept = authority.is_pending_kept()
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
            "already_revoked": [item.serial for item in revoked if item.serial in before],
            "reason": reason,
            "crl": crl_path,
            "recorded": not pending,
            **distribution.to_json(),
            "still_valid": [
                {"serial": item.serial, "spiffe_id": item.spiffe_id} for item in others
            ],
        },
        [
            *(_revoked_line(item, is_new=item.serial not in before) for item in revoked),
            *(
                f"Revoked {quote_untrusted(serial)}, whose certificate the ledger does not hold"
                for serial in revocation_target.serials
                if serial not in {item.serial for item in revoked}
            ),
            f"The new CRL was brought to {distribution.directories_here}: "
            "servers that use them refuse the certificate within a second",
            *_still_valid_lines(others, reason, directory),
            *(
                [f"Next: bring {quote_path(crl_path)} to every receiver elsewhere"]
                if not_published is None
                else []
            ),
        ],
        as_json=as_json,
    )
    if pending and not is_kept and not_published is not None and not distribution.updated:
        raise not_published
    if pending:
        _tell_pending(directory, is_kept=is_kept)
    distribution.exit_if_incomplete("The certificate is revoked")
    if pending:
        raise typer.Exit(PARTLY)


def _open(directory: Path, passphrase_file: Path | None) -> Authority:
    """Open the CA, also if nothing can be written: that must not stop a revocation.

    Raises:
        PkiError: if it can't be opened.
    """
    try:
        return open_urgently(directory, passphrase_file=passphrase_file)
    except OlderLedgerError:
        raise
    except LedgerError:
        # Opened without a lock. The revocation is published, and recorded as soon as it can be.
        return open_authority(
            directory, passphrase_file=passphrase_file, access=LedgerAccess(for_reading=True)
        )
    except StateError:
        # Opened without publishing. After the revocation it is published again, or the error shown.
        return open_urgently(directory, read_only=True, passphrase_file=passphrase_file)


def _tell_pending(directory: Path, *, is_kept: bool) -> None:
    """Say that a revocation is not recorded yet, and who will record it."""
    path = quote_path(ca_directory(directory) / PENDING)
    if is_kept:
        print_error(
            f"The certificate is revoked, and the ledger could not record it: {path} keeps it",
            "The next command that changes the CA records it, and so does handfast ca serve; until "
            "then nothing is issued. See why the ledger can't be written: its disk, and who holds "
            "it (fuser)",
        )
    else:
        print_error(
            f"The certificate is on the new CRLs alone: neither the ledger nor {path} could keep "
            "the revocation",
            "Revoke it again once the CA's folder can be written to",
        )


def _revoke(
    authority: Authority, target: RevocationTarget, reason: str
) -> tuple[tuple[CertificateRecord, ...], PkiError | None]:
    """Revoke; return what was revoked, and the error if the CRL can't be published.

    Raises:
        PkiError: if nothing was revoked.
    """
    named = target.serials
    if target.workload is not None:
        named = tuple(item.serial for item in authority.certificates_of(target.workload))
    try:
        if target.workload is not None:
            return authority.revoke_workload(str(target.workload), reason=reason), None
        revoked = authority.revoke_all(named, reason=reason, whole_line=target.whole_line)
    except PkiError as error:
        # The revocation may be recorded or pending, and only its CRL not written: then go on.
        pending = {
            item.serial for record in authority.pending_revocations() for item in record.entries
        }
        line = [
            item
            for item in renewal_line(authority, named)
            if item.revoked_at is not None or item.serial in pending
        ]
        if not named or not set(named) <= {item.serial for item in line}:
            raise
        return tuple(line), error
    return revoked, None


def _revoked_line(record: CertificateRecord, *, is_new: bool) -> str:
    subject = f"{record.serial} of {record.spiffe_id}"
    if is_new or record.revoked_at is None:
        return f"Revoked {subject}"
    return f"{subject} was revoked already, at {record.revoked_at:%Y-%m-%d %H:%M:%S} UTC"


def _distribute(authority: Authority, state: Path) -> Distribution:
    """Bring the CRLs to all credentials here; whatever fails, what was revoked is still told."""
    try:
        return distribute(authority, state)
    except PkiError as error:
        return Distribution(failed=[(state, error)])
    except OSError as error:
        message = f"{quote_untrusted(state)}: {error.strerror or error}"
        return Distribution(failed=[(state, StateError(message))])


def _still_valid_lines(others: Sequence[CertificateRecord], reason: str, state: Path) -> list[str]:
    """Say what else of the same workloads is still valid, and how to revoke it."""
    lines = []
    for workload in dict.fromkeys(item.spiffe_id for item in others):
        serials = [item.serial for item in others if item.spiffe_id == workload]
        subject = "certificate" if len(serials) == 1 else f"{len(serials)} certificates"
        verb = "is" if len(serials) == 1 else "are"
        option = f" --reason {reason}" if reason != "unspecified" else ""
        lines.append(
            f"STILL VALID {verb} the {subject} {join_first(serials, _MOST_SHOWN)} of {workload}; "
            f"to revoke all of this workload: handfast revoke {workload}{option}{dir_option(state)}"
        )
    return lines
