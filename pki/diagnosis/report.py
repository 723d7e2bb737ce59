"""What an examination finds: an answer to each question, with cause and remedy if not well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How the answer to a question is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and will not for long, or not everywhere."""
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It can't be told from here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question.

    Args:
        question: which, in a word or two that stay the same, e.g. ``server certificate: times``.
        status: how it is.
        words: what was seen; text from outside is escaped.
        failure: the slug of what is wrong, of ``pki.failures``; None where nothing is, and where
            the fault is the answer to another question.
        remedy: what to do here; empty takes the failure's own.
        likely: for a cause that can't be seen from here: how likely it is, 1 to 100; 0 where it was
            seen, and is sure.
        verdict: the handshake result name of gRFC A118, where it stands for one.
    """

    question: str
    status: Status
    words: str
    failure: str | None = None
    remedy: str = ""
    likely: int = 0
    verdict: str = ""

    @property
    def is_sure(self) -> bool:
        """Whether it was seen, and not concluded."""
        return not self.likely


def ok(question: str, words: str) -> Finding:
    """Return the answer to a question that is well."""
    return Finding(question, Status.OK, words)


def unknown(question: str, words: str, remedy: str = "") -> Finding:
    """Return the answer to a question that can't be answered from here."""
    return Finding(question, Status.UNKNOWN, words, remedy=remedy)


def failed(
    question: str, failure: str, words: str, *, remedy: str = "", likely: int = 0, verdict: str = ""
) -> Finding:
    """Return the answer to a question that is not well, and fails the call."""
    return Finding(question, Status.FAILED, words, failure, remedy, likely, verdict)


def symptom(question: str, words: str) -> Finding:
    """Return the answer to a question that is not well because of what another one has found."""
    return Finding(question, Status.FAILED, words)


def warning(question: str, failure: str, words: str, *, remedy: str = "") -> Finding:
    """Return the answer to a question that is not well, and does not fail this call."""
    return Finding(question, Status.WARNING, words, failure, remedy)


@dataclass(frozen=True, slots=True)
class Report:
    """All that an examination found, in the order of the questions.

    Args:
        target: what was examined.
        findings: the answers.
    """

    target: str
    findings: tuple[Finding, ...]

    @property
    def causes(self) -> tuple[Finding, ...]:
        """What is surely wrong, in the order of the questions."""
        return tuple(
            item
            for item in self.findings
            if item.status is Status.FAILED and item.is_sure and item.failure is not None
        )

    @property
    def likely(self) -> tuple[Finding, ...]:
        """What may be wrong and can't be seen from here, the likeliest first."""
        found = [
            item for item in self.findings if item.status is Status.FAILED and not item.is_sure
        ]
        return tuple(sorted(found, key=lambda item: -item.likely))

    @property
    def status(self) -> Status:
        """The worst of the answers; what can't be told counts as well."""
        return worst(self.findings)

    @property
    def verdict(self) -> str:
        """The handshake result name of gRFC A118: that of the first cause, or ``SUCCESS``."""
        for item in self.causes:
            if item.verdict:
                return item.verdict
        if self.likely:
            return next((item.verdict for item in self.likely if item.verdict), "")
        return "SUCCESS" if self.status is not Status.FAILED else "UNSPECIFIED"


def without_guesses(findings: Iterable[Finding], words: str) -> list[Finding]:
    """Return answers whose cause was seen elsewhere: those that were concluded say so, once each.

    Args:
        findings: the answers.
        words: where the cause stands.
    """
    found: list[Finding] = []
    for item in findings:
        if item.is_sure:
            found.append(item)
        elif all(other.question != item.question for other in found):
            found.append(symptom(item.question, f"no: {words}"))
    return found


def each_once(findings: Iterable[Finding]) -> list[Finding]:
    """Return answers in which what two questions see of one thing, as of one list, is one cause."""
    found: list[Finding] = []
    for item in findings:
        seen = any((one.failure, one.words) == (item.failure, item.words) for one in found)
        again = seen and item.status is Status.FAILED and item.is_sure
        found.append(symptom(item.question, f"as above: {item.words}") if again else item)
    return found


def without_repeats(findings: Iterable[Finding], before: Iterable[Finding]) -> list[Finding]:
    """Return answers from the other end: a fault that was seen at this one is one cause, not two.

    Args:
        findings: the answers from there.
        before: those from here, about the same certificate.
    """
    causes = {item.failure for item in before if item.status is Status.FAILED and item.is_sure}
    causes.discard(None)
    return [
        symptom(item.question, f"as above: {item.words}")
        if item.status is Status.FAILED and item.failure in causes
        else item
        for item in findings
    ]


def worst(findings: Iterable[Finding]) -> Status:
    """Return the worst status of some answers."""
    held = {item.status for item in findings}
    return next((item for item in (Status.FAILED, Status.WARNING) if item in held), Status.OK)
