"""The CA's own credential: issued to itself, kept in memory, renewed at half of its life.

It is renewed too while it is not valid yet: then the clock was ahead when it was issued, and
nobody accepts it until that time has come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from pki.authority.context import AuthorityContext
from pki.authority.enrollment import issue_own
from pki.x509 import Credential, CrlSet, RevocationMode, TrustBundle

_WAIT_SECONDS = 1.0


class OwnCredential:
    """A source of the CA's own credential, for its workload.

    Args:
        context: the CA.
        lifetime: of each certificate.
    """

    is_local = True

    def __init__(self, context: AuthorityContext, lifetime: timedelta = timedelta(hours=1)) -> None:
        # Whoever holds the ledger must not hold up what this thread does besides.
        self._context = replace(context, ledger=context.ledger.waiting(_WAIT_SECONDS))
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._changed: Callable[[], None] = lambda: None
        issued = issue_own(context, lifetime)
        self._credential = issued.credential
        self._renew_at = self._half_life()

    @property
    def name(self) -> str:
        """The name of the source in messages."""
        return "the CA's own certificate"

    @property
    def is_due(self) -> bool:
        """Whether another one must be issued by now."""
        begin = self._credential.leaf.not_valid_before_utc
        return not begin <= self._context.now() < self._renew_at

    @property
    def revocation(self) -> RevocationMode:
        """A missing revocation list is an error: the CA signs them all."""
        return RevocationMode.REQUIRED

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        """Return the credential; issue another one if it is due."""
        if self.is_due:
            # Not in the lock, which a revocation takes.
            issued = issue_own(self._context, self._lifetime)
            with self._lock:
                self._credential = issued.credential
                self._renew_at = self._half_life()
        return self._credential, ()

    def renew(self) -> None:
        """Issue another one now: the issuing CA or the trust bundle has changed."""
        with self._lock:
            self._renew_at = self._context.now()
        self._changed()

    def set_trust(self, bundle: TrustBundle, crls: CrlSet) -> None:
        """Use other roots and lists from now on."""
        with self._lock:
            present = self._credential
            self._credential = Credential(present.key, present.chain, bundle, crls)
        self._changed()

    def crls(self) -> CrlSet | None:
        """Return the lists in force."""
        return self._credential.crls

    def folders(self) -> Iterable[Path]:
        """Return no folders: there is nothing to watch."""
        return ()

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Register the function that is called after each change."""
        self._changed = changed

    def load_stored_crls(self) -> CrlSet | None:
        """Return None: the ledger holds the lists."""
        return None

    def store_crls(self, crls: CrlSet) -> None:
        """Do nothing: the ledger holds the lists."""

    def _half_life(self) -> datetime:
        leaf, now = self._credential.leaf, self._context.now()
        return now + (leaf.not_valid_after_utc - now) / 2
