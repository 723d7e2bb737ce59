"""Brings trust bundle and revocation lists to every credential directory of the state folder.

Each directory stands by itself: one that can't be read or written holds up none behind it. What was
reached and what is left is told, and what is left has an exit code of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import typer
from cryptography import x509

from pki.authority import Authority
from pki.cli.ca_directory import ca_home
from pki.cli.exit_codes import PARTLY
from pki.cli.ledger_lookup import record_of, was_issued_here
from pki.cli.output import print_error
from pki.errors import PkiError, StateError, quote_untrusted
from pki.files import (
    LAYOUTS,
    Contents,
    find_layout,
    read_bounded,
    read_contents,
    save_trust,
    writing,
)
from pki.x509 import CrlSet
from pki.x509.readers import MAX_CRLS_BYTES


@dataclass(slots=True)
class Distribution:
    """What came of it.

    Args:
        reached: the directories that are up to date now.
        left: those that are not, with the reason.
    """

    reached: list[Path] = field(default_factory=list)
    left: list[tuple[Path, PkiError]] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """Return what a script needs of it."""
        return {
            "brought_to": [str(path) for path in self.reached],
            "left": [{"directory": str(path), "why": str(error)} for path, error in self.left],
        }

    def finish(self, done: str) -> None:
        """Say what is left, if anything is, and end the command with the exit code for that.

        Args:
            done: what is done all the same, e.g. ``It is revoked``.
        """
        if not self.left:
            return
        whys = "; ".join(_one_line(path, error) for path, error in self.left)
        print_error(
            f"{done}, and the new lists did not reach {len(self.left)} of "
            f"{len(self.left) + len(self.reached)} places: {whys}",
            "Mend them, then bring the lists there with: handfast crl",
        )
        raise typer.Exit(PARTLY)


def distribute(authority: Authority, state: Path) -> Distribution:
    """Bring trust bundle and lists to every credential of this CA in the state folder."""
    done = Distribution()
    for found in crls_below(state):
        try:
            # A list that is ahead shows that the whole CA was put back from a backup.
            authority.take_in(found)
        except PkiError as error:
            # One that can't be taken in keeps no other out.
            if not any(str(error) == str(other) for _, other in done.left):
                done.left.append((ca_home(state), error))
    for folder in _folders(state, done):
        try:
            if _bring(authority, folder):
                done.reached.append(folder)
        except PkiError as error:
            done.left.append((folder, error))
        except OSError as error:
            done.left.append(
                (folder, StateError(f"{quote_untrusted(folder)}: {error.strerror or error}"))
            )
    return done


def _folders(state: Path, done: Distribution) -> Iterator[Path]:
    """Walk the state folder; a folder that can't be looked into is left, and told."""
    home = ca_home(state).absolute()
    known: set[tuple[int, int]] = set()

    def not_listed(error: OSError) -> None:
        path = Path(error.filename)
        if any(path == folder for folder, _ in done.left):
            return
        done.left.append(
            (path, StateError(f"{quote_untrusted(path)} can't be looked into: {error.strerror}"))
        )

    # A workload's path may have several segments, and its folder lies as deep.
    for here, names, _ in os.walk(state, onerror=not_listed):
        names.sort()
        names[:] = [name for name in names if (Path(here) / name).absolute() != home]
        for name in names:
            folder = Path(here) / name
            try:
                status = folder.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                done.left.append(
                    (folder, StateError(f"{quote_untrusted(folder)}: {error.strerror}"))
                )
                continue
            # The same directory may be reached by a link too.
            if (status.st_dev, status.st_ino) not in known:
                known.add((status.st_dev, status.st_ino))
                yield folder


def _bring(authority: Authority, folder: Path) -> bool:
    """Bring trust and lists to one directory, if it holds a credential of this CA.

    Raises:
        PkiError: if they can't be brought, or it can't be told whose credential it is.
    """
    found = find_layout(folder)
    if found is None:
        return False
    layout, holds_key = found
    contents = read_contents(folder, layout, holds_key=holds_key)
    if not _is_ours(authority, contents):
        return False
    with writing(folder, layout=layout, trust_alone=True):
        # Read while nobody else writes here, so that an older list never follows a newer one.
        bundle, crls = authority.trust()
        save_trust(bundle, crls, folder, layout=layout, issuers=issuer_certificates(authority))
    return True


def take_in_crls(authority: Authority, state: Path, *more: CrlSet | None) -> None:
    """Take the lists that receivers hold into the ledger, before anything is signed.

    A whole CA that was put back from a backup, mark and all, knows nothing of what was revoked
    since. The credential directories here do.

    Args:
        authority: the CA.
        state: the state folder.
        more: lists from elsewhere, if there are any.

    Raises:
        PkiError: if one is ahead of the ledger and can't be taken in.
    """
    _, own = authority.trust()
    known = {item.der for item in own.crls.values()}
    for found in (*more, *crls_below(state)):
        if found is not None and not {item.der for item in found.crls.values()} <= known:
            authority.take_in(found)


def crls_below(state: Path) -> Iterator[CrlSet]:
    """Read all revocation lists in credential directories here; what is no list is passed over."""
    names = {layout.crls for layout in LAYOUTS.values()}
    seen: set[bytes] = set()
    for path in sorted(state.rglob("*")):
        if path.name not in names:
            continue
        try:
            data, _ = read_bounded(path, max_bytes=MAX_CRLS_BYTES)
            if data not in seen:
                seen.add(data)
                yield CrlSet.read(data)
        except (PkiError, OSError):
            continue


def issuer_certificates(authority: Authority) -> tuple[x509.Certificate, ...]:
    """Return the CA's own certificates."""
    return tuple(item.certificate for item in authority.issuers())


def _is_ours(authority: Authority, contents: Contents) -> bool:
    """Return whether a directory's credential is of this CA, by whatever can be read of it.

    Raises:
        PkiError: if that can't be told.
    """
    if record_of(authority, contents) is not None:
        return True
    if contents.leaf is not None:
        return was_issued_here(authority, contents.leaf)
    bundle, _ = authority.trust()
    if contents.bundle is not None:
        return bool(set(contents.bundle.all_roots()) & set(bundle.all_roots()))
    raise contents.why_no_leaf()


def _one_line(path: Path, error: PkiError) -> str:
    name = quote_untrusted(path)
    return error.message if name in error.message else f"{name}: {error.message}"
