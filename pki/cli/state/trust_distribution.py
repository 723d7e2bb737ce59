"""Writes trust bundle and revocation lists to every credential directory in the state folder.

A directory that can't be read or written does not stop the others. The command reports what was
updated and what failed, and has an exit code of its own for a failure.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import typer
from cryptography import x509

from pki.authority import Authority, CertificateRecord
from pki.cli.exit_codes import PARTLY
from pki.cli.options import ca_directory
from pki.cli.output import print_error
from pki.cli.state.busy_folders import work_through
from pki.cli.state.credential_folders import FailedFolders, credential_folders
from pki.cli.state.ledger_lookup import find_record, was_issued_here
from pki.cli.state.workload_proof import is_proved
from pki.errors import PkiError, counted, quote_untrusted
from pki.files import (
    PartialCredential,
    awaits_first_certificate,
    find_layout,
    read_partial_credential,
    save_trust,
    writer_lock,
)
from pki.files.atomic import read_file_in
from pki.files.open_folder import opened_folder
from pki.identity import SpiffeId
from pki.x509 import CrlSet
from pki.x509.readers import MAX_CRLS_BYTES

_BYTES_OF_FAILURE = 1024 * 1024
_MOST_SHOWN = 20


@dataclass(slots=True)
class Distribution:
    """The result of a distribution.

    Args:
        updated: the directories that are up to date now.
        failed: the directories that are not, each with its error.
    """

    updated: list[Path] = field(default_factory=list)
    failed: FailedFolders = field(default_factory=list)

    @property
    def directories_here(self) -> str:
        """How many directories are up to date, in words."""
        return (
            counted(len(self.updated), "credential directory", "credential directories") + " here"
        )

    def to_json(self) -> dict[str, object]:
        """Return the result for scripts."""
        return {
            "updated": [str(path) for path in self.updated],
            "failed": [
                {"directory": str(path), "error": str(error)} for path, error in self.failed
            ],
        }

    def exit_if_incomplete(self, done: str) -> None:
        """Print what failed, if anything did, and end the command with the exit code for it.

        Args:
            done: what was done nevertheless, e.g. ``The certificate is revoked``.
        """
        if not self.failed:
            return
        whys = error_lines(self.failed)
        print_error(
            f"{done}, and the new CRLs did not reach {len(self.failed)} of "
            f"{len(self.failed) + len(self.updated)} places: {whys}",
            "Repair them, then bring the CRLs there with: handfast crl",
        )
        raise typer.Exit(PARTLY)


def distribute(authority: Authority, state: Path) -> Distribution:
    """Write trust bundle and CRLs to every credential of this CA in the state folder.

    The CA records for each certificate found there that its holder trusts the newest bundle.
    """
    if authority.waits_for_lists():
        # Receivers may have newer lists than a restored CA.
        return Distribution()
    bundle_number = authority.bundle_number()
    held: list[tuple[SpiffeId, str]] = []
    result = Distribution()
    # Nothing can be imported or reported as long as the ledger can't even record a revocation.
    is_recording = not authority.pending_revocations() and authority.pending_problem() is None
    for crls in read_crls_below(state) if is_recording else ():
        try:
            # A CRL newer than the ledger shows that the whole CA was restored from a backup.
            authority.import_crls(crls)
        except PkiError as error:
            # One list that can't be imported does not stop the others.
            if not any(str(error) == str(other) for _, other in result.failed):
                result.failed.append((ca_directory(state), error))

    def update(folder: Path) -> None:
        is_ours, record = _update_directory(authority, folder)
        if is_ours:
            result.updated.append(folder)
        if record is not None:
            held.append((SpiffeId.parse(record.spiffe_id), record.serial))

    folders = credential_folders(state, ca_directory(state), result.failed)
    work_through(folders, update, result.failed)
    if bundle_number and is_recording:
        authority.report_trust(held, bundle_number)
    return result


def _update_directory(authority: Authority, folder: Path) -> tuple[bool, CertificateRecord | None]:
    """Write trust and CRLs to a directory with a credential of this CA.

    Returns:
        Whether it holds one, and the record of its certificate if it is surely its own.

    Raises:
        BusyFolderError: if another process is writing there.
        PkiError: if they can't be written, or the credential's CA can't be determined.
    """
    layout_and_key = find_layout(folder)
    if layout_and_key is None:
        return False, None
    layout, holds_key = layout_and_key
    if awaits_first_certificate(folder, layout):
        # Whoever enrolls there gets trust and lists with the certificate.
        return False, None
    contents = read_partial_credential(folder, layout, holds_key=holds_key)
    record = find_record(authority, contents)
    if record is None and not belongs_to(authority, contents):
        return False, None
    with writer_lock(folder, layout=layout, trust_only=True, wait_seconds=0):
        # Read while nobody else writes here, so that an older list never follows a newer one.
        bundle, crls = authority.trust()
        save_trust(bundle, crls, folder, layout=layout, issuers=issuer_certificates(authority))
    return True, record if record is not None and is_proved(contents, record) else None


def import_crls(authority: Authority, state: Path, *more: CrlSet | None) -> None:
    """Import the CRLs that receivers hold into the ledger, before anything is signed.

    A CA that was restored from a backup as a whole, with its mark, has lost the revocations since.
    The credential directories here still hold them.

    Args:
        authority: the CA.
        state: the state folder.
        more: CRLs from elsewhere, if there are any.

    Raises:
        PkiError: if one is newer than the ledger and can't be imported.
    """
    _import_new(authority, (*more, *read_crls_below(state)))


def import_crls_of(authority: Authority, contents: PartialCredential) -> None:
    """Import the CRLs of one credential directory into the ledger; as :func:`import_crls`.

    Raises:
        PkiError: if one is newer than the ledger and can't be imported.
    """
    _import_new(authority, (contents.crls,))


def _import_new(authority: Authority, held: Iterable[CrlSet | None]) -> None:
    _, own = authority.trust()
    known = {item.der for item in own.crls.values()}
    for crls in held:
        if crls is not None and not {item.der for item in crls.crls.values()} <= known:
            authority.import_crls(crls)


def read_crls_below(state: Path) -> Iterator[CrlSet]:
    """Yield the CRLs in all credential directories here; a file that is no CRL is skipped."""
    read: set[bytes] = set()
    # One limit for all that lies below one folder, so that its owner can't use up that of others.
    bytes_left: dict[tuple[str, ...], int] = defaultdict(lambda: MAX_CRLS_BYTES)
    for folder in (state, *credential_folders(state, ca_directory(state), [])):
        top = folder.relative_to(state).parts[:1]
        try:
            layout_and_key = find_layout(folder)
            if layout_and_key is None:
                continue
            with opened_folder(folder) as opened:
                data, _ = read_file_in(opened, layout_and_key[0].crls, max_bytes=bytes_left[top])
        except FileNotFoundError:
            continue
        except (PkiError, OSError):
            # It may have been read in part, e.g. a file that grew meanwhile.
            bytes_left[top] = max(0, bytes_left[top] - _BYTES_OF_FAILURE)
            continue
        bytes_left[top] -= len(data)
        digest = hashlib.sha256(data).digest()
        if digest in read:
            continue
        read.add(digest)
        try:
            crls = CrlSet.read(data)
        except PkiError:
            continue
        yield crls


def issuer_certificates(authority: Authority) -> tuple[x509.Certificate, ...]:
    """Return the CA's own certificates."""
    return tuple(item.certificate for item in authority.issuers())


def belongs_to(authority: Authority, contents: PartialCredential) -> bool:
    """Return whether a directory's credential is of this CA, by whatever can be read of it.

    Raises:
        PkiError: if it can't be determined.
    """
    if find_record(authority, contents) is not None:
        return True
    if contents.leaf is not None:
        return was_issued_here(authority, contents.leaf)
    if contents.bundle is not None:
        # Those of withdrawn roots too: the directory may have missed a whole rotation.
        return bool(set(contents.bundle.all_roots()) & set(issuer_certificates(authority)))
    raise contents.leaf_error()


def error_lines(failed: FailedFolders) -> str:
    """Return what failed in folders, the first of them at least."""
    lines = [_error_line(path, error) for path, error in failed[:_MOST_SHOWN]]
    if len(failed) > _MOST_SHOWN:
        lines.append(f"and {len(failed) - _MOST_SHOWN} more (--json shows all)")
    return "; ".join(lines)


def _error_line(path: Path, error: PkiError) -> str:
    """Return what failed in a folder, with the folder's path."""
    name = quote_untrusted(path)
    return error.message if name in error.message else f"{name}: {error.message}"
