"""Make one more machine serve a CA."""

from __future__ import annotations

from pathlib import Path

from pki.authority import Authority
from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger import Ledger, Transaction
from pki.authority.ledger.beside.ledger_files import MARK
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.url_file import LEDGER_URL
from pki.authority.shared_keys import MAX_SHARED_BYTES, shared_key_files
from pki.authority.signers import TokenAccess
from pki.clock import Clock, system_clock
from pki.errors import StateError, quote_untrusted
from pki.files.atomic import read_file_in
from pki.files.open_folder import opened_folder


def join_authority(
    path: Path,
    ledger: LedgerPlace,
    *,
    passphrase: bytes | None,
    tokens: TokenAccess | None = None,
    clock: Clock = system_clock,
    passphrase_remedy: str = "",
) -> Authority:
    """Make a directory for one more replica of a CA whose ledger is shared, and open it.

    The ledger is taken for the newest one, as whoever names it says. The active issuing CA's key
    must be in it, or in a token that can be reached, and the passphrase must be the CA's.

    Args:
        path: the directory; made with mode 0700 if it does not exist.
        ledger: the ledger.
        passphrase: of the CA's keys.
        tokens: as :meth:`Authority.open`.
        clock: returns the time.
        passphrase_remedy: as :meth:`Authority.open`.

    Raises:
        StateError: if the directory holds a CA, the ledger is not shared or holds none, or the key
            can't be used.
    """
    directory = AuthorityDirectory(path, elsewhere=ledger)
    if not ledger.is_shared or not ledger.exists():
        raise StateError(
            f"{quote_untrusted(ledger)} is no ledger that machines share, or holds no CA",
            remedy="Name the database of a CA: --ledger postgresql://USER@HOST/DATABASE",
        )
    directory.make()
    opened = directory.home.open()
    try:
        with opened.snapshot() as transaction:
            transaction.settings()
            if not _is_free(directory, opened, transaction):
                raise StateError(
                    f"there is a CA at {quote_untrusted(path)} already",
                    remedy="Choose another folder with --dir",
                )
            directory.home.remember()
            opened.mark.write(transaction.state(), replace=True)
    finally:
        opened.close()
    authority = Authority.open(
        path,
        passphrase=passphrase,
        tokens=tokens,
        clock=clock,
        passphrase_remedy=passphrase_remedy,
        read_only=True,
    )
    try:
        with authority.context.ledger.snapshot() as transaction:
            authority.context.active_ca(transaction).signer.connect()
        authority.context.publish()
    except BaseException:
        authority.close()
        raise
    return authority


def _is_free(directory: AuthorityDirectory, ledger: Ledger, transaction: Transaction) -> bool:
    """Return whether a directory holds nothing but what is left of an attempt that was interrupted.

    That are copies of the ledger's key files. Its end is the trust bundle.
    """
    shared = shared_key_files(ledger, transaction)
    others = set(directory.ca_files()) - {LEDGER_URL, MARK}
    if not others <= shared.keys():
        return False
    with opened_folder(directory.path) as folder:
        return all(
            read_file_in(folder, name, max_bytes=MAX_SHARED_BYTES)[0] == shared[name]
            for name in others
        )
