"""What the dashboard of ``handfast watch`` says, from what was read and the time; no drawing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from pki.authority.ledger.records import CertificateRecord, IssuerRecord
from pki.errors import PkiError, quote_untrusted
from pki.inspection.report_item import plain, relative_briefly
from pki.x509 import Credential, read_names

_MOST_EVENTS = 8
_LATE = 0.25  # of a life that is left: renewal should have happened long before
_SOON = timedelta(hours=24)


class State(StrEnum):
    """How a row is."""

    GOOD = "good"
    DUE = "due"
    LATE = "late"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of one credential directory.

    Args:
        name: its path below what is watched.
        credential: what it holds; None if it can't be used.
        problem: why it can't; empty if it can.
        changed_at: when its files changed last; None if that can't be told.
    """

    name: str
    credential: Credential | None
    problem: str = ""
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A credential as the dashboard shows it.

    Args:
        name: its directory.
        workload: its SPIFFE ID, or first other name.
        serial: its serial number, lower-case hex.
        state: how it is.
        until: the end of its leaf.
        left: how much of its life is left, 0 to 1.
        renewal_from: when it should be renewed: half of its life.
        renewed_at: when its files changed last.
        crls: how its revocation lists are, in words.
        problem: what is wrong; empty if nothing is.
    """

    name: str
    workload: str = "-"
    serial: str = "-"
    state: State = State.BAD
    until: datetime | None = None
    left: float = 0.0
    renewal_from: datetime | None = None
    renewed_at: datetime | None = None
    crls: str = "-"
    problem: str = ""


def credential_row(found: Found, now: datetime) -> CredentialRow:
    """Say how a credential is at a time."""
    credential = found.credential
    if credential is None:
        return CredentialRow(found.name, renewed_at=found.changed_at, problem=found.problem)
    leaf = credential.leaf
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    life = max(end - begin, timedelta(seconds=1))
    left = min(1.0, max(0.0, (end - now) / life))
    half = begin + life / 2
    crls, stale = _crls(credential, now)
    revoked, above = _revoked(credential), _above(credential, now)
    problem, state = "", State.GOOD
    if end < now:
        problem, state = f"expired {relative_briefly(end, now)}", State.BAD
    elif begin > now:
        problem, state = f"valid only {relative_briefly(begin, now)}", State.BAD
    elif above:
        problem, state = above, State.BAD
    elif revoked:
        problem, state = "revoked by its own list", State.BAD
    elif stale:
        problem, state = f"its lists {crls}", State.BAD
    elif left < _LATE:
        problem, state = f"renewal is late: it was due {relative_briefly(half, now)}", State.LATE
    elif now > half:
        state = State.DUE
    return CredentialRow(
        found.name,
        _workload(credential),
        f"{leaf.serial_number:x}",
        state,
        end,
        left,
        half,
        found.changed_at,
        crls,
        problem,
    )


def _workload(credential: Credential) -> str:
    try:
        names = read_names(credential.leaf)
    except PkiError as error:
        return quote_untrusted(error.message)
    held = [*names.uris, *map(str, names.dns_names), *map(str, names.ip_addresses)]
    return plain(held[0]) if held else plain(names.subject, letters=True)


def _crls(credential: Credential, now: datetime) -> tuple[str, bool]:
    if credential.crls is None or not credential.crls.crls:
        return "none", False
    end = min(item.next_update for item in credential.crls.crls.values())
    if end < now:
        return f"ended {relative_briefly(end, now)}", True
    return f"end {relative_briefly(end, now)}", False


def _above(credential: Credential, now: datetime) -> str:
    """Say what is wrong with the times of the CAs above a leaf: peers refuse it for theirs too."""
    for item in credential.chain[1:]:
        if item.not_valid_after_utc < now:
            return f"its issuing CA expired {relative_briefly(item.not_valid_after_utc, now)}"
        if item.not_valid_before_utc > now:
            return (
                f"its issuing CA is valid only {relative_briefly(item.not_valid_before_utc, now)}"
            )
    roots = [item for roots in credential.bundle.roots.values() for item in roots]
    if all(item.not_valid_after_utc < now for item in roots):
        return "every root of its bundle has expired"
    return ""


def _revoked(credential: Credential) -> bool:
    if credential.crls is None:
        return False
    return any(
        (found := credential.crls.crl_for(item)) is not None and item.serial_number in found.revoked
        for item in credential.chain
    )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened while it was watched."""

    at: datetime
    name: str
    words: str


@dataclass(slots=True)
class History:
    """What happened while it was watched, the latest last; and what stood there before."""

    events: list[Event] = field(default_factory=list)
    _before: dict[str, tuple[str, str]] = field(default_factory=dict)

    def take(self, rows: Iterable[CredentialRow], now: datetime) -> bool:
        """Compare with what stood before; tell whether anything is another."""
        rows = list(rows)
        seen = {row.name: (row.serial, row.problem.partition(" ")[0]) for row in rows}
        if not self._before:
            self._before = seen
            return True
        changed = False
        for row in rows:
            before = self._before.get(row.name)
            if before == seen[row.name]:
                continue
            changed = True
            if before is None:
                words = "appeared"
            elif before[0] != row.serial and row.state is not State.BAD:
                words = f"renewed: {row.serial[:8]}.."
            elif row.problem:
                words = row.problem
            else:
                words = "is well again"
            self._add(Event(now, row.name, words))
        for name in self._before.keys() - seen.keys():
            changed = True
            self._add(Event(now, name, "is gone"))
        self._before = seen
        return changed

    def _add(self, event: Event) -> None:
        self.events = [*self.events, event][-_MOST_EVENTS:]


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What the dashboard says of a CA's ledger.

    Args:
        issuers: the CA's own certificates.
        in_force: certificates that are good, those that end first first.
        soon: how many of them end within a day.
        revoked: the latest that were revoked.
        issued: the latest that were issued.
    """

    issuers: tuple[IssuerRecord, ...]
    in_force: tuple[CertificateRecord, ...]
    soon: int
    revoked: tuple[CertificateRecord, ...]
    issued: tuple[CertificateRecord, ...]


def ledger_view(
    issuers: Sequence[IssuerRecord], records: Sequence[CertificateRecord], now: datetime
) -> LedgerView:
    """Say what matters of a ledger at a time.

    Args:
        issuers: all CA certificates.
        records: all certificates, those too that have ended.
        now: the time, aware.
    """
    in_force = sorted(
        (item for item in records if item.revoked_at is None and item.not_after >= now),
        key=lambda item: item.not_after,
    )
    revoked = [item for item in records if item.revoked_at is not None]
    revoked.sort(key=lambda item: str(item.revoked_at), reverse=True)
    return LedgerView(
        tuple(issuers),
        tuple(in_force),
        sum(item.not_after < now + _SOON for item in in_force),
        tuple(revoked[:_MOST_EVENTS]),
        tuple(list(records)[-_MOST_EVENTS:][::-1]),
    )
