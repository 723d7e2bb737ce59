"""Replays recorded decisions against two policies: which calls of yesterday would change.

A line of the decision log holds the caller's SPIFFE ID. Its DNS name and subject are derived from
that, as handfast's own profile derives them; what a certificate of another profile held besides is
in no log. Lines that were refused before the policy was asked (revoked, expired, ...) are counted
and left out, and so are those in which a limit left calls out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from pki.authz.decision import Decision, Reason
from pki.authz.policy import Policy
from pki.authz.principal import Principal
from pki.errors import InputError
from pki.identity import SpiffeId, derive_names

_ASKED = {Reason.ALLOWED.value, Reason.NO_ROLE.value, Reason.METHOD_NOT_GRANTED.value}
_MOST_CALLS = 100_000
_MOST_NAMED = 20
LONGEST_LINE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """A call as the log holds it: who and what."""

    peer: str
    method: str


@dataclass(slots=True)
class Times:
    """How often a call was recorded, and when first and last, as the log writes times."""

    count: int = 0
    first: str = ""
    last: str = ""

    def add(self, timestamp: str) -> None:
        """Count one more."""
        self.count += 1
        self.first = min(self.first, timestamp) if self.first else timestamp
        self.last = max(self.last, timestamp)


@dataclass(slots=True)
class Recorded:
    """What was read of a log.

    Args:
        calls: each call, how often and when.
        not_asked: lines that were refused before a policy was asked.
        left_out: calls that a limit kept out of the log.
        bad: numbers of lines that are none of the log, the first twenty.
        bad_count: how many there are.
        lines: how many lines are of the log, whatever they say.
    """

    calls: dict[Call, Times] = field(default_factory=dict)
    not_asked: int = 0
    left_out: int = 0
    bad: list[int] = field(default_factory=list)
    bad_count: int = 0
    lines: int = 0

    def take(self, number: int, line: str) -> None:
        """Take in a line of the log."""
        if not line.strip():
            return
        try:
            found = json.loads(line) if len(line) <= LONGEST_LINE else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self._is_bad(number)
            return
        suppressed = found.get("suppressed", 0)
        if isinstance(suppressed, int):
            self.left_out += suppressed
        if "rpc_method" not in found:
            # A summary of what was left out.
            if "suppressed" not in found:
                self._is_bad(number)
            else:
                self.lines += 1
            return
        values = [found.get(key) for key in ("principal", "rpc_method", "reason", "timestamp")]
        if not all(isinstance(item, str) for item in values):
            self._is_bad(number)
            return
        self.lines += 1
        peer, method, reason, timestamp = (str(item) for item in values)
        if reason not in _ASKED or not peer:
            self.not_asked += 1
            return
        call = Call(peer, method)
        if call not in self.calls and len(self.calls) >= _MOST_CALLS:
            raise InputError(
                f"the log holds more than {_MOST_CALLS} different calls",
                remedy="Replay a part of it",
            )
        self.calls.setdefault(call, Times()).add(timestamp)

    def _is_bad(self, number: int) -> None:
        self.bad_count += 1
        if len(self.bad) < _MOST_NAMED:
            self.bad.append(number)


def read_recorded(lines: Iterable[str]) -> Recorded:
    """Read the lines of a decision log, one after the other."""
    recorded = Recorded()
    for number, line in enumerate(lines, start=1):
        recorded.take(number, line)
    return recorded


@dataclass(frozen=True, slots=True)
class Change:
    """A call that two policies decide differently.

    Args:
        call: which.
        times: how often it was recorded.
        old: what the old policy says.
        new: what the new one says.
    """

    call: Call
    times: Times
    old: Decision
    new: Decision

    @property
    def is_refused(self) -> bool:
        """Whether the new policy stops it; else it newly lets it through."""
        return not goes_through(self.new)


def goes_through(decision: Decision) -> bool:
    """Return whether a call goes through, be it only because its refusal is not enforced."""
    return decision.allowed or decision.audited


def replay(old: Policy, new: Policy, recorded: Recorded) -> tuple[Change, ...]:
    """Decide each recorded call by both policies; give those that differ, refused ones first."""
    changes = []
    principals: dict[str, Principal | None] = {}
    for call, times in recorded.calls.items():
        if call.peer not in principals:
            principals[call.peer] = _principal(call.peer)
        principal = principals[call.peer]
        if principal is None:
            continue
        before, after = old.decide(principal, call.method), new.decide(principal, call.method)
        if goes_through(before) != goes_through(after):
            changes.append(Change(call, times, before, after))
    return tuple(
        sorted(
            changes,
            key=lambda item: (
                not item.is_refused,
                -item.times.count,
                item.call.peer,
                item.call.method,
            ),
        )
    )


def _principal(peer: str) -> Principal | None:
    try:
        spiffe_id = SpiffeId.parse(peer)
    except InputError:
        return None
    derived = derive_names(spiffe_id)
    dns = frozenset({derived.dns} if derived.dns else ())
    return Principal(spiffe_id, dns, derived.subject)


@dataclass(frozen=True, slots=True)
class Difference:
    """What is written in one of two policies and not in the other, as words; sorted."""

    gone: tuple[str, ...]
    come: tuple[str, ...]


def difference(old: Policy, new: Policy) -> Difference:
    """Compare what two policies say, wherever it stands in the file."""
    before, after = _statements(old), _statements(new)
    return Difference(tuple(sorted(before - after)), tuple(sorted(after - before)))


def _statements(policy: Policy) -> set[str]:
    rules = policy.rules
    said = {f"trust domain {policy.trust_domain.name}", f"enforce = {rules.enforce.enforce.value}"}
    said |= {f"{rule.text} has the role {rule.role}" for rule in rules.roles}
    for grant in rules.grants:
        scopes = f" ({' '.join(sorted(grant.scopes))})" if grant.scopes else ""
        said |= {
            f"{grant.role} may call /{item.service}/{item.method or '*'}{scopes}"
            for item in grant.methods
        }
    said |= {f"{item.role} answers {item.service}" for item in rules.served_by}
    said |= {
        f"refusals of /{pattern.service}/{pattern.method or '*'}: {rule.enforce.value}"
        for rule in rules.enforcement
        for pattern in rule.methods
    }
    return said
