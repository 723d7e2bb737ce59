"""What the supervisor and its workers say to each other.

Both ends are processes of one program, and the channel between them has no name: nobody else can
send on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

WorkerSample = tuple[str, tuple[tuple[str, str], ...], float]
"""A number of a worker: the name of its metric, its labels, its value."""
WorkerSamples = tuple[WorkerSample, ...]

MAY_NOT_GO_ON = 70
"""The exit code of a worker after which no other one may serve either."""


class Command(Enum):
    """What the supervisor tells a worker to do."""

    END = "end"
    """Accept no new calls, let running ones end, and exit."""
    LOOK_AGAIN = "look again"
    """Read the ledger and the policy now."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker serves.

    Args:
        authority: how workloads reach the port for those with a certificate.
        enrollment: how they reach the other one.
        trust_domain: of the CA.
        adopted: the workloads that were registered because they have certificates from before.
        metrics: where the metrics are shown; empty for nowhere.
    """

    authority: str
    enrollment: str
    trust_domain: str
    adopted: tuple[str, ...] = ()
    metrics: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker could not begin to serve.

    Args:
        message: why.
        remedy: what to do; empty if that is not known.
    """

    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a worker has counted."""

    samples: WorkerSamples


class AskNumbers:
    """A worker asks for the numbers of the others."""


@dataclass(frozen=True, slots=True)
class OthersNumbers:
    """The answer: the numbers of the others, and of those that have ended.

    Args:
        samples: of each.
    """

    samples: tuple[WorkerSamples, ...]
