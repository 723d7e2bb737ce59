"""What an identity trusts: the newest signed bundle, and the revocation lists in force.

What comes counts at once; it is written down afterwards. Only one writer is at work, and it writes
the newest of all, so the files never go back either.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from pki.background import defer
from pki.ca_client.announced_store import AnnouncedUntil, still_needed
from pki.ca_client.bundles import Anchor, newest_bundle_at
from pki.ca_client.received import Received
from pki.ca_client.store import IdentityStore, Stored
from pki.clock import Clock
from pki.errors import PkiError
from pki.x509 import CrlSet, TrustBundle
from pki.x509.bundle_chain import BundleRefusedError, SignedBundle

log = logging.getLogger("handfast.ca_client")

_CATCH_UP_SECONDS = 5.0


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
        self._announced = dict(stored.announced)
        self._issuing = stored.credential.chain[1:]
        self._clock = clock
        self._changed = changed
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._told = ""
        # By the stream, which sends the lists of a bundle after it.
        self._streamed = 0
        self.complete_number = 0
        """The number of the newest bundle whose lists are here too; 0 for none."""

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

    def accept(self, crls: CrlSet, announced: AnnouncedUntil | None = None) -> None:
        """Put newer lists, and revocations that are on no list yet, in force."""
        announced = announced or {}
        with self._lock:
            issuers = (*self._issuing, *self._bundle.all_roots())
            merged, refused = self._lists.merge_newer(crls, issuers=issuers)
            merged = merged.announce(announced)
            is_new = merged != self._lists
            self._lists = merged
        if is_new:
            self._changed()
        for line in refused:
            defer(log.error, "%s", line)
        if is_new and crls.crls:
            self._write()
        if is_new:
            self._keep_announced(announced)

    def _keep_announced(self, announced: AnnouncedUntil) -> None:
        """Write down what no list holds yet, after the lists. It counts even if that fails."""
        with self._writing:
            before = self._announced
            self._announced = still_needed(
                {**before, **announced}, self._lists.announced, now=self._clock()
            )
            if self._announced == before:
                return
            try:
                self._store.save_announced(self._announced)
            except PkiError as error:
                defer(log.error, "an announced revocation could not be kept on disk: %s", error)

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
        if is_new:
            self._changed()
            self._write()

    def catch_up(self, address: str) -> bool:
        """Ask for newer bundles where nobody has to be trusted; return whether there were some.

        The CA may show a certificate by now whose root came while we were away.

        Args:
            address: where the CA takes enrollments.
        """
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

    def adopt(self, anchor: Anchor) -> bool:
        """Trust a bundle that was followed from ours; return whether it is newer."""
        with self._lock:
            is_new = self._set(anchor)
        if is_new:
            self._changed()
            self._write()
        return is_new

    def save(self, received: Received, *, new_recovery_key: bool) -> None:
        """Write down what the CA handed out, with the newest that is trusted."""
        self._issuing = received.credential.chain[1:]
        with self._writing:
            self._store.save(
                received,
                new_recovery_key=new_recovery_key,
                anchor=self._anchor,
                bundle=self._bundle,
            )

    def settle(self) -> None:
        """Know that everything came that is in force at the CA, so also the bundle's lists."""
        self.complete_number = self._streamed

    def _refuse(self, error: BundleRefusedError) -> None:
        """Tell once that a bundle was refused; what was trusted stays in force."""
        if str(error) != self._told:
            self._told = str(error)
            defer(log.error, "a trust bundle of the CA was refused: %s", error)

    def _set(self, anchor: Anchor) -> bool:
        if anchor.bundle is None or anchor.number <= self._anchor.number:
            return False
        self._anchor, self._bundle = anchor, anchor.trust(beside=self._bundle)
        defer(log.info, "trust bundle %d is in force", anchor.number)
        return True

    def _write(self) -> None:
        with self._writing:
            # Read in the lock: it may have changed while another writer was at work.
            self._store.save_trust(self._anchor, self._bundle, self._lists)
