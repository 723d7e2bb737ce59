"""Decides which credential and which revocation lists of a source are in force.

The rules:

1. Credential and revocation lists are read independently, by different threads: a source whose
   certificate can't be fetched delays no revocation.
2. What can't be read on this machine any more, whatever the cause, stays in force for
   ``read_grace``. After that nobody can know what has been revoked, and every peer is refused.
3. A remote source may be cut off from its CA for longer: its revocation lists stay in force to
   their own end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from pki.background import defer
from pki.clock import Clock
from pki.credentials.loader import CredentialLoader, OnDisk, end_after_half_life
from pki.credentials.reload_stats import ReloadResult, ReloadStats
from pki.credentials.snapshot import Snapshot
from pki.credentials.source import Source, renewal_of
from pki.errors import InputError, PkiError, UnreadableError
from pki.keys import private_key_to_pem
from pki.x509 import ChainVerifier, Credential, CrlSet, Purpose, RevocationMode, TrustBundle
from pki.x509.peer_chain import PeerChain

log = logging.getLogger("handfast.credentials")

_MOST_WARNINGS_REMEMBERED = 100

_MadeBy = tuple[TrustBundle, CrlSet | None, timedelta, str]


class CurrentCredential:
    """Reads a source again and again, and holds the snapshot that is in force.

    Args:
        source: the source of the credential.
        clock: returns the time.
        read_grace: how long the snapshot stays in force while the source can't be read.
        graces: returns the grace for stale revocation lists of each policy in force.
        changed: called after each change, by the thread that brought it.
        monotonic: returns seconds that only grow.

    Raises:
        PkiError: if the source's credential can't be used.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        *,
        read_grace: timedelta,
        graces: Callable[[], Iterable[timedelta]],
        changed: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        # A source of the user's own may not have this attribute: then it counts as remote.
        self._is_local = bool(getattr(source, "is_local", False))
        # Read once: a source can't relax the user's revocation mode later, and an error in it can't
        # keep unreadable lists from being withheld.
        self._mode, self._name = source.revocation, source.name
        self._loader = CredentialLoader(source)
        self._clock, self._monotonic = clock, monotonic
        self._read_grace = read_grace
        self._graces = graces
        self._changed = changed
        self._lock = threading.RLock()
        self._closed = False
        self._withheld = ""
        self._failures: dict[str, str] = {}
        self._warnings: set[str] = set()
        now = clock()
        self.reloads, self.crl_reloads = ReloadStats(now), ReloadStats(now)
        credential = self._loader.load_initial(now)
        _check_exportable(credential)
        self._crls_read_at = monotonic()
        self._remembered = self._loader.remembered
        self._verifier: tuple[_MadeBy, ChainVerifier] | None = None
        self._own_chain = PeerChain(credential.chain, Purpose.SERVER)
        self.snapshot = self._snapshot_of(credential, 1)
        """What is in force now; another object after each change."""
        self.store_crls()

    @property
    def on_disk(self) -> OnDisk:
        """What the source returned last, accepted or not."""
        return self._loader.on_disk or OnDisk.of(self.snapshot.credential)

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes calls fail, or will if nothing is done; empty if there is nothing."""
        own = self.own_problem()
        return (*([own] if own else []), *self._failures.values())

    def own_problem(self) -> str:
        """Return why peers would refuse our own certificate; empty if they would not.

        Where the revocation lists are stale or withheld, we would refuse every peer too.
        """
        error = self._own_chain.error(self.snapshot.verifier, self._clock())
        if error is None:
            return ""
        return f"this workload's own certificate would be refused by peers: {error}"

    def reload_credential(self) -> bool:
        """Read the whole credential again; return whether all of it was accepted."""
        try:
            loaded = self._loader.load()
            now = self._clock()
            with self._lock:
                before = self.snapshot.credential
                accepted, problem = self._loader.load_update(loaded, before, now)
                is_new = self._put_in_force(accepted)
                if loaded.crls is not None:
                    self._crls_read_at = self._monotonic()
        except BaseException as error:
            # SystemExit and a cancelled task too: the thread that reads must go on.
            return self._record("credential", self.reloads, _message_of(error), is_new=False)
        if is_new:
            self._changed()
            self._log_change(before, accepted)
        return self._record("credential", self.reloads, problem, is_new=is_new)

    def reload_crls(self) -> bool:
        """Read the revocation lists alone; return whether all of them were accepted."""
        problem, is_new = "", False
        try:
            crls = self._source.crls()
            is_new, problem = self._accept_crls(crls)
            if crls is None and self._mode is RevocationMode.REQUIRED:
                # There were lists at the start: a later revocation would not be noticed.
                problem = (
                    "there are none any more; those that were read before stay in force to their "
                    f"end. Bring them back: {renewal_of(self._source)}"
                )
        except UnreadableError as error:
            problem = _message_of(error)
        except InputError as error:
            # Readable, but malformed: the last good lists stay in force to their end.
            self._note_crls_readable()
            problem = _message_of(error)
        except BaseException as error:
            # SystemExit and a cancelled task too: the thread that reads must go on.
            problem = _message_of(error)
        self._warn_before_crls_end()
        return self._record("revocation lists", self.crl_reloads, problem, is_new=is_new)

    def store_crls(self) -> None:
        """Store the newest revocation lists in the source, so that older ones are refused."""
        crls = self.snapshot.credential.crls
        if crls is not None and crls is not self._remembered:
            self._source.store_crls(crls)
            self._remembered = crls

    def withhold_unreadable_crls(self) -> bool:
        """Withhold lists that could not be read for ``read_grace``; return whether that is new.

        This reads nothing from the source: a source that never answers is one of the causes.
        """
        if not self._is_local:
            return False
        unread = self._monotonic() - self._crls_read_at
        if self._withheld or unread <= self._read_grace.total_seconds():
            return False
        with self._lock:
            self._withheld = (
                f"the revocation lists of {self._name} could not be read for more than "
                f"{self._read_grace.total_seconds():g} s: nobody can tell what was revoked"
            )
            self._renew_verifier()
        self._changed()
        defer(log.critical, "%s; every peer is refused", self._withheld)
        return True

    def apply_graces(self) -> None:
        """Apply the graces for stale lists that the policies in force set now."""
        with self._lock:
            self._renew_verifier()
        self._changed()

    def close(self) -> None:
        """Accept nothing new any more."""
        with self._lock:
            self._closed = True

    def _accept_crls(self, crls: CrlSet | None) -> tuple[bool, str]:
        with self._lock:
            accepted, problem = self._loader.load_crl_update(crls, self.snapshot.credential)
            is_new = self._put_in_force(accepted)
        self._note_crls_readable()
        if is_new:
            self._changed()
            defer(log.info, "revocation lists reloaded")
        return is_new, problem

    def _note_crls_readable(self) -> None:
        with self._lock:
            self._crls_read_at = self._monotonic()
            if not self._withheld:
                return
            self._withheld = ""
            self._renew_verifier()
        self._changed()
        defer(log.warning, "the revocation lists of %s can be read again", self._name)

    def _put_in_force(self, credential: Credential) -> bool:
        """Put a credential in force; return whether it differs from the one before."""
        before = self.snapshot.credential
        is_same_identity = (
            credential.chain == before.chain and credential.bundle.roots == before.bundle.roots
        )
        if self._closed or (is_same_identity and credential.crls is before.crls):
            return False
        if not is_same_identity:
            _check_exportable(credential)
        version = self.snapshot.version + (0 if is_same_identity else 1)
        if credential.chain != before.chain:
            self._own_chain = PeerChain(credential.chain, Purpose.SERVER)
        self.snapshot = self._snapshot_of(credential, version)
        return True

    def _snapshot_of(self, credential: Credential, version: int) -> Snapshot:
        grace = min(self._graces(), default=timedelta(0))
        made_by = (credential.bundle, credential.crls, grace, self._withheld)
        last = self._verifier
        # A new leaf of our own changes nothing about others: what was verified of them stays so.
        if last is None or not _is_same(last[0], made_by):
            verifier = ChainVerifier(
                credential.bundle,
                credential.crls,
                mode=self._mode,
                grace=grace,
                withheld=self._withheld,
            )
            # OpenSSL reads a long list once for each issuer. Our own is most peers' too, so that is
            # done here: no call waits for it.
            self._own_chain.error(verifier, self._clock())
            last = self._verifier = (made_by, verifier)
        return Snapshot(version, credential, last[1])

    def _renew_verifier(self) -> None:
        self.snapshot = self._snapshot_of(self.snapshot.credential, self.snapshot.version)

    def _record(self, what: str, stats: ReloadStats, problem: str, *, is_new: bool) -> bool:
        stats.record(ReloadResult.of(problem, is_new=is_new), self._clock())
        if problem:
            self._failures[what] = f"{what} of {self._name}: {problem}"
            self._log_once(f"{what} refused, the one in use is kept: {problem}")
            return False
        self._failures.pop(what, None)
        return True

    def _log_change(self, before: Credential, now: Credential) -> None:
        self._warnings.clear()
        if now.chain != before.chain or now.bundle.roots != before.bundle.roots:
            defer(log.info, "credential reloaded, serial %x in use", now.leaf.serial_number)

    def _warn_before_crls_end(self) -> None:
        crls = self.snapshot.credential.crls
        end = end_after_half_life(crls, self._clock()) if crls else None
        if end is not None:
            self._log_once(
                f"the revocation lists of {self._name} are past half of their lifetime and become "
                f"stale at {end}: bring new ones ({renewal_of(self._source)}, and handfast crl "
                "at the CA)"
            )

    def _log_once(self, message: str) -> None:
        """Log a lasting problem once, until the credential changes."""
        if message not in self._warnings:
            if len(self._warnings) >= _MOST_WARNINGS_REMEMBERED:
                self._warnings.clear()
            self._warnings.add(message)
            defer(log.error, "%s", message)


def _is_same(one: _MadeBy, other: _MadeBy) -> bool:
    """Compare what verifiers are made by; bundle and lists by identity."""
    return one[0] is other[0] and one[1] is other[1] and one[2:] == other[2:]


def _check_exportable(credential: Credential) -> None:
    """Check that the private key can be exported: gRPC needs it as PEM.

    Raises:
        Exception: if it can't be, for example because it never leaves a key management service.
    """
    private_key_to_pem(credential.key)


def _message_of(error: BaseException) -> str:
    return str(error) if isinstance(error, PkiError) else f"{type(error).__name__}: {error}"
