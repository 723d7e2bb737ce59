"""Sources of a workload's credential: a directory, PEM in memory, or a class of the user's own.

A source only fetches. What is accepted is decided in one place for all sources
(:mod:`pki.credentials.loader`), so that no source can relax a rule.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pki.background import defer
from pki.errors import StateError, UnreadableError, printable, quote_untrusted
from pki.files import (
    LAYOUTS,
    KeyMode,
    Layout,
    detect_layout,
    load_credential,
    load_crls,
    read_bounded,
    write_durably,
)
from pki.files.credential_files import error_context
from pki.files.open_folder import PRIVATE
from pki.keys import read_private_key
from pki.x509 import (
    Credential,
    CrlSet,
    RevocationMode,
    TrustBundle,
    read_chain,
    read_names,
)
from pki.x509.readers import MAX_CRLS_BYTES, to_pem

log = logging.getLogger("handfast.credentials")
_ENROLLED = ".handfast-ca.json"  # what an enrollment leaves beside the credential
_REMEMBERED = ".handfast-crl-seen.pem"


class Source(Protocol):
    """Where a :class:`~pki.workload.Workload` fetches its credential, now and after each change.

    :meth:`load` and :meth:`crls` are called about every five seconds, sooner after a failure, and
    after each change; :meth:`store_crls` once newer lists are in force. Each has a thread of its
    own, so they may run at the same time, and never on an event loop. They may block, and raise
    anything: what is in force is kept then, and nothing else is held up.

    A source that reads files of this machine has an attribute ``is_local`` that is True: its
    revocation lists stay in force for ``read_grace`` while they can't be read. Every other source
    counts as remote, and may be cut off for longer: its lists stay in force until they expire.
    """

    @property
    def name(self) -> str:
        """The name of the source in messages."""

    @property
    def revocation(self) -> RevocationMode:
        """What to do with certificates for whose issuer there is no revocation list."""

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        """Fetch the credential as it is now, and warnings for the operator.

        Raises:
            PkiError: if it can't be fetched or read; the one in use is kept then.
        """

    def crls(self) -> CrlSet | None:
        """Fetch the revocation lists alone; None where there are none.

        Called besides :meth:`load`, so that a revocation takes effect even while the rest can't be
        loaded.

        Raises:
            PkiError: if they can't be fetched or read.
        """

    def folders(self) -> Iterable[Path]:
        """Return the files and folders to watch: a change of them means to load again.

        In a folder, every file counts.

        A source that calls what :meth:`subscribe` was given returns none.
        """

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Register a function; call it, from any thread, when there is something new to load."""

    def load_stored_crls(self) -> CrlSet | None:
        """Return the lists that :meth:`store_crls` was given last, also before a restart.

        Raises:
            PkiError: if they can't be read.
        """

    def store_crls(self, crls: CrlSet) -> None:
        """Store the newest revocation lists, durably where there is a place for them."""


