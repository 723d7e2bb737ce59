"""The decision log: JSON lines for refusals, or for all calls (gRFC A59, with our fields).

Refusals, enforced or not, are written at a limited rate (``rate_limiter``): a refused caller can't
fill the disk by calling again. See docs/decision-log.md.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from os import PathLike
from pathlib import Path
from typing import Protocol

from pki.access.call_verdict import CallVerdict
from pki.access.decision_file import DecisionFile, timestamp
from pki.access.rate_limiter import RateLimiter, Suppressed

log = logging.getLogger("handfast.decisions")

_LONGEST_METHOD = 512
_MOST_READY = 4096


class LogWhen(StrEnum):
    """Which decisions are logged."""

    NONE = "none"
    ON_DENY = "on-deny"
    ON_ALLOW = "on-allow"
    BOTH = "both"


class WhenFull(StrEnum):
    """What becomes of an allowed call whose line finds no room: the disk is slow, or full."""

    DROP = "drop"
    """It goes on; its line is left out and counted."""
    BLOCK = "block"
    """It waits for room, for five seconds at most; then none waits until there was room. In an
    asyncio server the whole event loop waits."""


@dataclass(frozen=True, slots=True)
class DecisionLogFile:
    """A decision log in a file of its own, which one thread writes: for a line for every call.

    Lines are on disk within a tenth of a second, and when the workload is closed. If the file is
    moved away, as logrotate does, another is begun at the next line; forked workers may share one.

    Args:
        path: the file. Lines are appended to it; it is made with the mode 0640.
        when: which decisions are logged: ``none``, ``on-deny``, ``on-allow``, ``both``.
        when_full: what becomes of an allowed call whose line finds no room: ``drop`` or ``block``.
            A refused call's line has room of its own, and does not wait.
    """

    path: str | PathLike[str]
    when: LogWhen | str = LogWhen.BOTH
    when_full: WhenFull | str = WhenFull.DROP


class LineSink(Protocol):
    """Where lines go."""

    def add(
        self, seconds: float, rest: str, principal: str, *, is_warning: bool, stands_for: int = 1
    ) -> None:
        """Add a line.

        Args:
            seconds: when it was decided, since 1970.
            rest: what follows the time in the line.
            principal: whose call it is about; empty for a summary.
            is_warning: whether it tells of a refusal, enforced or not.
            stands_for: how many decisions it tells of, with those that were suppressed before.
        """

    def close(self) -> None:
        """Write what is left."""


class LoggerSink:
    """The logger ``handfast.decisions``."""

    def add(
        self, seconds: float, rest: str, principal: str, *, is_warning: bool, stands_for: int = 1
    ) -> None:
        """Log a line; refusals are warnings, others infos."""
        del principal, stands_for
        level = logging.WARNING if is_warning else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "%s", f'{{"timestamp": "{timestamp(seconds)}"{rest}')

    def close(self) -> None:
        """Do nothing: handlers belong to the program."""


class DecisionLog:
    """Makes the lines.

    Args:
        when: which decisions are written. Refusals that are not enforced are written unless it is
            ``none``.
        policy_name: the file name of the policy.
        sink: where the lines go.
        limiter: limits the rate of lines about refusals.
    """

    def __init__(
        self,
        when: LogWhen,
        policy_name: str,
        sink: LineSink | None = None,
        limiter: RateLimiter | None = None,
    ) -> None:
        self._deny = when in {LogWhen.ON_DENY, LogWhen.BOTH}
        self.logs_allowed = when in {LogWhen.ON_ALLOW, LogWhen.BOTH}
        """Whether calls that a grant allows are logged."""
        self._audit = when is not LogWhen.NONE
        self._policy_name = policy_name
        self._sink = sink or LoggerSink()
        self._limiter = limiter or RateLimiter()
        # By the identity of the verdict, which is held beside its text.
        self._ready: dict[int, tuple[CallVerdict, str]] = {}

    def is_enabled_for(self, verdict: CallVerdict) -> bool:
        """Return whether decisions of this kind are logged."""
        if verdict.refusal is not None:
            return self._deny
        return self.logs_allowed if verdict.audited is None else self._audit

    def write(self, verdict: CallVerdict, seconds: float) -> None:
        """Write one decision for which :meth:`is_enabled_for` is true.

        Args:
            verdict: the decision.
            seconds: when it was made, since 1970.
        """
        if verdict.refusal is None and verdict.audited is None:
            self._sink.add(
                seconds, self._rest_of_allowed(verdict), verdict.spiffe_id, is_warning=False
            )
            return
        kind = "refused" if verdict.refusal else "audited"
        suppressed = self._limiter.try_acquire(verdict.spiffe_id, kind)
        if suppressed is None:
            return
        fields = self._fields(verdict)
        if suppressed:
            fields["suppressed"] = suppressed
        self._sink.add(
            seconds,
            _rest(fields),
            verdict.spiffe_id,
            is_warning=True,
            stands_for=1 + suppressed,
        )

    def summarize(self, seconds: float, *, at_once: bool = False) -> None:
        """Write how many lines were suppressed and not reported, a second later at the earliest.

        Args:
            seconds: the time, since 1970.
            at_once: do not wait for that second.
        """
        suppressed = self._limiter.take_summary(at_once=at_once)
        if suppressed is not None:
            rest = describe_suppressed(self._policy_name, suppressed)
            self._sink.add(seconds, rest, "", is_warning=True, stands_for=suppressed.count)

    def forget(self) -> None:
        """Have no line ready any more."""
        self._ready = {}

    def close(self, seconds: float) -> None:
        """Write what is left: the summary at last.

        Args:
            seconds: the time, since 1970.
        """
        self.summarize(seconds, at_once=True)
        self._sink.close()

    def _rest_of_allowed(self, verdict: CallVerdict) -> str:
        """Return what follows the time in an allowed call's line, made once for each verdict."""
        ready = self._ready.get(id(verdict))
        if ready is not None and ready[0] is verdict:
            return ready[1]
        rest = _rest(self._fields(verdict))
        if len(self._ready) < _MOST_READY:
            self._ready[id(verdict)] = (verdict, rest)
        return rest

    def _fields(self, verdict: CallVerdict) -> dict[str, object]:
        refusal = verdict.refusal or verdict.audited
        decision = verdict.decision
        fields: dict[str, object] = {
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
            fields["detail"] = verdict.detail
        return fields


def open_sink(
    setting: DecisionLogFile | LogWhen, policy_name: str, count_lost: Callable[[int], None]
) -> LineSink:
    """Return where the lines of a server go.

    Args:
        setting: its setting; the logger if it names no file.
        policy_name: the file name of the policy.
        count_lost: is called with the number of lines that found no room.

    Raises:
        InputError: if the path is a directory.
        StateError: if the file can't be opened for writing.
    """
    if isinstance(setting, LogWhen):
        return LoggerSink()
    return DecisionFile(
        Path(setting.path),
        blocks=setting.when_full == WhenFull.BLOCK,
        describe_lost=lambda lost: describe_suppressed(policy_name, lost),
        count_lost=count_lost,
    )


def describe_suppressed(policy_name: str, suppressed: Suppressed) -> str:
    """Return what follows the time in a line that tells of lines that were left out."""
    return _rest(
        {
            "policy_name": policy_name,
            "suppressed": suppressed.count,
            "principals": dict(suppressed.by_principal),
        }
    )


def _rest(fields: dict[str, object]) -> str:
    # ASCII only: a hostile name can't forge a line.
    return f", {json.dumps(fields, ensure_ascii=True)[1:]}"


def _bounded(method: str) -> str:
    # gRPC accepts very long paths, and each line of the log would be as long.
    return method if len(method) <= _LONGEST_METHOD else f"{method[:_LONGEST_METHOD]}..."
