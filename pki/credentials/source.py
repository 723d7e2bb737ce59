"""Where a workload's credential comes from: a directory, PEM in memory, or what others add.

A source only fetches. What is accepted of it is decided in one place for all of them
(:mod:`pki.credentials.loader`), so that no source can relax a rule.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pki.background import defer
from pki.errors import StateError, UnreadableError, quote_untrusted
from pki.files import (
    KeyMode,
    Layout,
    detect_layout,
    load_credential,
    load_crls,
    read_bounded,
    write_durably,
)
from pki.files.atomic import PRIVATE
from pki.files.credential_files import error_context
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

log = logging.getLogger("handfast.rpc")
_SEEN = ".handfast-crl-seen.pem"


class Source(Protocol):
    """What a :class:`~pki.workload.Workload` follows.

    :meth:`load`, :meth:`crls` and :meth:`remember` are called by a thread each, at the same time,
    a few times a minute and after each change; never on an event loop. They may block, and raise
    anything: what is in force is kept then, and nothing else is held up.

    A source that reads this machine's own files says so by an attribute ``is_local``, True: what it
    can't read any more counts for ``read_grace`` alone. Any other is taken for one elsewhere, that
    may be cut off for longer: its revocation lists count to their own end.
    """

    @property
    def name(self) -> str:
        """What it is called in messages."""

    @property
    def revocation(self) -> RevocationMode:
        """The user's word on certificates that no revocation list speaks for."""

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        """Fetch the credential as it is now, and what a person should know about it.

        Raises:
            PkiError: if it can't be fetched or read; the one in use is kept then.
        """

    def crls(self) -> CrlSet | None:
        """Fetch the revocation lists alone; None where there are none.

        Asked beside :meth:`load`: what was revoked counts also while the rest can't be loaded.

        Raises:
            PkiError: if they can't be fetched or read.
        """

    def folders(self) -> Iterable[Path]:
        """Return the folders in which a change means: load again; none for a source that pushes."""

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Take the function to call, from any thread, when there is something new to load."""

    def remembered(self) -> CrlSet | None:
        """Return the newest revocation lists that :meth:`remember` was given, also before a restart.

        Raises:
            PkiError: if they can't be read.
        """

    def remember(self, crls: CrlSet) -> None:
        """Keep the newest revocation lists, durably where there is a place for them."""


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """A credential directory, whoever writes it.

    Args:
        directory: where it lies.
        layout: its layout; None tells it by the file names.
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
        """Take the path as it is meant now, whatever the working directory is later."""
        object.__setattr__(self, "directory", Path(self.directory).absolute())

    @property
    def is_local(self) -> bool:
        """It reads files of this machine."""
        return True

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
        """Return the directory."""
        return (self.directory,)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Do nothing: the directory is watched."""

    def remembered(self) -> CrlSet | None:
        """Read the lists that were seen."""
        try:
            data, _ = read_bounded(self.directory / _SEEN, max_bytes=MAX_CRLS_BYTES)
        except FileNotFoundError:
            return None
        with error_context(self.directory / _SEEN):
            return CrlSet.read(data)

    def remember(self, crls: CrlSet) -> None:
        """Write the lists that were seen beside the credential."""
        try:
            pem = to_pem([item.crl for item in crls.crls.values()])
            write_durably(self.directory / _SEEN, pem, mode=PRIVATE)
        except StateError as error:
            # A read-only volume: remembered in memory alone, as long as the process lives.
            defer(log.info, "lists seen can't be kept on disk: %s", error)


class PemSource:
    """A credential given as PEM, e.g. by a secret store's client.

    :meth:`replace` brings the next one.

    Args:
        key: the private key.
        chain: the leaf, then the issuing CAs, without the root.
        bundle: the roots to believe.
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
        self._seen: CrlSet | None = None
        self._changed: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        """Return what it is."""
        return "the PEM in memory"

    @property
    def revocation(self) -> RevocationMode:
        """The user's word on certificates that no revocation list speaks for."""
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
        """Bring the next credential; it is taken up at once, or refused and the last one kept.

        Raises:
            PkiError: if a part can't be read, or key and chain don't belong together.
        """
        self._credential = _read(key, chain, bundle, crls, passphrase)
        self._changed()

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        """Return what was brought last."""
        return self._credential, ()

    def crls(self) -> CrlSet | None:
        """Return the lists that were brought last."""
        return self._credential.crls

    def folders(self) -> Iterable[Path]:
        """Return none."""
        return ()

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Take the function that :meth:`replace` calls."""
        self._changed = changed

    def remembered(self) -> CrlSet | None:
        """Return the lists seen since the process began: there is no place to keep them longer."""
        return self._seen

    def remember(self, crls: CrlSet) -> None:
        """Keep the lists in memory."""
        self._seen = crls


def _read(
    key: bytes, chain: bytes, bundle: bytes, crls: bytes | None, passphrase: bytes | None
) -> Credential:
    certificates = read_chain(chain)
    found = read_names(certificates[0]).spiffe_id
    return Credential(
        read_private_key(key, passphrase),
        certificates,
        TrustBundle.read(bundle, default=found.trust_domain if found else None),
        None if crls is None else CrlSet.read(crls),
    )
