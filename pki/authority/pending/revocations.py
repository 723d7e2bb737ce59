"""What is pending in this process and in the CA's folder, and the lists that were signed for it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path

from pki.authority.pending.file import KEPT, PendingFile
from pki.authority.pending.record import KnownRevocations, PendingEntry, PendingRevocation
from pki.errors import NotPermittedError, PendingRevocationError, PkiError
from pki.x509 import Crl, CrlSet
from pki.x509.revocation import IssuerId


class PendingRevocations:
    """The revocations that the ledger does not hold yet.

    Args:
        folder: the CA's.
    """

    def __init__(self, folder: Path) -> None:
        self.file = PendingFile(folder)
        self._kept = PendingFile(folder, KEPT)
        self._last_kept: tuple[PendingRevocation, ...] = ()
        self._lock = threading.Lock()
        self._in_memory: dict[str, PendingRevocation] = {}
        self._lists: dict[IssuerId, Crl] = {}
        self.lists_used = 0
        """How often a list has taken the place of the ledger's."""

    def add(self, record: PendingRevocation) -> PkiError | None:
        """Keep a revocation; return why it is in memory alone, if it is.

        One that is kept already is not kept twice: who repeats it does not fill the disk.
        """
        if any(item.covers(record) for item in self.file.known().records):
            return None
        with self._lock:
            kept = (item for item in self._in_memory.values() if item.covers(record))
            record = next(kept, record)
            self._in_memory[record.id] = record
        try:
            self.file.append(record)
        except PkiError as error:
            return error
        with self._lock:
            self._in_memory.pop(record.id, None)
        return None

    def known(self) -> KnownRevocations:
        """Return what is pending as far as it can be told: what is in memory at least.

        A file that can't be read hides nothing else: what is known is announced and listed.
        """
        in_memory, on_disk = self.in_memory(), self.file.known()
        found = {item.id: item for item in (*on_disk.records, *in_memory)}
        records = tuple(sorted(found.values(), key=lambda item: item.at))
        return KnownRevocations(records, on_disk.error)

    def in_memory(self) -> tuple[PendingRevocation, ...]:
        """Return what would be lost with this process."""
        with self._lock:
            return tuple(self._in_memory.values())

    def is_empty(self) -> bool:
        """Return whether nothing is pending.

        Raises:
            StateError: if nothing is in memory, and the file can't be read.
        """
        return not self._in_memory and self.file.is_empty()

    def is_on_disk_alone(self) -> bool:
        """Return whether all that is pending is kept beyond the end of this process."""
        return not self._in_memory

    def forget(self, recorded: Collection[str]) -> None:
        """Forget what the ledger holds now.

        Args:
            recorded: the ids of the revocations.

        Raises:
            StateError: if the file can't be emptied.
        """
        with self._lock:
            for number in recorded:
                self._in_memory.pop(number, None)
        self.file.empty(recorded)

    def refuse_all(self) -> None:
        """Refuse to sign anything as long as a revocation is pending.

        Raises:
            PendingRevocationError: if one is.
            StateError: if the file can't be read.
        """
        if not self.is_empty():
            raise PendingRevocationError(
                "a revocation is not recorded in the ledger yet: nothing is signed before it is",
                remedy="See why the ledger can't be written: its disk, and who holds it (fuser)",
            )

    def refuse(self, serial: str) -> None:
        """Refuse a certificate whose revocation is pending.

        Raises:
            NotPermittedError: if it is.
            StateError: if the file can't be read.
        """
        if self.holds(serial):
            raise NotPermittedError(f"certificate {serial} was revoked")

    def holds(self, serial: str) -> bool:
        """Return whether a certificate's revocation is pending.

        Raises:
            StateError: if it is not known to be, and the file can't be read.
        """
        known = self.known()
        if any(item.serial == serial for record in known.records for item in record.entries):
            return True
        known.whole()
        return False

    def keep(self, record: PendingRevocation) -> None:
        """Keep a revocation that the ledger can't record, because it does not know its issuer.

        Unlike what is pending, it hinders nothing: nobody can sign or renew under that issuer here.

        Raises:
            StateError: if it can't be written.
        """
        if not any(item.covers(record) for item in self._kept.known().records):
            self._kept.append(record)

    def kept(self, *, now: datetime) -> tuple[PendingEntry, ...]:
        """Return the certificates of unknown issuers that are revoked, and have not ended."""
        known = self._kept.known()
        if known.error is None:
            self._last_kept = known.records
        # What was known stays known if the file can't be read any more.
        records = {item.id: item for item in (*self._last_kept, *known.records)}
        return tuple(
            entry
            for record in records.values()
            for entry in record.entries
            if entry.not_after >= now.timestamp()
        )

    def carried(self, crls: CrlSet, published: CrlSet | None, *, now: datetime) -> CrlSet:
        """Return the ledger's lists, with the published ones of unknown issuers that are needed.

        Nobody here can verify or replace those. They lie where the CA alone writes, and whoever
        gets them verifies them.
        """
        key_ids = {item.issuer for item in self.kept(now=now)}
        others = published.crls.items() if published is not None and key_ids else ()
        carried = [
            crl for name, crl in others if name not in crls.crls and name.key_id.hex() in key_ids
        ]
        return CrlSet.of([*crls.crls.values(), *carried]) if carried else crls

    def use_list(self, crl: Crl) -> None:
        """Let a list that was signed for what is pending take the place of the ledger's."""
        with self._lock:
            self._lists[crl.issuer] = crl
            self.lists_used += 1

    def lists(self) -> Mapping[IssuerId, Crl]:
        """Return the lists that were signed for what is pending."""
        with self._lock:
            return dict(self._lists)

    def newest(self, crls: Iterable[Crl]) -> CrlSet:
        """Return the ledger's lists, or those that were signed since for what is pending."""
        lists = self.lists()
        chosen: list[Crl] = []
        for item in crls:
            other = lists.get(item.issuer)
            chosen.append(other if other is not None and other.number > item.number else item)
        return CrlSet.of(chosen)
