"""Writes trust bundle and revocation lists to every credential directory in the state folder.

A directory that can't be read or written does not stop the others. The command reports what was
updated and what failed, and has an exit code of its own for a failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import typer
from cryptography import x509

from pki.authority import Authority
from pki.cli.exit_codes import PARTLY
from pki.cli.options import ca_directory
from pki.cli.output import print_error
from pki.cli.state.ledger_lookup import find_record, was_issued_here
from pki.errors import PkiError, StateError, quote_untrusted
from pki.files import (
    LAYOUTS,
    PartialCredential,
    find_layout,
    read_bounded,
    read_partial_credential,
    save_trust,
    writer_lock,
)
from pki.x509 import CrlSet
from pki.x509.readers import MAX_CRLS_BYTES

FailedFolders = list[tuple[Path, PkiError]]


@dataclass(slots=True)
class Distribution:
    """The result of a distribution.

    Args:
        updated: the directories that are up to date now.
        failed: the directories that are not, each with its error.
    """

    updated: list[Path] = field(default_factory=list)
    failed: FailedFolders = field(default_factory=list)

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
        whys = "; ".join(error_line(path, error) for path, error in self.failed)
        print_error(
            f"{done}, and the new CRLs did not reach {len(self.failed)} of "
            f"{len(self.failed) + len(self.updated)} places: {whys}",
            "Repair them, then bring the CRLs there with: handfast crl",
        )
        raise typer.Exit(PARTLY)


def distribute(authority: Authority, state: Path) -> Distribution:
    """Write trust bundle and CRLs to every credential of this CA in the state folder."""
    result = Distribution()
    for crls in read_crls_below(state):
        try:
            # A CRL newer than the ledger shows that the whole CA was restored from a backup.
            authority.import_crls(crls)
        except PkiError as error:
            # One list that can't be imported does not stop the others.
            if not any(str(error) == str(other) for _, other in result.failed):
                result.failed.append((ca_directory(state), error))
    for folder in credential_folders(state, ca_directory(state), result.failed):
        try:
            if _update_directory(authority, folder):
                result.updated.append(folder)
        except PkiError as error:
            result.failed.append((folder, error))
        except OSError as error:
            result.failed.append(
                (folder, StateError(f"{quote_untrusted(folder)}: {error.strerror or error}"))
            )
    return result


def credential_folders(folder: Path, ca_folder: Path, failed: FailedFolders) -> Iterator[Path]:
    """Yield all folders below a folder, but for the CA's.

    Args:
        folder: where to begin.
        ca_folder: the folder of the CA.
        failed: gets those that can't be listed.
    """
    ca_folder = ca_folder.absolute()
    visited: set[tuple[int, int]] = set()

    def not_listed(error: OSError) -> None:
        path = Path(error.filename)
        if any(path == folder for folder, _ in failed):
            return
        failed.append(
            (path, StateError(f"{quote_untrusted(path)} can't be listed: {error.strerror}"))
        )

    # A workload's path may have several segments, and its folder lies as deep.
    for here, names, _ in os.walk(folder, onerror=not_listed):
        names.sort()
        names[:] = [name for name in names if (Path(here) / name).absolute() != ca_folder]
        for name in names:
            found = Path(here) / name
            try:
                status = found.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                failed.append((found, StateError(f"{quote_untrusted(found)}: {error.strerror}")))
                continue
            # The same directory may be reached by a link too.
            if (status.st_dev, status.st_ino) not in visited:
                visited.add((status.st_dev, status.st_ino))
                yield found


def _update_directory(authority: Authority, folder: Path) -> bool:
    """Write trust and CRLs to a directory, and return whether it holds a credential of this CA.

    Raises:
        PkiError: if they can't be written, or the credential's CA can't be determined.
    """
    layout_and_key = find_layout(folder)
    if layout_and_key is None:
        return False
    layout, holds_key = layout_and_key
    contents = read_partial_credential(folder, layout, holds_key=holds_key)
    if not belongs_to(authority, contents):
        return False
    with writer_lock(folder, layout=layout, trust_only=True):
        # Read while nobody else writes here, so that an older list never follows a newer one.
        bundle, crls = authority.trust()
        save_trust(bundle, crls, folder, layout=layout, issuers=issuer_certificates(authority))
    return True


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
    _, own = authority.trust()
    known = {item.der for item in own.crls.values()}
    for crls in (*more, *read_crls_below(state)):
        if crls is not None and not {item.der for item in crls.crls.values()} <= known:
            authority.import_crls(crls)


def read_crls_below(state: Path) -> Iterator[CrlSet]:
    """Yield the CRLs in all credential directories here; a file that is no CRL is skipped."""
    names = {layout.crls for layout in LAYOUTS.values()}
    read: set[bytes] = set()
    for path in sorted(state.rglob("*")):
        if path.name not in names:
            continue
        try:
            data, _ = read_bounded(path, max_bytes=MAX_CRLS_BYTES)
            if data not in read:
                read.add(data)
                yield CrlSet.read(data)
        except (PkiError, OSError):
            continue


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
    bundle, _ = authority.trust()
    if contents.bundle is not None:
        return bool(set(contents.bundle.all_roots()) & set(bundle.all_roots()))
    raise contents.leaf_error()


def error_line(path: Path, error: PkiError) -> str:
    """Return what failed in a folder, with the folder's path."""
    name = quote_untrusted(path)
    return error.message if name in error.message else f"{name}: {error.message}"
