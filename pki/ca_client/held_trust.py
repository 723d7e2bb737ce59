"""What an identity trusts: the newest signed bundle, and the revocation lists in force.

What comes counts at once. A thread of its own writes it down afterwards, so that no disk holds up
what comes next; it writes the newest of all, so the files never go back either, and tries again
until they are written.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from cryptography import x509

from pki.background import defer
from pki.ca_client.bundles import Anchor, newest_bundle_at
from pki.ca_client.newest_lists import newest_lists_at
from pki.ca_client.received import Received
from pki.ca_client.storage.announced_store import AnnouncedUntil, still_needed
from pki.ca_client.storage.identity_store import IdentityStore, Stored
from pki.clock import Clock
from pki.credentials.periodic import PeriodicTask
from pki.errors import PkiError, quote_untrusted
from pki.x509 import CrlSet, TrustBundle
from pki.x509.bundle_chain import BundleRefusedError, SignedBundle

log = logging.getLogger("handfast.ca_client")

_CATCH_UP_SECONDS = 5.0
_WRITE_AGAIN_SECONDS, _END_SECONDS = 5.0, 2.0


class HeldTrust:
    """The trust of one identity.

    Args:
        store: where it is written down.
        stored: as it was written down: its lists count, and its roots of other trust domains too.
        clock: returns the time.
        changed: called after each change, outside all locks.
    """

    def __init__(
        self,
        store: IdentityStore,
        stored: Stored,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._anchor = stored.anchor
        self._bundle = stored.credential.bundle
        # With what was announced, from the first moment.
        self._lists = (stored.credential.crls or CrlSet.none()).announce(stored.announced)
        self._announced = self._kept = dict(stored.announced)
        self._issuing = stored.credential.chain[1:]
        self._clock = clock
        self._changed = changed
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._told = self._not_written = ""
        # By the stream, which sends the lists of a bundle after it.
        self._streamed = self._settled = 0
        self.complete_number = 0
        """The number of the newest bundle that is on disk with its lists; 0 for none."""
        self._is_written = self._are_announced_written = True
        self._writer = PeriodicTask(_WRITE_AGAIN_SECONDS, self._write, "handfast-trust-writer")

    def start(self) -> None:
        """Write down what comes from now on."""
        self._writer.start()

    def stop(self) -> None:
        """Write down what is not yet, if that takes no longer than a moment."""
        self._writer.wait_done(self._writer.wake(), _END_SECONDS)
        self._writer.stop(_END_SECONDS)

    @property
    def anchor(self) -> Anchor:
        """The roots, and the signed bundle that they come from if there is one."""
        return self._anchor

    @property
    def bundle(self) -> TrustBundle:
        """The trusted roots."""
        return self._bundle

    @property
    def lists(self) -> CrlSet:
        """The lists in force."""
        return self._lists

    @property
    def refused(self) -> str:
        """Why the CA's newest bundle is not trusted here; empty if it is."""
        return self._told

    @property
    def directory(self) -> str:
        """Where it is kept, quoted for a message."""
        return quote_untrusted(self._store.directory)

    def accept(
        self,
        crls: CrlSet,
        announced: AnnouncedUntil | None = None,
        *,
        issuers: Sequence[x509.Certificate] = (),
    ) -> bool:
        """Put newer lists, and revocations that are on no list yet, in force.

        Args:
            crls: the lists.
            announced: the revocations.
            issuers: trusted CAs, besides the own issuing CA and the roots.

        Returns:
            Whether something is new.
        """
        announced = announced or {}
        with self._lock:
            issuers = (*self._issuers(), *issuers)
            merged, refused = self._lists.merge_newer(crls, issuers=issuers)
            merged = merged.announce(announced)
            is_new = merged != self._lists
            self._lists = merged
            if is_new:
                self._announced = {**self._announced, **announced}
        if is_new:
            self._changed()
            self._write_soon(trust=bool(crls.crls))
        for line in refused:
            defer(log.error, "%s", line)
        return is_new

    def accept_bundles(self, bundles: Sequence[bytes]) -> None:
        """Follow signed bundles, and trust the newest from now on.

        One that is refused is told; what was trusted stays in force.
        """
        try:
            parsed = [SignedBundle.read(data) for data in bundles]
            with self._lock:
                newest = self._anchor.follow(parsed, now=self._clock())
                is_new = self._set(newest)
        except BundleRefusedError as error:
            self._refuse(error)
            return
        self._told = ""
        self._streamed = newest.number
        self._follow_up(is_new=is_new)

    def catch_up(self, address: str) -> bool:
        """Ask for what is newer where nobody has to be trusted; return whether there was something.

        The CA may show a certificate by now whose root came while we were away. And while lists are
        not valid, no connection to the CA is accepted that could bring new ones.

        Args:
            address: where the CA takes enrollments.
        """
        are_bundles_new = self._catch_up_bundles(address)
        return self._catch_up_lists(address) or are_bundles_new

    def _catch_up_bundles(self, address: str) -> bool:
        now = self._clock()
        try:
            newest = newest_bundle_at(address, self._anchor, now=now, seconds=_CATCH_UP_SECONDS)
        except BundleRefusedError as error:
            self._refuse(error)
        except PkiError as error:
            defer(log.info, "the CA could not be asked for its trust bundles: %s", error)
        else:
            return self.adopt(newest)
        return False

    def _catch_up_lists(self, address: str) -> bool:
        now = self._clock()
        # A list that has not begun was signed while the CA's clock was ahead.
        if all(crl.this_update <= now <= crl.next_update for crl in self._lists.crls.values()):
            return False
        return self.fetch_lists(address)

    def fetch_lists(self, address: str) -> bool:
        """Ask for newer lists where nobody has to be trusted; return whether there was something.

        Args:
            address: where the CA takes enrollments.
        """
        now, present = self._clock(), self._lists
        try:
            fetched = newest_lists_at(
                address, self._anchor, present, now=now, seconds=_CATCH_UP_SECONDS
            )
            crls = fetched.of_known(self._issuers())
        except PkiError as error:
            defer(log.info, "the CA could not be asked for its revocation lists: %s", error)
            return False
        return self.accept(crls, issuers=fetched.issuers)

    def _issuers(self) -> tuple[x509.Certificate, ...]:
        return (*self._issuing, *self._bundle.all_roots())

    def adopt(self, anchor: Anchor) -> bool:
        """Trust a bundle that was followed from ours; return whether it is newer."""
        with self._lock:
            is_new = self._set(anchor)
        self._follow_up(is_new=is_new)
        return is_new

    def save(self, received: Received, *, new_recovery_key: bool) -> None:
        """Write down what the CA handed out, with the newest that is trusted."""
        self._issuing = received.credential.chain[1:]
        if received.credential.crls is not None:
            self.accept(received.credential.crls)
        # The roots first: by them the directory is known as one of this CA.
        self._write()
        with self._writing:
            self._store.save(
                received,
                new_recovery_key=new_recovery_key,
                anchor=self._anchor,
                bundle=self._bundle,
                # Not those of the answer alone: there are those of other trust domains too.
                crls=self._lists,
            )

    def settle(self) -> None:
        """Know that everything came that is in force at the CA, so also the bundle's lists."""
        if self._settled != self._streamed:
            self._settled = self._streamed
            self._write_soon()

    def _refuse(self, error: BundleRefusedError) -> None:
        """Tell once that a bundle was refused; what was trusted stays in force."""
        if str(error) != self._told:
            self._told = str(error)
            defer(log.error, "a trust bundle of the CA was refused: %s", error)

    def _follow_up(self, *, is_new: bool) -> None:
        if is_new:
            self._changed()
            self._write_soon()

    def _set(self, anchor: Anchor) -> bool:
        if anchor.bundle is None or anchor.number <= self._anchor.number:
            return False
        self._anchor, self._bundle = anchor, anchor.trust(beside=self._bundle)
        defer(log.info, "trust bundle %d is in force", anchor.number)
        return True

    def _write_soon(self, *, trust: bool = True) -> None:
        """Let the writer run.

        Args:
            trust: whether bundle or lists changed; else announcements alone.
        """
        if trust:
            self._is_written = False
        self._are_announced_written = False
        self._writer.wake()

    def _write(self) -> None:
        if self._is_written and self._are_announced_written:
            return
        with self._writing:
            try:
                self._write_all()
            except Exception as error:
                self._are_announced_written = False
                if str(error) != self._not_written:
                    self._not_written = str(error)
                    defer(log.error, "what is trusted could not be written down: %s", error)
            else:
                self._not_written = ""

    def _write_all(self) -> None:
        # First: what changes from here on is written by the next run.
        self._are_announced_written = True
        with self._lock:
            announced, lists = self._announced, self._lists
        if announced != self._kept:
            self._store.save_announced(announced)
            self._kept = announced
        if not self._is_written:
            self._is_written, settled = True, self._settled
            try:
                self._store.save_trust(self._anchor, self._bundle, self._lists)
            except BaseException:
                self._is_written = False
                raise
            self.complete_number = settled
        # Only once the lists are on disk that hold the others.
        needed = still_needed(announced, lists.announced, now=self._clock())
        if needed != announced:
            with self._lock:
                gone = announced.keys() - needed.keys()
                self._announced = {
                    item: until for item, until in self._announced.items() if item not in gone
                }
            self._store.save_announced(needed)
            self._kept = needed