def renewal_of(source: Source) -> str:
    """Return the command that brings a source what is newer: it depends on where it came from."""
    return str(getattr(source, "renewal", "handfast renew DIR"))


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """A credential directory, whoever writes it.

    Args:
        directory: where it lies.
        layout: its layout; None detects it by the file names.
        key_mode: whether a key file that others may read is refused.
        revocation: what to do where a revocation list is missing.
        passphrase: for an encrypted key.
    """

    directory: Path
    layout: Layout | None = None
    key_mode: KeyMode = KeyMode.STRICT
    revocation: RevocationMode = RevocationMode.REQUIRED
    passphrase: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Resolve the path now: the working directory may be another one later."""
        object.__setattr__(self, "directory", Path(self.directory).absolute())

    @property
    def is_local(self) -> bool:
        """True: the source reads files of this machine."""
        return True

    @property
    def renewal(self) -> str:
        """The command that brings a newer credential and newer lists into the directory."""
        verb = "agent" if os.path.lexists(self.directory / _ENROLLED) else "renew"
        return f"handfast {verb} {printable(shlex.quote(str(self.directory)))}"

    @property
    def name(self) -> str:
        """The directory."""
        return quote_untrusted(self.directory)

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        """Read the directory."""
        loaded = load_credential(
            self.directory,
            layout=self.layout,
            key_mode=self.key_mode,
            passphrase=self.passphrase,
        )
        return loaded.credential, loaded.warnings

    def crls(self) -> CrlSet | None:
        """Read the lists that lie in the directory."""
        if not self.directory.is_dir():
            raise UnreadableError(
                f"{quote_untrusted(self.directory)} is not there, or no directory"
            )
        return load_crls(self.directory, self.layout or detect_layout(self.directory))

    def folders(self) -> Iterable[Path]:
        """Return the files of the directory: others in it, such as a log, are of no concern."""
        layouts = LAYOUTS.values() if self.layout is None else (self.layout,)
        names = dict.fromkeys(name for layout in layouts for name in layout.file_names())
        return tuple(self.directory / name for name in names)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Do nothing: the directory is watched."""

    def load_stored_crls(self) -> CrlSet | None:
        """Read the lists that were stored last."""
        try:
            data, _ = read_bounded(self.directory / _REMEMBERED, max_bytes=MAX_CRLS_BYTES)
        except FileNotFoundError:
            return None
        with error_context(self.directory / _REMEMBERED):
            return CrlSet.read(data)

    def store_crls(self, crls: CrlSet) -> None:
        """Store the lists beside the credential."""
        try:
            pem = to_pem([item.crl for item in crls.crls.values()])
            write_durably(self.directory / _REMEMBERED, pem, mode=PRIVATE)
        except StateError as error:
            # A read-only volume: the lists are remembered in memory only, until the process ends.
            defer(log.info, "revocation lists can't be stored on disk: %s", error)


class PemSource:
    """A credential given as PEM, e.g. by a secret store's client.

    Call :meth:`replace` to use another credential.

    Args:
        key: the private key.
        chain: the leaf, then the issuing CAs, without the root.
        bundle: the roots to trust.
        crls: the revocation lists, one for each issuer; None where there are none.
        revocation: what to do where a revocation list is missing.
        passphrase: for an encrypted key.

    Raises:
        PkiError: if a part can't be read, or key and chain don't belong together.
    """

    def __init__(
        self,
        *,
        key: bytes,
        chain: bytes,
        bundle: bytes,
        crls: bytes | None = None,
        revocation: RevocationMode | str = RevocationMode.REQUIRED,
        passphrase: bytes | None = None,
    ) -> None:
        self._revocation = RevocationMode(revocation)
        self._credential = _read(key, chain, bundle, crls, passphrase)
        self._remembered: CrlSet | None = None
        self._changed: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        """The name of the source in messages."""
        return "the PEM in memory"

    @property
    def revocation(self) -> RevocationMode:
        """What to do with certificates for whose issuer there is no revocation list."""
        return self._revocation

    def replace(
        self,
        *,
        key: bytes,
        chain: bytes,
        bundle: bytes,
        crls: bytes | None = None,
        passphrase: bytes | None = None,
    ) -> None:
        """Replace the credential. It is used at once, or it is refused and the last one is kept.

        Raises:
            PkiError: if a part can't be read, or key and chain don't belong together.
        """
        self._credential = _read(key, chain, bundle, crls, passphrase)
        self._changed()

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        """Return the credential that was given last."""
        return self._credential, ()

    def crls(self) -> CrlSet | None:
        """Return the lists that were given last."""
        return self._credential.crls

    def folders(self) -> Iterable[Path]:
        """Return no folders: there is nothing to watch."""
        return ()

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Register the function that :meth:`replace` calls."""
        self._changed = changed

    def load_stored_crls(self) -> CrlSet | None:
        """Return the lists of this process: there is no place to store them for longer."""
        return self._remembered

    def store_crls(self, crls: CrlSet) -> None:
        """Store the lists in memory."""
        self._remembered = crls


def _read(
    key: bytes, chain: bytes, bundle: bytes, crls: bytes | None, passphrase: bytes | None
) -> Credential:
    certificates = read_chain(chain)
    spiffe_id = read_names(certificates[0]).spiffe_id
    return Credential(
        read_private_key(key, passphrase),
        certificates,
        TrustBundle.read(bundle, default=spiffe_id.trust_domain if spiffe_id else None),
        None if crls is None else CrlSet.read(crls),
    )
