"""The decision log: JSON lines for refusals, or for all calls (gRFC A59, with our fields).

What is refused, or would be, is written under a limit (``log_limit``): whoever is refused can't
fill the disk by calling again. See docs/decision-log.md.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from enum import StrEnum

from pki.access.call_verdict import CallVerdict
from pki.access.rate_limiter import RateLimiter

log = logging.getLogger("handfast.decisions")

_LONGEST_METHOD = 512


class LogWhen(StrEnum):
    """Which decisions are logged."""

    NONE = "none"
    ON_DENY = "on-deny"
    ON_ALLOW = "on-allow"
    BOTH = "both"


class DecisionLog:
    """Writes to the logger ``handfast.decisions``.

    Refusals, and calls that would be refused if the policy were enforced, are warnings; others are
    infos.

    Args:
        when: which decisions are written. Calls that would be refused are, by every word but
            ``none``.
        policy_name: the policy's file name.
        limit: how many of the warnings.
    """

    def __init__(self, when: LogWhen, policy_name: str, limit: RateLimiter | None = None) -> None:
        self._deny = when in {LogWhen.ON_DENY, LogWhen.BOTH}
        self._allow = when in {LogWhen.ON_ALLOW, LogWhen.BOTH}
        self._audit = when is not LogWhen.NONE
        self._policy_name = policy_name
        self._limit = limit or RateLimiter()

    def takes(self, judgement: CallVerdict) -> bool:
        """Return whether a decision is of a kind that is logged."""
        if judgement.refusal is not None:
            return self._deny
        return self._allow if judgement.audited is None else self._audit

    def write(self, judgement: CallVerdict, now: datetime) -> None:
        """Write one decision that :meth:`takes` lets pass."""
        against = judgement.refusal or judgement.audited
        left_out: int | None = 0
        if against is not None:
            kind = "refused" if judgement.refusal else "audited"
            left_out = self._limit.take(judgement.spiffe_id, kind)
            if left_out is None:
                return
        decision = judgement.decision
        line = {
            "timestamp": _written(now),
            "rpc_method": _bounded(judgement.method),
            "principal": judgement.spiffe_id,
            "policy_name": self._policy_name,
            "matched_rule": decision.rule if decision else "",
            "authorized": judgement.refusal is None,
            "audited": judgement.audited is not None,
            "reason": against.name if against else "ALLOWED",
            "roles": list(decision.roles) if decision else [],
            "role": (decision.role or "") if decision else "",
            "serial": judgement.serial,
            "issuer": judgement.issuer,
        }
        if judgement.detail:
            line["detail"] = judgement.detail
        if left_out:
            line["suppressed"] = left_out
        _write(logging.WARNING if against else logging.INFO, line)

    def summarize(self, now: datetime, *, at_once: bool = False) -> None:
        """Tell of what the limit left out a second ago or more, if no line has told of it.

        Args:
            now: the time.
            at_once: however short ago it was.
        """
        left_out = self._limit.summary(at_once=at_once)
        if left_out is not None:
            line = {
                "timestamp": _written(now),
                "policy_name": self._policy_name,
                "suppressed": left_out.lines,
                "principals": dict(left_out.of),
            }
            _write(logging.WARNING, line)


def _write(level: int, line: dict[str, object]) -> None:
    # ASCII alone: a hostile name can't forge a line.
    log.log(level, "%s", json.dumps(line, ensure_ascii=True))


def _written(now: datetime) -> str:
    return now.isoformat(timespec="milliseconds")


def _bounded(method: str) -> str:
    # A caller may send a path as long as gRPC takes, and each of its lines would be as long.
    return method if len(method) <= _LONGEST_METHOD else f"{method[:_LONGEST_METHOD]}..."
