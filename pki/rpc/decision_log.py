"""The decision log: JSON lines for refusals, or for all calls (gRFC A59, with our fields)."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from enum import StrEnum

from pki.rpc.judge import Judgement

log = logging.getLogger("handfast.decisions")


class LogWhen(StrEnum):
    """Which decisions are logged."""

    NONE = "none"
    ON_DENY = "on-deny"
    ON_ALLOW = "on-allow"
    BOTH = "both"


class DecisionLog:
    """Writes to the logger ``handfast.decisions``: refusals as warnings, others as infos."""

    def __init__(self, when: LogWhen, policy_name: str) -> None:
        self._deny = when in {LogWhen.ON_DENY, LogWhen.BOTH}
        self._allow = when in {LogWhen.ON_ALLOW, LogWhen.BOTH}
        self._policy_name = policy_name

    def write(self, judgement: Judgement, now: datetime) -> None:
        """Write one decision, if it is of a kind that is logged."""
        refusal, decision = judgement.refusal, judgement.decision
        if not (self._allow if refusal is None else self._deny):
            return
        line = {
            "timestamp": now.isoformat(timespec="milliseconds"),
            "rpc_method": judgement.method,
            "principal": judgement.spiffe_id,
            "policy_name": self._policy_name,
            "matched_rule": decision.rule if decision else "",
            "authorized": refusal is None,
            "reason": refusal.name if refusal else "ALLOWED",
            "roles": list(decision.roles) if decision else [],
            "role": (decision.role or "") if decision else "",
            "serial": judgement.serial,
            "issuer": judgement.issuer,
        }
        if judgement.detail:
            line["detail"] = judgement.detail
        # ASCII alone: a hostile name can't forge a line.
        log.log(logging.WARNING if refusal else logging.INFO, json.dumps(line, ensure_ascii=True))
