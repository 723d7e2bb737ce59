"""Open a CA in its directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pki.authority.admission import Admission
from pki.authority.audit import CheckpointPublication, log_origin
from pki.authority.context import AuthorityContext
from pki.authority.directory import AuthorityDirectory
from pki.authority.ledger.audit import Actor
from pki.authority.ledger.databases.access import WRITING, LedgerAccess
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.pending.revocations import PendingRevocations
from pki.authority.shared_keys import take_key_files
from pki.authority.signers import TokenAccess
from pki.authority.signing import Signing
from pki.clock import Clock


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
    opened = directory.home.open(access)
    try:
        with opened.transaction(accept_older=accept_older) as transaction:
            settings = transaction.settings()
            verifier_key = transaction.audit.verifier_key()
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
    origin = log_origin(verifier_key, settings.limits.trust_domain)
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
