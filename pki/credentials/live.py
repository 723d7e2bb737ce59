"""The credential in force: one value that is replaced whole, so nobody sees half of a change.

Credential and revocation lists are looked at apart from each other, by different threads: a source
whose certificate can't be fetched holds up no revocation.

What can't be read on this machine any more, whatever the cause, counts for ``read_grace`` yet. Then
nobody can tell what has been revoked, and everybody is refused. A source that is elsewhere may be
cut off from its CA for longer: its lists count to their own end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

import grpc

from pki.access.counters import ReloadResult, ReloadStats
from pki.access.snapshot import OnDisk
from pki.background import defer
from pki.clock import Clock
from pki.credentials.loader import CredentialLoader, half_life_passed
from pki.credentials.source import Source
from pki.errors import InputError, PkiError, UnreadableError
from pki.keys import private_key_to_pem
from pki.x509 import ChainVerifier, Credential, CrlSet, Purpose, RevocationMode
from pki.x509.peer_chain import PeerChain
from pki.x509.readers import to_pem

log = logging.getLogger("handfast.rpc")

_MOST_TOLD = 100


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A credential in force, with what follows from it."""

    credential: Credential
    verifier: ChainVerifier
    server_configuration: grpc.ServerCertificateConfiguration


class CurrentCredential:
    """Takes in what a source holds, and says what is in force of it.

    Args:
        source: gives the credential.
        clock: gives the time.
        read_grace: how long what is in force counts while it can't be read again.
        graces: gives the graces for stale lists of the policies in force.
        changed: called after each change, by the thread that brought it.
        monotonic: gives seconds that only grow.

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
        # A source of the user's own may not know the question: it is taken for one elsewhere.
        self._is_local = bool(getattr(source, "is_local", False))
        # Asked once: nothing that a source says later relaxes the user's word, or keeps lists that
        # nobody can read from being withheld.
        self._mode, self._name = source.revocation, source.name
        self._intake = CredentialLoader(source)
        self._clock, self._monotonic = clock, monotonic
        self._read_grace = read_grace
        self._graces = graces
        self._changed = changed
        self._lock = threading.RLock()
        self._closed = False
        self._withheld = ""
        self._failing: dict[str, str] = {}
        self._told: set[str] = set()
        now = clock()
        self.reloads, self.crl_reloads = ReloadStats(now), ReloadStats(now)
        credential = self._intake.first(now)
        self._crls_read = monotonic()
        self._kept = self._intake.remembered
        self._live = self._made(credential, None)
        self._own = PeerChain(credential.chain, Purpose.SERVER)
        self.keep_crls()

    @property
    def live(self) -> Snapshot:
        """What is in force now."""
        return self._live

    @property
    def on_disk(self) -> OnDisk:
        """What the source gave last, accepted or not."""
        return self._intake.on_disk or OnDisk.of(self._live.credential)

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes calls fail, or will if nothing is done; empty if all is well."""
        own = self.own_problem()
        failing = list(self._failing.values())
        return (*([own] if own else []), *failing)

    def own_problem(self) -> str:
        """Return why peers would refuse our own certificate, or we would refuse everybody."""
        error = self._own.error(self._live.verifier, self._clock())
        return f"own certificate would be refused: {error}" if error else ""

    def look_at_credential(self) -> bool:
        """Take in what the source holds; return whether all of it was good."""
        try:
            loaded = self._intake.load()
            now = self._clock()
            with self._lock:
                before = self._live.credential
                found, refused = self._intake.next(loaded, before, now)
                is_new = self._put(found)
                if loaded.crls is not None:
                    self._crls_read = self._monotonic()
        except BaseException as error:
            # What ends programs too (a cancelled task, SystemExit), and what is no credential.
            return self._note("credential", self.reloads, _words_of(error), is_new=False)
        if is_new:
            self._changed()
            self._tell_of_change(before, found)
        return self._note("credential", self.reloads, refused, is_new=is_new)

    def look_at_crls(self) -> bool:
        """Take in the revocation lists alone; return whether all of them were good."""
        refused, is_new = "", False
        try:
            crls = self._source.crls()
            is_new, refused = self._take_crls(crls)
            if crls is None and self._mode is RevocationMode.REQUIRED:
                # At the start there were some: what is revoked from now on would not be seen.
                refused = (
                    "there are none any more; those that were seen count to their end. Bring them "
                    "back: handfast renew DIR"
                )
        except UnreadableError as error:
            refused = _words_of(error)
        except InputError as error:
            # Read, and malformed: the last good ones count to their end.
            self._crls_were_read()
            refused = _words_of(error)
        except BaseException as error:
            # What ends programs too (a cancelled task, SystemExit), and what is no list.
            refused = _words_of(error)
        self._warn_of_end()
        return self._note("revocation lists", self.crl_reloads, refused, is_new=is_new)

    def keep_crls(self) -> None:
        """Have the source keep the newest lists, so that nobody goes back behind them."""
        crls = self._live.credential.crls
        if crls is not None and crls is not self._kept:
            self._source.remember(crls)
            self._kept = crls

    def tick(self) -> bool:
        """Withhold lists that nobody can read any more; return whether that changed anything.

        It asks the source nothing: a source that never answers is one of the causes.
        """
        if not self._is_local:
            return False
        unread = self._monotonic() - self._crls_read
        if self._withheld or unread <= self._read_grace.total_seconds():
            return False
        with self._lock:
            self._withheld = (
                f"the revocation lists of {self._name} could not be read for more than "
                f"{self._read_grace.total_seconds():g} s: nobody can tell what was revoked"
            )
            self._live = self._made(self._live.credential, self._live)
        self._changed()
        defer(log.critical, "%s; every peer is refused", self._withheld)
        return True

    def policies_changed(self) -> None:
        """Judge by the graces that the policies in force set now."""
        with self._lock:
            self._live = self._made(self._live.credential, self._live)
        self._changed()

    def close(self) -> None:
        """Take nothing in any more."""
        with self._lock:
            self._closed = True

    def _take_crls(self, crls: CrlSet | None) -> tuple[bool, str]:
        with self._lock:
            found, refused = self._intake.next_crls(crls, self._live.credential)
            is_new = self._put(found)
        self._crls_were_read()
        if is_new:
            self._changed()
            defer(log.info, "revocation lists reloaded")
        return is_new, refused

    def _crls_were_read(self) -> None:
        with self._lock:
            self._crls_read = self._monotonic()
            if not self._withheld:
                return
            self._withheld = ""
            self._live = self._made(self._live.credential, self._live)
        self._changed()
        defer(log.warning, "the revocation lists of %s can be read again", self._name)

    def _put(self, found: Credential) -> bool:
        """Put a credential in force; return whether it is another than the one before."""
        current = self._live.credential
        if self._closed or (
            found.chain == current.chain
            and found.bundle.roots == current.bundle.roots
            and found.crls is current.crls
        ):
            return False
        self._live = self._made(found, self._live)
        if found.chain != current.chain:
            self._own = PeerChain(found.chain, Purpose.SERVER)
        return True

    def _made(self, credential: Credential, before: Snapshot | None) -> Snapshot:
        verifier = ChainVerifier(
            credential.bundle,
            credential.crls,
            mode=self._mode,
            grace=min(self._graces(), default=timedelta(0)),
            withheld=self._withheld,
        )
        if (
            before is not None
            and before.credential.chain == credential.chain
            and before.credential.bundle.roots == credential.bundle.roots
        ):
            # The same object for as long as it is the same, so that ports see a change alone.
            return Snapshot(credential, verifier, before.server_configuration)
        configuration = grpc.ssl_server_certificate_configuration(
            [(private_key_to_pem(credential.key), to_pem(credential.chain))],
            credential.bundle.to_pem(),
        )
        return Snapshot(credential, verifier, configuration)

    def _note(self, what: str, reloads: ReloadStats, refused: str, *, is_new: bool) -> bool:
        reloads.note(ReloadResult.of(refused, is_new=is_new), self._clock())
        if refused:
            self._failing[what] = f"{what} of {self._name}: {refused}"
            self._tell_once(f"{what} refused, the one in use is kept: {refused}")
            return False
        self._failing.pop(what, None)
        return True

    def _tell_of_change(self, before: Credential, found: Credential) -> None:
        self._told.clear()
        if found.chain != before.chain or found.bundle.roots != before.bundle.roots:
            defer(log.info, "credential reloaded, serial %x in use", found.leaf.serial_number)

    def _warn_of_end(self) -> None:
        crls = self._live.credential.crls
        end = half_life_passed(crls, self._clock()) if crls else None
        if end is not None:
            self._tell_once(
                f"revocation lists are past half of their life and end at {end}: bring fresh ones"
            )

    def _tell_once(self, words: str) -> None:
        """Warn of something that stays so, until the credential or its lists change."""
        if words not in self._told:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add(words)
            defer(log.error, "%s", words)


def _words_of(error: BaseException) -> str:
    return str(error) if isinstance(error, PkiError) else f"{type(error).__name__}: {error}"
