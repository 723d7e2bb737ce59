"""The decision log: JSON lines for refusals, or for all calls (gRFC A59, with our fields).

Refusals, enforced or not, are written at a limited rate (``rate_limiter``): a refused caller can't
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
        when: which decisions are written. Refusals that are not enforced are written unless it is
            ``none``.
        policy_name: the file name of the policy.
        limiter: limits the rate of warnings.
    """

    def __init__(self, when: LogWhen, policy_name: str, limiter: RateLimiter | None = None) -> None:
        self._deny = when in {LogWhen.ON_DENY, LogWhen.BOTH}
        self.logs_allowed = when in {LogWhen.ON_ALLOW, LogWhen.BOTH}
        """Whether calls that a grant allows are logged."""
        self._audit = when is not LogWhen.NONE
        self._policy_name = policy_name
        self._limiter = limiter or RateLimiter()

    def is_enabled_for(self, verdict: CallVerdict) -> bool:
        """Return whether decisions of this kind are logged."""
        if verdict.refusal is not None:
            return self._deny
        return self.logs_allowed if verdict.audited is None else self._audit

    def write(self, verdict: CallVerdict, now: datetime) -> None:
        """Write one decision for which :meth:`is_enabled_for` is true."""
        refusal = verdict.refusal or verdict.audited
        suppressed: int | None = 0
        if refusal is not None:
            kind = "refused" if verdict.refusal else "audited"
            suppressed = self._limiter.try_acquire(verdict.spiffe_id, kind)
            if suppressed is None:
                return
        decision = verdict.decision
        line = {
            "timestamp": _timestamp(now),
            "rpc_method": _bounded(verdict.method),
            "principal": verdict.spiffe_id,
            "policy_name": self._policy_name,
            "matched_rule": decision.rule if decision else "",
            "authorized": verdict.refusal is None,
            "audited": verdict.audited is not None,
            "reason": refusal.name if refusal else "ALLOWED",
            "roles": list(decision.roles) if decision else [],
            "role": (decision.role or "") if decision else "",
            "serial": verdict.serial,
            "issuer": verdict.issuer,
        }
        if verdict.detail:
            line["detail"] = verdict.detail
        if suppressed:
            line["suppressed"] = suppressed
        _write(logging.WARNING if refusal else logging.INFO, line)

    def summarize(self, now: datetime, *, at_once: bool = False) -> None:
        """Write how many lines were suppressed and not reported, a second later at the earliest.

        Args:
            now: the time.
            at_once: do not wait for that second.
        """
        suppressed = self._limiter.take_summary(at_once=at_once)
        if suppressed is not None:
            line = {
                "timestamp": _timestamp(now),
                "policy_name": self._policy_name,
                "suppressed": suppressed.count,
                "principals": dict(suppressed.by_principal),
            }
            _write(logging.WARNING, line)


def _write(level: int, line: dict[str, object]) -> None:
    # ASCII only: a hostile name can't forge a line.
    log.log(level, "%s", json.dumps(line, ensure_ascii=True))


def _timestamp(now: datetime) -> str:
    return now.isoformat(timespec="milliseconds")


def _bounded(method: str) -> str:
    # gRPC accepts very long paths, and each line of the log would be as long.
    return method if len(method) <= _LONGEST_METHOD else f"{method[:_LONGEST_METHOD]}..."
