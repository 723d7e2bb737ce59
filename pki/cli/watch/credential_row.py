"""What the dashboard says of one credential at a time; no drawing, and no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pki.errors import PkiError, quote_untrusted
from pki.inspection.formatting import format_relative_briefly, quote_if_unsafe
from pki.x509 import Credential, read_names

_LATE = 0.25  # the part of the lifetime that is left when a renewal is late


class State(StrEnum):
    """The state of a credential."""

    GOOD = "good"
    DUE = "due"
    UNSAFE = "unsafe"
    """It is valid, but others may read its key or change its files."""
    LATE = "late"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class ReadCredential:
    """What was read of one credential directory.

    Args:
        name: its path below the folder that is watched.
        credential: the credential; None if it can't be used.
        problem: why it can't be used; empty if it can.
        changed_at: when its files changed last; None if that is unknown.
        warnings: why ``renew`` and services with the key mode ``strict`` refuse its files.
    """

    name: str
    credential: Credential | None
    problem: str = ""
    changed_at: datetime | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A credential as the dashboard shows it.

    Args:
        name: its directory.
        workload: its SPIFFE ID, or first other name.
        serial: its serial number, lower-case hex.
        state: its state.
        not_after: the end of its leaf; None if unknown.
        life_left: the part of its lifetime that is left, 0 to 1.
        renewal_from: when it should be renewed: at half of its lifetime.
        changed_at: when its files changed last.
        crls: until when its revocation lists are valid, as a text.
        problem: what is wrong; empty if nothing is.
    """

    name: str
    workload: str = "-"
    serial: str = "-"
    state: State = State.BAD
    not_after: datetime | None = None
    life_left: float = 0.0
    renewal_from: datetime | None = None
    changed_at: datetime | None = None
    crls: str = "-"
    problem: str = ""


def credential_row(read: ReadCredential, now: datetime) -> CredentialRow:
    """Return the row of a credential at a time."""
    credential = read.credential
    if credential is None:
        return CredentialRow(read.name, changed_at=read.changed_at, problem=read.problem)
    leaf = credential.leaf
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    life = max(end - begin, timedelta(seconds=1))
    left = min(1.0, max(0.0, (end - now) / life))
    half = begin + life / 2
    crls, stale = _crls(credential, now)
    revoked, ca_problem = _is_revoked(credential), _ca_problem(credential, now)
    problem, state = "", State.GOOD
    if end < now:
        problem, state = f"expired {format_relative_briefly(end, now)}", State.BAD
    elif begin > now:
        problem, state = f"valid only {format_relative_briefly(begin, now)}", State.BAD
    elif ca_problem:
        problem, state = ca_problem, State.BAD
    elif revoked:
        problem, state = "revoked", State.BAD
    elif stale:
        problem, state = f"its CRLs {crls}", State.BAD
    elif left < _LATE:
        problem, state = (
            f"renewal is late: it was due {format_relative_briefly(half, now)}",
            State.LATE,
        )
    elif read.warnings:
        problem, state = file_warning(read.warnings[0]), State.UNSAFE
    elif now > half:
        state = State.DUE
    return CredentialRow(
        read.name,
        _workload(credential),
        f"{leaf.serial_number:x}",
        state,
        end,
        left,
        half,
        read.changed_at,
        crls,
        problem,
    )


def file_warning(warning: str) -> str:
    """Return a warning about a file with the file's name alone: the row names its folder."""
    return warning.rpartition("/")[2].replace("'", "", 1)


def _workload(credential: Credential) -> str:
    try:
        names = read_names(credential.leaf)
    except PkiError as error:
        return quote_untrusted(error.message)
    held = [*names.uris, *map(str, names.dns_names), *map(str, names.ip_addresses)]
    return quote_if_unsafe(held[0]) if held else quote_if_unsafe(names.subject, allow_letters=True)


def _crls(credential: Credential, now: datetime) -> tuple[str, bool]:
    if credential.crls is None or not credential.crls.crls:
        return "none", False
    end = min(item.next_update for item in credential.crls.crls.values())
    if end < now:
        return f"became stale {format_relative_briefly(end, now)}", True
    return f"stale {format_relative_briefly(end, now)}", False


def _ca_problem(credential: Credential, now: datetime) -> str:
    """Return why peers refuse a leaf for the times of the CAs above it; empty if they do not."""
    for item in credential.chain[1:]:
        if item.not_valid_after_utc < now:
            return (
                f"its issuing CA expired {format_relative_briefly(item.not_valid_after_utc, now)}"
            )
        if item.not_valid_before_utc > now:
            begin = format_relative_briefly(item.not_valid_before_utc, now)
            return f"its issuing CA is valid only {begin}"
    roots = [item for roots in credential.bundle.roots.values() for item in roots]
    if all(item.not_valid_after_utc < now for item in roots):
        return "every root of its bundle has expired"
    return ""


def _is_revoked(credential: Credential) -> bool:
    if credential.crls is None:
        return False
    return any(
        (crl := credential.crls.crl_for(item)) is not None and item.serial_number in crl.revoked
        for item in credential.chain
    )
