"""What the verification of the log found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogFinding:
    """Something that is not as the log says, or a fault of the log itself.

    Args:
        kind: what it is about; stable.
        text: what is wrong, in one sentence.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """The result of a verification.

    Args:
        size: how many entries the log has.
        root: the root hash that was computed from them.
        verifier_key: the log's key as a vkey; None if it has none yet.
        findings: what is wrong; empty if nothing is.
        notes: what is worth knowing, and not wrong.
    """

    size: int
    root: bytes
    verifier_key: str | None
    findings: tuple[LogFinding, ...]
    notes: tuple[str, ...]
