"""A CA's directory: its ledger, its keys, and the trust bundle and CRLs that it publishes.

The ledger decides. A key in a token has a file here that says where it is: ``.key.toml`` in place
of ``.key.pem``. A key file is written before the ledger names its certificate. Bundle and CRLs
are published from the ledger after each commit and at each opening, which repairs what a crash in
between left out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pki.authority.ledger.beside.ledger_files import MARK, refuse_other_ledger
from pki.authority.ledger.beside.private_folder import make_private_folder
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.url_file import LEDGER_URL
from pki.authority.ledger.home import LEDGER, LedgerHome
from pki.authority.signers import FileSigner, Pkcs11Uri, Signer, TokenAccess
from pki.authority.signers.key_file import MAX_KEY_FILE_BYTES, read_key_file
from pki.errors import KeyRefusedError, PkiError, StateError, quote_untrusted
from pki.files import HANDFAST, locked, save_trust, write_durably
from pki.files.access import trusted_owners
from pki.files.atomic import read_file_in
from pki.files.credential_files import error_context
from pki.files.lock import WAIT_SECONDS
from pki.files.open_folder import PRIVATE, opened_folder
from pki.keys import PrivateKey, PublicKey, public_key_fingerprint, read_private_key
from pki.keys.encoding import MAX_KEY_BYTES
from pki.x509 import CrlSet, TrustBundle
from pki.x509.readers import MAX_CRLS_BYTES, to_pem

ROOT_KEY = "root.key.pem"
AUDIT_KEY = "audit.key.pem"


@dataclass(frozen=True, slots=True)
class AuthorityDirectory:
    """The files of a CA.

    Args:
        path: the directory.
        passphrase_remedy: what to do if the passphrase of a key is missing or wrong.
        elsewhere: where the ledger lies, if it is not in the directory, and the directory does not
            say where.
    """

    path: Path
    passphrase_remedy: str = "Give passphrase= to pki.Authority.open"  # noqa: S105 - no secret
    elsewhere: LedgerPlace | None = None

    @property
    def home(self) -> LedgerHome:
        """The ledger's home."""
        return LedgerHome(self.path, self.elsewhere)

    @property
    def ledger(self) -> LedgerPlace:
        """Where the ledger lies; as :attr:`LedgerHome.place`."""
        return self.home.place

    @property
    def root_key(self) -> Path:
        """The first root's key, which its owner moves to a safe place after set-up."""
        return self.path / ROOT_KEY

    @property
    def audit_key(self) -> Path:
        """The key that signs the audit log's checkpoints."""
        return self.path / AUDIT_KEY

    def later_root_key(self, key_id: str) -> Path:
        """Return the path of the key of a root that takes the first one's place."""
        return self.path / f"root-{key_id}.key.pem"

    def issuing_key(self, key_id: str) -> Path:
        """Return the path of an issuing CA's key."""
        return self.path / f"issuing-{key_id}.key.pem"

    @property
    def crls(self) -> Path:
        """The CRLs that the CA published last."""
        return self.path / HANDFAST.crls

    def ca_files(self) -> tuple[str, ...]:
        """Return the names of the files here that belong to a CA, without its ledger and locks.

        Raises:
            StateError: if the directory can't be read.
        """
        try:
            names = sorted(os.listdir(self.path))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StateError(
                f"{quote_untrusted(self.path)} can't be read: {error.strerror}"
            ) from error
        known = {MARK, LEDGER_URL, HANDFAST.bundle, HANDFAST.crls}
        return tuple(
            name
            for name in names
            if name in known
            or name.endswith((".key.pem", ".key.toml"))
            or name.startswith(f"{LEDGER}-")
        )

    def needs_passphrase(self) -> bool:
        """Return whether a key here is encrypted."""
        return any(
            self._is_encrypted(name) for name in self.ca_files() if name.endswith(".key.pem")
        )

    def names_tokens(self) -> bool:
        """Return whether a key of this CA is in a token."""
        return any(name.endswith(".key.toml") for name in self.ca_files())

    def _is_encrypted(self, name: str) -> bool:
        try:
            with opened_folder(self.path) as folder:
                data, _ = read_file_in(folder, name, max_bytes=MAX_KEY_BYTES)
        except (FileNotFoundError, PkiError):
            # Whoever needs this key says what is wrong with it.
            return False
        return b"BEGIN ENCRYPTED PRIVATE KEY" in data

    def refuse_lost_ledger(self) -> None:
        """Refuse a directory without a ledger; say whether it held a CA or lost its ledger.

        Raises:
            StateError: if there is no ledger.
        """
        if self.ledger.exists():
            if self.ledger.is_shared and not self.ca_files():
                raise StateError(
                    f"{quote_untrusted(self.path)} holds no files of the CA whose ledger is "
                    f"{quote_untrusted(self.ledger)}",
                    remedy="Make this machine a replica of it: handfast ca join",
                )
            return
        ca_files = self.ca_files()
        if not ca_files:
            raise StateError(
                f"there is no CA at {quote_untrusted(self.path)}",
                remedy="Make one with: handfast ca init --trust-domain NAME",
            )
        raise lost_ledger_error(self, ca_files)

    def refuse_other_ledger(self, key_ids: Iterable[str]) -> None:
        """Raise ``StateError`` if a ledger elsewhere holds none of the CAs whose keys are here."""
        if self.elsewhere is not None:
            refuse_other_ledger(self.elsewhere, key_ids, self.ca_files())

    def make(self) -> None:
        """Make the directory with mode 0700.

        Raises:
            StateError: if it can't be made.
        """
        make_private_folder(self.path)
        if self.elsewhere is not None and self.elsewhere.folder is not None:
            make_private_folder(self.elsewhere.folder)
            self.elsewhere.check()

    def check(self) -> None:
        """Check that no other user can change the directory or the ledger, or leads root elsewhere.

        Raises:
            StateError: if another user can, or does.
        """
        if not self.path.is_dir():
            return
        self.ledger.check()

    def write_signer(self, path: Path, signer: Signer) -> None:
        """Write the file of a new CA key with mode 0600: the key, or where it is.

        Args:
            path: of the key, as for one in a file.
            signer: the key's signer.

        Raises:
            StateError: if there is a file already: the key of a CA is never overwritten.
        """
        write_durably(
            path.with_suffix(signer.file_suffix),
            signer.file_contents(),
            mode=PRIVATE,
            replace=False,
        )

    def discard_signer(self, path: Path, signer: Signer) -> None:
        """Remove a key that no certificate names, and its file."""
        path.with_suffix(signer.file_suffix).unlink(missing_ok=True)
        signer.discard()

    def holds_key(self, path: Path) -> bool:
        """Return whether a key is here, or a file that says in which token it is."""
        return os.path.lexists(path) or os.path.lexists(path.with_suffix(".toml"))

    def open_signer(
        self,
        path: Path,
        public_key: PublicKey | None,
        *,
        passphrase: bytes | None,
        tokens: TokenAccess,
        what: str,
    ) -> Signer:
        """Return the signer of a CA key.

        Args:
            path: of the key, as for one in a file.
            public_key: that of the CA's certificate; None if there is no certificate yet.
            passphrase: with which a key in a file is encrypted, if it is.
            tokens: how to reach a token.
            what: as :meth:`read_key`.

        Raises:
            StateError: if the key is not there, or other users may read or change its file.
        """
        uri = self.key_uri(path, what=what)
        if uri is None:
            return FileSigner(self.read_key(path, passphrase, what=what), passphrase)
        from pki.authority.signers.token_signer import (  # noqa: PLC0415 - only with a token
            TokenSigner,
        )

        if public_key is None:
            return TokenSigner.find(uri, tokens)
        return TokenSigner(uri, public_key, tokens)

    def key_uri(self, path: Path, *, what: str) -> Pkcs11Uri | None:
        """Return the URI of a key that is in a token; None if it is in a file, or not here.

        Args:
            path: of the key, as for one in a file.
            what: as :meth:`read_key`.

        Raises:
            StateError: if other users may read or change the file that says so, or there is a key
                beside it.
            InputError: if it is no such file.
        """
        reference = path.with_suffix(".toml")
        try:
            data, owner = self._read_private(reference, MAX_KEY_FILE_BYTES, what=what)
        except FileNotFoundError:
            return None
        if os.path.lexists(path):
            raise StateError(
                f"{quote_untrusted(path)} is there, and {quote_untrusted(reference)} says that "
                f"{what} is in a token",
                remedy="Find out which is right, and move the other one away",
            )
        with error_context(reference):
            return read_key_file(data, owner=owner)

    def read_key(self, path: Path, passphrase: bytes | None, *, what: str) -> PrivateKey:
        """Read a CA key.

        Args:
            path: of the key.
            passphrase: with which it is encrypted, if it is.
            what: names the key in errors, e.g. ``the root's key``.

        Raises:
            StateError: if it is not there, or other users may read it.
        """
        try:
            data, _ = self._read_private(path, MAX_KEY_BYTES, what=what)
        except FileNotFoundError:
            raise StateError(
                f"{what} is not at {quote_untrusted(path)}",
                remedy="Bring it back for this operation",
            ) from None
        try:
            with error_context(path):
                return read_private_key(data, passphrase)
        except KeyRefusedError as error:
            if "passphrase" in error.message:
                error.remedy = self.passphrase_remedy
            raise

    def _read_private(self, path: Path, max_bytes: int, *, what: str) -> tuple[bytes, int]:
        """Return the contents and the owner of a file that only the CA's user may read."""
        with opened_folder(self.path) as folder:
            data, status = read_file_in(folder, path.name, max_bytes=max_bytes)
            owners = trusted_owners(folder.status())
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in owners:
            raise StateError(
                f"{quote_untrusted(path)} belongs to user {status.st_uid}",
                remedy=f"Find out who put {what} there, and give it to the CA's user",
            )
        if mode & 0o077:
            raise StateError(
                f"{quote_untrusted(path)} has mode {mode:04o}: others may read {what}",
                remedy=f"chmod 600 {quote_untrusted(path)}, and find out who read it meanwhile",
            )
        return data, status.st_uid

    def publish(self, bundle: TrustBundle, crls: CrlSet) -> None:
        """Write the trust bundle and the CRLs, readable by everybody."""
        save_trust(bundle, crls, self.path)

    def read_published(self, *, unless: CrlSet) -> CrlSet | None:
        """Read the CRLs that were published last.

        Args:
            unless: the CRLs that are expected there.

        Returns:
            The CRLs; None if there are none, exactly the expected ones, or none that can be read.
            The caller then writes them anew.
        """
        try:
            with opened_folder(self.path) as folder:
                data, _ = read_file_in(folder, self.crls.name, max_bytes=MAX_CRLS_BYTES)
            if data == to_pem([item.crl for item in unless.crls.values()]):
                return None
            return CrlSet.read(data)
        except (FileNotFoundError, PkiError):
            return None

    @contextmanager
    def publishing(self, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
        """Lock out other publishers, so that no older state of the ledger replaces a newer one."""
        with locked(self.path, name=".publish.lock", wait_seconds=wait_seconds):
            yield


def lost_ledger_error(directory: AuthorityDirectory, ca_files: Sequence[str]) -> StateError:
    """Return the error for a CA's directory without its ledger."""
    return StateError(
        f"the CA at {quote_untrusted(directory.path)} has lost its ledger: {', '.join(ca_files)} "
        "are there, and "
        f"{LEDGER} is not",
        remedy="Bring the ledger back from where it was moved, or from a backup, and then: "
        "handfast ca recover. For another CA, choose another folder",
    )


def key_id_of(key: PrivateKey) -> str:
    """Return a CA key's id: the first 64 bits of its fingerprint, in hex."""
    return public_key_fingerprint(key.public_key())[:16]
