"""Replay a decision log against two policies: which recorded calls would be decided differently.

A line of the decision log holds the caller's SPIFFE ID. The caller's DNS name and subject are
derived from it, as in handfast's workload profile; further names in a certificate of another
profile are not in the log. Calls that were refused before the policy was applied (revoked, expired,
...) are only counted, and so are calls that the log's rate limit suppressed.
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

_POLICY_REASONS = {Reason.ALLOWED.value, Reason.NO_ROLE.value, Reason.METHOD_NOT_GRANTED.value}
_MAX_CALLS = 100_000
_MAX_NAMED = 20
MAX_LINE_LENGTH = 64 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """A kind of call in the log: caller and method."""

    peer: str
    method: str


@dataclass(slots=True)
class Occurrences:
    """How often a kind of call was recorded, and its first and last time, as in the log."""

    count: int = 0
    first: str = ""
    last: str = ""

    def add(self, timestamp: str) -> None:
        """Count one more call."""
        self.count += 1
        self.first = min(self.first, timestamp) if self.first else timestamp
        self.last = max(self.last, timestamp)


@dataclass(slots=True)
class RecordedCalls:
    """The contents of a decision log.

    Args:
        calls: each kind of call, with how often and when.
        refused_before_policy: how many calls were refused before the policy was applied.
        suppressed: how many calls the rate limit kept out of the log.
        invalid_lines: the numbers of the first twenty lines that are not of a decision log.
        invalid: how many such lines there are.
        lines: how many lines are of a decision log.
    """

    calls: dict[Call, Occurrences] = field(default_factory=dict)
    refused_before_policy: int = 0
    suppressed: int = 0
    invalid_lines: list[int] = field(default_factory=list)
    invalid: int = 0
    lines: int = 0

    def add_line(self, number: int, line: str) -> None:
        """Add a line of the log."""
        if not line.strip():
            return
        try:
            entry = json.loads(line) if len(line) <= MAX_LINE_LENGTH else None
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            self._count_invalid(number)
            return
        suppressed = entry.get("suppressed", 0)
        if isinstance(suppressed, int):
            self.suppressed += suppressed
        if "rpc_method" not in entry:
            # A summary of suppressed calls.
            if "suppressed" not in entry:
                self._count_invalid(number)
            else:
                self.lines += 1
            return
        values = [entry.get(key) for key in ("principal", "rpc_method", "reason", "timestamp")]
        if not all(isinstance(item, str) for item in values):
            self._count_invalid(number)
            return
        self.lines += 1
        peer, method, reason, timestamp = (str(item) for item in values)
        if reason not in _POLICY_REASONS or not peer:
            self.refused_before_policy += 1
            return
        call = Call(peer, method)
        if call not in self.calls and len(self.calls) >= _MAX_CALLS:
            raise InputError(
                f"the log holds more than {_MAX_CALLS} different calls",
                remedy="Replay a part of it",
            )
        self.calls.setdefault(call, Occurrences()).add(timestamp)

    def _count_invalid(self, number: int) -> None:
        self.invalid += 1
        if len(self.invalid_lines) < _MAX_NAMED:
            self.invalid_lines.append(number)


def read_decision_log(lines: Iterable[str]) -> RecordedCalls:
    """Read the lines of a decision log."""
    recorded = RecordedCalls()
    for number, line in enumerate(lines, start=1):
        recorded.add_line(number, line)
    return recorded


@dataclass(frozen=True, slots=True)
class DecisionChange:
    """A call that two policies decide differently.

    Args:
        call: the kind of call.
        times: how often and when it was recorded.
        old: the old policy's decision.
        new: the new policy's decision.
    """

    call: Call
    times: Occurrences
    old: Decision
    new: Decision

    @property
    def newly_refused(self) -> bool:
        """Whether the new policy refuses the call; else it newly lets the call through."""
        return not goes_through(self.new)


def goes_through(decision: Decision) -> bool:
    """Return whether a call goes through: allowed, or refused without enforcement."""
    return decision.allowed or decision.audited


def replay(old: Policy, new: Policy, recorded: RecordedCalls) -> tuple[DecisionChange, ...]:
    """Return the recorded calls that go through under one policy only, newly refused ones first."""
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
            changes.append(DecisionChange(call, times, before, after))
    return tuple(
        sorted(
            changes,
            key=lambda item: (
                not item.newly_refused,
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
class PolicyDiff:
    """The statements that only one of two policies makes, as sorted texts."""

    removed: tuple[str, ...]
    added: tuple[str, ...]


def diff_statements(old: Policy, new: Policy) -> PolicyDiff:
    """Compare the statements of two policies, whatever their order in the file."""
    before, after = _statements(old), _statements(new)
    return PolicyDiff(tuple(sorted(before - after)), tuple(sorted(after - before)))


def _statements(policy: Policy) -> set[str]:
    rules = policy.rules
    statements = {
        f"trust domain {policy.trust_domain.name}",
        f"enforce = {rules.enforce.enforce.value}",
    }
    statements |= {f"{rule.text} has the role {rule.role}" for rule in rules.roles}
    for grant in rules.grants:
        scopes = f" ({' '.join(sorted(grant.scopes))})" if grant.scopes else ""
        statements |= {
            f"{grant.role} may call /{item.service}/{item.method or '*'}{scopes}"
            for item in grant.methods
        }
    statements |= {f"{item.role} answers {item.service}" for item in rules.served_by}
    statements |= {
        f"refusals of /{pattern.service}/{pattern.method or '*'}: {rule.enforce.value}"
        for rule in rules.enforcement
        for pattern in rule.methods
    }
    return statements
