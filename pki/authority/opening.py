"""Open a CA in its directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pki.authority.admission import Admission
from pki.authority.audit import CheckpointPublication
from pki.authority.context import AuthorityContext
from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger.audit import Actor
from pki.authority.ledger.databases.access import WRITING, LedgerAccess
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.url_file import LEDGER_URL
from pki.authority.ledger.ledger_files import MARK
from pki.authority.pending.revocations import PendingRevocations
from pki.authority.shared_keys import take_key_files
from pki.authority.signers import TokenAccess
from pki.authority.signing import Signing
from pki.clock import Clock
from pki.errors import StateError, quote_untrusted


def open_context(
    path: Path,
    *,
    passphrase: bytes | None,
    tokens: TokenAccess | None = None,
    clock: Clock,
    accept_older: bool = False,
    passphrase_remedy: str = "",
    ledger: LedgerPlace | None = None,
    access: LedgerAccess = WRITING,
) -> AuthorityContext:
    """Open the CA in a directory.

    Args:
        path: the directory.
        passphrase: of the CA's keys.
        tokens: how to reach the tokens of keys that are in one.
        clock: returns the time.
        accept_older: open an older copy of the ledger too.
        passphrase_remedy: what to do if the passphrase is missing or wrong.
        ledger: where the ledger lies; None for the directory.
        access: how to open the ledger.

    Raises:
        StateError: if the directory holds no CA.
        OlderLedgerError: if its ledger is an older copy, and ``accept_older`` is not set.
    """
    directory = AuthorityDirectory(path, elsewhere=ledger)
    if passphrase_remedy:
        directory = replace(directory, passphrase_remedy=passphrase_remedy)
    directory.check()
    directory.refuse_lost_ledger()
    opened = directory.open_ledger(access)
    try:
        with opened.transaction(accept_older=accept_older) as transaction:
            settings = transaction.settings()
            directory.refuse_other_ledger(item.key_id for item in transaction.issuers())
            if not accept_older and not access.for_reading:
                # Else the recovery does it, which must see the ledger's mark as it is.
                transaction.audit.begin(at=clock(), actor=Actor.local())
        if not access.for_reading:
            take_key_files(directory, opened)
    except BaseException:
        opened.close()
        raise
    signing = Signing(Admission(settings.limits), settings.backdate)
    origin = settings.limits.trust_domain.audit_log
    publication = CheckpointPublication(directory, origin, passphrase)
    return AuthorityContext(
        directory,
        opened,
        settings,
        signing,
        clock,
        publication,
        PendingRevocations(directory.path),
        passphrase,
        tokens=tokens or TokenAccess(),
    )


def join_context(
    path: Path,
    ledger: LedgerPlace,
    *,
    passphrase: bytes | None,
    tokens: TokenAccess | None = None,
    clock: Clock,
    passphrase_remedy: str = "",
) -> AuthorityContext:
    """Make a directory for one more replica of a CA whose ledger is shared, and open it.

    The ledger is taken for the newest one, as whoever names it says. The active issuing CA's key
    must be in it, or in a token that can be reached, and the passphrase must be the CA's.

    Args:
        path: the directory; made with mode 0700 if it does not exist.
        ledger: the ledger.
        passphrase: of the CA's keys.
        tokens: as :func:`open_context`.
        clock: returns the time.
        passphrase_remedy: as :func:`open_context`.

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
    # Those that are left of an attempt that was interrupted.
    others = set(directory.ca_files()) - {LEDGER_URL, MARK}
    if others:
        raise StateError(
            f"there is a CA at {quote_untrusted(path)} already",
            remedy="Choose another folder with --dir",
        )
    directory.remember_ledger()
    opened = directory.open_ledger()
    try:
        with opened.snapshot() as transaction:
            transaction.settings()
            opened.mark.write(transaction.state(), replace=True)
    finally:
        opened.close()
    context = open_context(
        path, passphrase=passphrase, tokens=tokens, clock=clock, passphrase_remedy=passphrase_remedy
    )
    try:
        with context.ledger.snapshot() as transaction:
            context.active_ca(transaction).signer.connect()
    except BaseException:
        context.ledger.close()
        raise
    return context
