"""A failure of mutual TLS, as ``handfast doctor`` and ``handfast explain`` name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """One way in which mutual TLS fails.

    Args:
        slug: its name, which never changes.
        title: the failure in a few words.
        cause: what happened.
        remedy: what to do.
        handshake_result: the handshake result name of gRFC A118, or the ``ErrorReason`` of the runtime;
            empty where neither has one.
    """

    slug: str
    title: str
    cause: str
    remedy: str
    handshake_result: str = ""
