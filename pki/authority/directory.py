"""Where a CA lives on disk: its ledger, its keys, and the trust bundle and lists that it publishes.

The ledger is the truth. Key files are written before the ledger names them; bundle and lists are
published from it after each commit, and again at each opening, so a crash in between mends itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pki.authority.ledger.ledger import MARK
from pki.errors import PkiError, StateError, quote_untrusted
from pki.files import HANDFAST, locked, read_bounded, save_trust, write_durably
from pki.files.access import check_folder, trusted_owners, why_not_trusted
from pki.files.atomic import PRIVATE, make_folder, read_with_status
from pki.files.parts import naming
from pki.keys import PrivateKey, private_key_to_pem, public_key_fingerprint, read_private_key
from pki.keys.encoding import MAX_KEY_BYTES
from pki.x509 import CrlSet, TrustBundle
from pki.x509.readers import MAX_CRLS_BYTES, to_pem

ROOT_KEY = "root.key.pem"
_LEDGER = "ledger.db"


@dataclass(frozen=True, slots=True)
class AuthorityHome:
    """A CA's folder."""

    path: Path

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.path / _LEDGER

    @property
    def root_key(self) -> Path:
        """The root's key: to be taken away after set-up."""
        return self.path / ROOT_KEY

    def issuing_key(self, key_id: str) -> Path:
        """Return where an issuing CA's key lies."""
        return self.path / f"issuing-{key_id}.key.pem"

    @property
    def crls(self) -> Path:
        """The lists that the CA published last."""
        return self.path / HANDFAST.crls

    def traces(self) -> tuple[str, ...]:
        """Return the names of all files here that a CA leaves, the ledger and its locks apart.

        Raises:
            StateError: if the folder can't be looked into.
        """
        try:
            names = sorted(os.listdir(self.path))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StateError(
                f"{quote_untrusted(self.path)} can't be read: {error.strerror}"
            ) from error
        known = {ROOT_KEY, MARK, HANDFAST.bundle, HANDFAST.crls}
        return tuple(
            name
            for name in names
            if name in known or name.endswith(".key.pem") or name.startswith(f"{_LEDGER}-")
        )

    def refuse_lost_ledger(self) -> None:
        """Tell a folder that never held a CA from one whose ledger is lost.

        Raises:
            StateError: if there is no ledger.
        """
        if os.path.lexists(self.ledger):
            return
        traces = self.traces()
        if not traces:
            raise StateError(
                f"there is no CA at {quote_untrusted(self.path)}",
                remedy="Make one with: handfast ca init --trust-domain NAME",
            )
        raise lost_ledger(self, traces)

    def make(self) -> None:
        """Make the folder, 0700.

        Raises:
            StateError: if it can't be made.
        """
        make_folder(self.path.parent)
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateError(
                f"{quote_untrusted(self.path)} can't be made: {error.strerror}"
            ) from error
        check_folder(self.path)

    def check(self) -> None:
        """Check that nobody else can change the folder or the ledger.

        Raises:
            StateError: if somebody can.
        """
        if not self.path.is_dir():
            return
        owners = trusted_owners(check_folder(self.path))
        for path in (self.ledger, *self.path.glob(f"{_LEDGER}-*")):
            try:
                why = why_not_trusted(path.stat(), owners)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StateError(
                    f"{quote_untrusted(path)} can't be looked at: {error.strerror}"
                ) from error
            if why:
                raise StateError(
                    f"{quote_untrusted(path)} {why}",
                    remedy="Ask who changed it; then give it to the CA's user alone, 0600",
                )

    def write_key(self, path: Path, key: PrivateKey, passphrase: bytes | None) -> None:
        """Write a CA's new key, 0600.

        Raises:
            StateError: if there is a file already: no key of a CA is ever written over.
        """
        write_durably(path, private_key_to_pem(key, passphrase), mode=PRIVATE, replace=False)

    def read_key(self, path: Path, passphrase: bytes | None, *, what: str) -> PrivateKey:
        """Read a CA's key.

        Raises:
            StateError: if it is not there, or others may read it.
        """
        try:
            data, status = read_with_status(path, max_bytes=MAX_KEY_BYTES)
            owners = trusted_owners(self.path.stat())
        except FileNotFoundError:
            raise StateError(
                f"{what} is not at {quote_untrusted(path)}",
                remedy="Bring it back for this operation",
            ) from None
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in owners:
            raise StateError(
                f"{quote_untrusted(path)} belongs to user {status.st_uid}",
                remedy=f"Ask who put {what} there, and give it to the CA's user alone",
            )
        if mode & 0o077:
            raise StateError(
                f"{quote_untrusted(path)} has mode {mode:04o}: others may read {what}",
                remedy=f"chmod 600 {quote_untrusted(path)}, and ask who read it meanwhile",
            )
        with naming(path):
            return read_private_key(data, passphrase)

    def publish(self, bundle: TrustBundle, crls: CrlSet) -> None:
        """Write the trust bundle and the lists for everybody to read."""
        save_trust(bundle, crls, self.path)

    def published(self, *, unless: CrlSet) -> CrlSet | None:
        """Read the lists that were published last.

        Args:
            unless: these lists; if just they lie there, nothing is read.

        Returns:
            The lists; None where there are none, none others, or none that can be read: they are
            written anew then.
        """
        try:
            data, _ = read_bounded(self.crls, max_bytes=MAX_CRLS_BYTES)
            if data == to_pem([item.crl for item in unless.crls.values()]):
                return None
            return CrlSet.read(data)
        except (FileNotFoundError, PkiError):
            return None

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Hold off other publishers: what is read from the ledger in here is written in order."""
        with locked(self.path, name=".publish.lock"):
            yield


def lost_ledger(home: AuthorityHome, traces: Sequence[str]) -> StateError:
    """Return the error of a CA's folder without its ledger."""
    return StateError(
        f"the CA at {quote_untrusted(home.path)} has lost its ledger: {', '.join(traces)} "
        "are there, and "
        f"{_LEDGER} is not",
        remedy="Bring the ledger back from where it was moved, or from a backup, and then: "
        "handfast ca recover. For another CA, choose another folder",
    )


def key_id_of(key: PrivateKey) -> str:
    """Name a CA's key: 64 bits of its fingerprint, in hex."""
    return public_key_fingerprint(key.public_key())[:16]
