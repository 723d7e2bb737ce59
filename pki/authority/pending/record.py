"""A pending revocation, and its form in the file: one line, with a hash of itself."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from cryptography import x509

from pki.errors import PkiError, StateError
from pki.x509.revocation import RevokedEntry

_VERSION = 1
_HASH = 64


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """A certificate that a pending revocation revokes.

    Args:
        issuer: the key identifier of its issuing CA, in hex, as lists name it.
        serial: its serial number, in lower-case hex.
        not_after: its end, in seconds since 1970.
        revoked_at: when it was revoked, in seconds since 1970.
    """

    issuer: str
    serial: str
    not_after: int
    revoked_at: int


@dataclass(frozen=True, slots=True)
class PendingRevocation:
    """A revocation that the ledger does not hold yet.

    Args:
        id: names it.
        at: when it was decided.
        actor: who asked for it, as the audit log names them.
        serials: the serial numbers that were asked for, in lower-case hex.
        reason: as RFC 5280 writes it, e.g. ``keyCompromise``.
        whole_line: whether also that from which these were renewed.
        entries: all certificates that were revoked by it when it was decided.
    """

    id: str
    at: datetime
    actor: str
    serials: tuple[str, ...]
    reason: str
    whole_line: bool
    entries: tuple[PendingEntry, ...]

    @classmethod
    def make(
        cls,
        serials: Iterable[str],
        reason: x509.ReasonFlags,
        entries: Iterable[PendingEntry],
        *,
        at: datetime,
        actor: str,
        whole_line: bool,
    ) -> PendingRevocation:
        """Return a new one."""
        return cls(
            secrets.token_hex(16),
            at,
            actor,
            tuple(serials),
            reason.value,
            whole_line,
            tuple(entries),
        )

    def entries_of(self, key_id: bytes) -> Iterable[RevokedEntry]:
        """Yield the entries for an issuing CA's list."""
        for item in self.entries:
            if item.issuer == key_id.hex():
                yield RevokedEntry(int(item.serial, 16), self.at, x509.ReasonFlags(self.reason))

    def covers(self, other: PendingRevocation) -> bool:
        """Return whether another revocation adds nothing to this one."""
        is_as_grave = self.reason in {other.reason, x509.ReasonFlags.key_compromise.value}
        return (
            is_as_grave
            and (self.whole_line or not other.whole_line)
            and set(other.serials) <= set(self.serials)
            and other._certificates() <= self._certificates()
        )

    def _certificates(self) -> frozenset[tuple[str, str]]:
        return frozenset((item.issuer, item.serial) for item in self.entries)

    def to_line(self) -> bytes:
        """Return it as the file holds it."""
        document = {**asdict(self), "at": int(self.at.timestamp()), "version": _VERSION}
        text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        return sha256(text).hexdigest().encode() + b" " + text + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> PendingRevocation | None:
        """Read a line; None if it is not whole: its writer was interrupted.

        Raises:
            StateError: if it is whole, and not what this handfast writes.
        """
        digest, text = line[:_HASH], line[_HASH + 1 :].removesuffix(b"\n")
        if not line.endswith(b"\n") or sha256(text).hexdigest().encode() != digest:
            return None
        try:
            return cls._of_document(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError) as error:
            raise StateError(
                "a pending revocation is written in another way than this handfast writes it",
                remedy="Use the newer handfast that wrote it",
            ) from error

    @classmethod
    def _of_document(cls, values: Any) -> PendingRevocation:
        if values.pop("version") != _VERSION:
            raise ValueError("another version")
        record = cls(
            **{
                **values,
                "at": datetime.fromtimestamp(values["at"], tz=UTC),
                "serials": tuple(values["serials"]),
                "entries": tuple(PendingEntry(**item) for item in values["entries"]),
            }
        )
        x509.ReasonFlags(record.reason)
        for item in record.entries:
            bytes.fromhex(item.issuer)
        if any(int(item, 16) <= 0 for item in record._numbers()):
            raise ValueError("no serial number")
        return record

    def _numbers(self) -> Iterable[str]:
        return *self.serials, *(item.serial for item in self.entries)


@dataclass(frozen=True, slots=True)
class KnownRevocations:
    """What is pending, as far as it can be told.

    Args:
        records: the revocations, oldest first. They count whatever else can't be read.
        error: why there may be others; None if these are all.
    """

    records: tuple[PendingRevocation, ...]
    error: PkiError | None

    def whole(self) -> tuple[PendingRevocation, ...]:
        """Return the revocations, if these are all.

        Raises:
            StateError: if there may be others.
        """
        if self.error is not None:
            raise self.error
        return self.records
