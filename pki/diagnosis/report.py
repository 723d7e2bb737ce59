"""The findings of an examination: the result of each check, with cause and remedy if it failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    """It works now, but not for long, or not with every peer."""
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The check can't be made from this side."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Args:
        check: the name of the check, a word or two that stay the same, e.g.
            ``server certificate: times``.
        status: its result.
        message: what was observed; text from outside is escaped.
        failure: the slug of what is wrong, of ``pki.failures``; None where nothing is wrong, and
            where another check has the cause.
        remedy: what to do here; empty takes the failure's own remedy.
        likelihood: for a cause that was concluded and not observed: how likely it is, 1 to 100; 0
            for a cause that was observed, which is sure.
        handshake_result: the handshake result name of gRFC A118, where there is one.
    """

    check: str
    status: Status
    message: str
    failure: str | None = None
    remedy: str = ""
    likelihood: int = 0
    handshake_result: str = ""

    @property
    def is_sure(self) -> bool:
        """Whether the cause was observed, and not concluded."""
        return not self.likelihood

    @property
    def is_cause(self) -> bool:
        """Whether this is a failure whose cause is sure."""
        return self.status is Status.FAILED and self.is_sure and self.failure is not None


def ok(check: str, message: str) -> Finding:
    """Return the finding of a check that passed."""
    return Finding(check, Status.OK, message)


def unknown(check: str, message: str, remedy: str = "") -> Finding:
    """Return the finding of a check that can't be made from here."""
    return Finding(check, Status.UNKNOWN, message, remedy=remedy)


def failed(
    check: str,
    failure: str,
    message: str,
    *,
    remedy: str = "",
    likelihood: int = 0,
    handshake_result: str = "",
) -> Finding:
    """Return the finding of a check that failed, so that the call fails."""
    return Finding(check, Status.FAILED, message, failure, remedy, likelihood, handshake_result)


def symptom(check: str, message: str) -> Finding:
    """Return the finding of a check that failed by a cause that another finding names."""
    return Finding(check, Status.FAILED, message)


def warning(check: str, failure: str, message: str, *, remedy: str = "") -> Finding:
    """Return the finding of a check that found a fault which does not fail this call."""
    return Finding(check, Status.WARNING, message, failure, remedy)


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of an examination, in the order of the checks.

    Args:
        target: what was examined.
        findings: the findings.
    """

    target: str
    findings: tuple[Finding, ...]

    @property
    def causes(self) -> tuple[Finding, ...]:
        """The sure causes, in the order of the checks."""
        return tuple(item for item in self.findings if item.is_cause)

    @property
    def likely_causes(self) -> tuple[Finding, ...]:
        """The causes that were concluded, the likeliest first."""
        likely = [
            item for item in self.findings if item.status is Status.FAILED and not item.is_sure
        ]
        return tuple(sorted(likely, key=lambda item: -item.likelihood))

    @property
    def status(self) -> Status:
        """The worst status of all findings; ``unknown`` is treated like ``ok``."""
        return worst_status(self.findings)

    @property
    def handshake_result(self) -> str:
        """The handshake result name of gRFC A118.

        That of the first cause; else that of the likeliest cause, or empty; else ``SUCCESS``, or
        ``UNSPECIFIED`` if a check failed without a cause.
        """
        for item in self.causes:
            if item.handshake_result:
                return item.handshake_result
        if self.likely_causes:
            return next(
                (item.handshake_result for item in self.likely_causes if item.handshake_result), ""
            )
        return "SUCCESS" if self.status is not Status.FAILED else "UNSPECIFIED"


def replace_guesses(findings: Iterable[Finding], message: str) -> list[Finding]:
    """Replace the likely causes of each check by one symptom, when the sure cause is known.

    Args:
        findings: the findings.
        message: where the reader finds the sure cause.
    """
    replaced: list[Finding] = []
    for item in findings:
        if item.is_sure:
            replaced.append(item)
        elif all(other.check != item.check for other in replaced):
            replaced.append(symptom(item.check, f"no: {message}"))
    return replaced


def merge_repeated_causes(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, with each cause that two checks observed (as in one CRL) named once."""
    merged: list[Finding] = []
    for item in findings:
        is_repeated = any(
            (other.failure, other.message) == (item.failure, item.message) for other in merged
        )
        is_repeated = is_repeated and item.status is Status.FAILED and item.is_sure
        merged.append(symptom(item.check, f"as above: {item.message}") if is_repeated else item)
    return merged


def replace_repeated_causes(findings: Iterable[Finding], own: Iterable[Finding]) -> list[Finding]:
    """Return the other end's findings; a cause that this end has found too becomes a symptom.

    Args:
        findings: the other end's findings.
        own: this end's findings, about the same certificate.
    """
    causes = {item.failure for item in own if item.is_cause}
    return [
        symptom(item.check, f"as above: {item.message}")
        if item.status is Status.FAILED and item.failure in causes
        else item
        for item in findings
    ]


def worst_status(findings: Iterable[Finding]) -> Status:
    """Return ``failed`` or ``warning`` if a finding has it, the worse first; else ``ok``."""
    statuses = {item.status for item in findings}
    return next((item for item in (Status.FAILED, Status.WARNING) if item in statuses), Status.OK)
